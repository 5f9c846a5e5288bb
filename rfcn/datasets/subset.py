"""A part of a set, written behind its name: `train[:100]`, `all[:80%]`, `all[80%:]`.

What a part holds depends on the names of the pictures alone, through their SHA-256: not on their
order, on a seed, or on the machine. A share (`80%`) cuts the range of the hashes, so that adding
pictures moves none from one side to the other; it holds about so many. A count (`100`) takes that
many pictures in the order of their hashes.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from rfcn.errors import DataError

_SHARES = "data.train: NAME[:80%] with data.val: NAME[80%:]"

_PART = re.compile(r"([^\[\]]+)(?:\[([^\[\]]*)\])?")
_CUT = re.compile(r"\s*([\d.]*%?)\s*:\s*([\d.]*%?)\s*")
_HASHES = 1 << 64
"""How many there are, of the 8 bytes that are looked at."""


@dataclass(frozen=True)
class SetPart:
    """A set, or a part of it: what lies from `begin` (included) to `end` (excluded)."""

    name: str
    """Of the set, without what is behind it."""
    begin: int | Fraction | None = None
    """A count, or a share 0..1 as a fraction; None is the very beginning."""
    end: int | Fraction | None = None
    """Of the same type, or None: the very end."""

    @property
    def whole(self) -> bool:
        """Whether nothing is cut off."""
        return self.begin is None and self.end is None

    def choose(self, names: Sequence[str]) -> list[int]:
        """Which of a set's pictures belong to this part, as increasing numbers.

        names: of all pictures of the set, each once, without folder of the set and suffix.
        Raises DataError when there is none.
        """
        if self.whole:
            return list(range(len(names)))
        hashes = [_hash(name) for name in names]
        if isinstance(self.begin, Fraction) or isinstance(self.end, Fraction):
            low, high = self.begin or 0, 1 if self.end is None else self.end
            chosen = [i for i, one in enumerate(hashes) if low * _HASHES <= one < high * _HASHES]
        else:
            order = sorted(range(len(names)), key=lambda i: (hashes[i], names[i]))
            chosen = sorted(order[self.begin : self.end])
        if not chosen:
            raise DataError(
                f"{self}: no picture lies in this part of the {len(names)} of {self.name}. "
                "Ask for a larger part."
            )
        return chosen

    def __str__(self) -> str:
        """As it is written."""
        return self.name if self.whole else f"{self.name}[{_text(self.begin)}:{_text(self.end)}]"


def parse_sets(sets: str) -> list[SetPart]:
    """The parts of `A+B[:100]`, in their order. Raises DataError for what is no name or no part."""
    if not sets.strip():
        raise DataError(
            f"No set of pictures is named. Where there is but one, write {_SHARES}, NAME "
            "being its name."
        )
    return [_parse(one.strip(), sets) for one in sets.split("+")]


def known_sets(root: Path, names: Sequence[str]) -> str:
    """A sentence on the sets that there are, for whoever asked for another one."""
    share = f" Where one is to serve for both, write {_SHARES}." if len(names) == 1 else ""
    return f"Sets in {root}: {', '.join(names)}.{share}"


def _parse(text: str, sets: str) -> SetPart:
    part = _PART.fullmatch(text)
    if not part:
        raise DataError(f"{sets!r}: {text!r} is not the name of a set. {_grammar(text)}")
    name, cut = part[1].strip(), part[2]
    if cut is None:
        return SetPart(name)
    bounds = _CUT.fullmatch(cut)
    if not bounds:
        raise DataError(f"{text!r} is no part of a set. {_grammar(name)}")
    begin, end = (_bound(one, text, name) for one in bounds.groups())
    if begin is None and end is None:
        return SetPart(name)
    if begin is not None and end is not None and type(begin) is not type(end):
        raise DataError(f"{text!r} mixes a count and a share. {_grammar(name)}")
    last = Fraction(1) if end is None and isinstance(begin, Fraction) else end
    if last is not None and (begin or 0) >= last:
        raise DataError(f"{text!r} ends before it begins. {_grammar(name)}")
    return SetPart(name, begin, end)


def _bound(text: str, part: str, name: str) -> int | Fraction | None:
    """A count, a share, or nothing."""
    if not text:
        return None
    try:
        if not text.endswith("%"):
            return int(text)
        share = Fraction(text[:-1]) / 100
    except ValueError:
        raise DataError(f"{part!r}: {text!r} is not a number. {_grammar(name)}") from None
    if share > 1:
        raise DataError(f"{part!r}: there is no more than 100%. {_grammar(name)}")
    return share


def _grammar(name: str) -> str:
    name = name.partition("[")[0].strip() or "NAME"
    return f"Parts are written {name}[:100], {name}[100:], {name}[:80%], {name}[80%:]."


def _text(bound: int | Fraction | None) -> str:
    if bound is None:
        return ""
    return f"{float(bound * 100):g}%" if isinstance(bound, Fraction) else str(bound)


def _hash(name: str) -> int:
    """0.. below `_HASHES`."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
