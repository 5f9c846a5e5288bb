"""Arrays in a pickle, read opcode by opcode: a machine that has no way to call anything.

Containers, texts, numbers and NumPy arrays are built here; any other class or function that a file
names is refused by that name, and never looked up.
"""

import pickletools
from collections.abc import Iterator
from typing import Any

import numpy as np

MOST_OPCODES = 5_000_000
_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_ARRAY = {f"{module} _reconstruct" for module in _MODULES}
_SCALAR = {f"{module} scalar" for module in _MODULES}
_BUFFER = {"numpy.core.numeric _frombuffer", "numpy._core.numeric _frombuffer"}
_EMPTY_BYTES = {"builtins bytes", "__builtin__ bytes"}
_PLAIN = {"numpy ndarray", "numpy dtype", "collections OrderedDict", "_codecs encode"}
_KNOWN = _ARRAY | _SCALAR | _BUFFER | _EMPTY_BYTES | _PLAIN
_VALUES = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": (),
}  # fmt: skip
_GIVEN = ("INT", "LONG", "FLOAT", "BINFLOAT", "STRING", "UNICODE")
_GIVEN_PREFIXES = ("BININT", "LONG1", "LONG4", "BINUNICODE", "SHORT_BIN", "BINBYTES", "BINSTRING")
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class PickleError(ValueError):
    """What is read is no pickle, or one of something else than arrays."""


class _Name(str):
    """A class or function of the list, by module and name."""

    __slots__ = ()


class _Mark:
    """Where a list of things begins on the stack."""


class _Array:
    """An array that is being described."""

    value: np.ndarray | None = None


class _Form:
    """A dtype that is being described."""

    def __init__(self, code: str) -> None:
        self.code = code
        self.order = "<"

    def dtype(self) -> np.dtype:
        form = np.dtype(self.code)
        if form.kind not in "fiub":
            raise PickleError(f"an array of {self.code}")
        return form.newbyteorder(">") if self.order == ">" else form.newbyteorder("<")


def read_pickle(content: bytes) -> Any:
    """What a pickle holds: dicts, lists, tuples, texts, numbers and arrays.

    Raises:
        PickleError: it is damaged, or names a class or function that arrays do not need.
    """
    machine = _Machine()
    try:
        for count, (opcode, given, _) in enumerate(pickletools.genops(content)):
            if count > MOST_OPCODES:
                raise PickleError(f"more than {MOST_OPCODES} opcodes")
            machine.step(opcode.name, given)
        return _finished(machine.stack.pop())
    except PickleError:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise PickleError(str(error) or type(error).__name__) from error


class _Machine:
    """The stack and the memo of a pickle."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, given: Any) -> None:
        """One opcode."""
        if name in _VALUES:
            self.stack.append(_VALUES[name])
        elif name in _GIVEN or name == "BYTEARRAY8" or name.startswith(_GIVEN_PREFIXES):
            self.stack.append(given)
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "MARK"):
            self.stack.append({"EMPTY_DICT": dict, "EMPTY_LIST": list, "MARK": _Mark}[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[int(given)] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            self.stack.append(self.memo[int(given)])
        elif name not in ("PROTO", "FRAME", "STOP"):
            self._build(name, given)

    def _build(self, name: str, given: Any) -> None:
        """An opcode that makes something of what lies on the stack."""
        stack = self.stack
        if name == "TUPLE":
            stack.append(tuple(self._marked()))
        elif name in _TUPLES:
            stack[-_TUPLES[name] :] = [tuple(stack[-_TUPLES[name] :])]
        elif name in ("APPENDS", "APPEND"):
            items = self._marked() if name == "APPENDS" else [stack.pop()]
            stack[-1].extend(items)
        elif name in ("SETITEMS", "SETITEM"):
            items = self._marked() if name == "SETITEMS" else [stack.pop(-2), stack.pop()]
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        elif name == "GLOBAL":
            stack.append(_known(given))
        elif name == "STACK_GLOBAL":
            word, module = stack.pop(), stack.pop()
            stack.append(_known(f"{module} {word}"))
        elif name == "REDUCE":
            arguments, function = stack.pop(), stack.pop()
            stack.append(_made(function, arguments))
        elif name == "BUILD":
            _describe(stack, stack.pop())
        else:
            raise PickleError(f"the opcode {name}, which arrays do not need")

    def _marked(self) -> list[Any]:
        items = []
        while not isinstance(item := self.stack.pop(), _Mark):
            items.append(item)
        return items[::-1]


def _known(name: str) -> _Name:
    if name not in _KNOWN:
        raise PickleError(f"it asks for {name.replace(' ', '.')}, which arrays do not need")
    return _Name(name)


def _made(function: Any, arguments: Any) -> Any:
    """What a call of a listed function stands for; nothing is called."""
    if not isinstance(function, _Name):
        raise PickleError("it calls what is no function")
    if function in _ARRAY:
        return _Array()
    if function == "numpy dtype":
        return _Form(str(arguments[0]))
    if function == "collections OrderedDict" and not arguments:
        return {}
    if function in _EMPTY_BYTES and not arguments:
        return b""
    if function == "_codecs encode":
        return arguments[0].encode("latin-1")
    if function in _BUFFER:
        content, form, shape, order = arguments
        return _shaped(_bytes(content), form, shape, order)
    if function in _SCALAR:
        return _shaped(_bytes(arguments[1]), arguments[0], (), "C")
    raise PickleError(f"a call of {function}")


def _describe(stack: list[Any], state: Any) -> None:
    """Give the thing on top of the stack what it is."""
    target = stack[-1]
    if isinstance(target, _Form):
        if state[2] is not None or state[3] is not None:
            raise PickleError("an array of records")
        target.order = str(state[1])
    elif isinstance(target, _Array):
        _, shape, form, fortran, content = state
        target.value = _shaped(_bytes(content), form, shape, "F" if fortran else "C")
    else:
        raise PickleError("it describes what is no array")


def _shaped(content: bytes, form: Any, shape: tuple[int, ...], order: Any) -> np.ndarray:
    if not isinstance(form, _Form):
        raise PickleError("an array without a type")
    return np.frombuffer(content, form.dtype()).reshape(shape, order="F" if order == "F" else "C")


def _bytes(content: Any) -> bytes:
    """Raw numbers; Python 2 kept them as text."""
    if isinstance(content, str):
        return content.encode("latin-1")
    if isinstance(content, bytes | bytearray):
        return bytes(content)
    raise PickleError("an array of objects")


def _finished(value: Any, depth: int = 0) -> Any:
    """Containers with arrays in the place of what described them."""
    if depth > 20:
        raise PickleError("nested too deeply")
    if isinstance(value, _Mark | _Form | _Name):
        raise PickleError("it ends in the middle")
    if isinstance(value, _Array):
        if value.value is None:
            raise PickleError("an array that was never described")
        return value.value
    if isinstance(value, dict):
        return {key: _finished(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finished(item, depth + 1) for item in value]
    return value


def arrays_in(content: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Every named array of a dict."""
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, np.ndarray) and isinstance(key, str):
                yield key, value
