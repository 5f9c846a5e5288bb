"""Where numbers are lost: a step taken once more, with an eye on what comes out of every module."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

TOLD = 5
"""Names of tensors that a line gives."""


@dataclass(frozen=True)
class Numbers:
    """A tensor that came out of a module, or the gradient that came back to it, in a few words."""

    module: str
    """Its dotted name in the model."""
    kind: str
    """Its class."""
    dtype: str
    shape: tuple[int, ...]
    largest: float
    """Magnitude, of the values that are finite; 0 without any."""
    lost: int
    """How many values are NaN or infinite."""

    def __str__(self) -> str:
        lost = f", {self.lost} of {math.prod(self.shape)} not finite" if self.lost else ""
        shape = " x ".join(map(str, self.shape)) or "scalar"
        name = self.module or "the whole model"
        return f"{name} ({self.kind}): {self.dtype} {shape}, largest {self.largest:.4g}{lost}"


@dataclass
class Trace:
    """What was seen of a step, in the order in which it happened."""

    outputs: list[Numbers] = field(default_factory=list)
    """Of the modules; an inner one comes before those that it is a part of."""
    gradients: list[Numbers] = field(default_factory=list)
    """With respect to those outputs, in the order of the backward pass: from the losses down."""
    error: str | None = None
    """What the step ended with, where it did not end well."""

    @property
    def output(self) -> Numbers | None:
        """The first output that was not finite."""
        return next((one for one in self.outputs if one.lost), None)

    @property
    def gradient(self) -> Numbers | None:
        """The first gradient that was not finite."""
        return next((one for one in self.gradients if one.lost), None)

    def before(self, count: int) -> list[Numbers]:
        """The last outputs before the first that was not finite, itself the last of them."""
        first = self.output
        end = len(self.outputs) if first is None else self.outputs.index(first) + 1
        return self.outputs[max(0, end - count) : end]

    def told(self) -> dict[str, Any]:
        """For JSON: the first of each kind, and the two outputs before."""
        found = {"output": self.output, "gradient": self.gradient}
        facts: dict[str, Any] = {name: one and asdict(one) for name, one in found.items()}
        facts["outputs_before"] = [asdict(one) for one in self.before(3)] if self.output else []
        return facts | {"error": self.error}


def trace(model: nn.Module, step: Callable[[], object]) -> Trace:
    """What comes out of every module of `model` while `step` runs forward and backward through it.

    Slow: each output is looked at. An error of the step ends it and is told in the trace: whoever
    asks wants to know what was seen up to there.
    """
    seen = Trace()
    with _watched(model, seen), _as_written(model):
        try:
            step()
        except Exception as error:
            seen.error = f"{type(error).__name__}: {error}"
    return seen


def lost_weights(model: nn.Module) -> list[str]:
    """The names of the parameters and buffers that hold NaN or infinity.

    Running statistics are left out where the layer keeps them up to date: what passes through a
    step spoils them, not the other way round.
    """
    kept = {
        f"{name}.{buffer}" if name else buffer
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.track_running_stats
        for buffer in ("running_mean", "running_var")
        if module.training
    }
    return _lost({**dict(model.named_parameters()), **dict(model.named_buffers())}, kept)


def lost_gradients(model: nn.Module) -> list[str]:
    """The names of the parameters whose gradient holds NaN or infinity."""
    found = {name: each.grad for name, each in model.named_parameters() if each.grad is not None}
    return _lost(found, set())


def some_names(names: list[str]) -> str:
    """The first few, and how many more there are."""
    more = f" and {len(names) - TOLD} more" if len(names) > TOLD else ""
    return ", ".join(names[:TOLD]) + more


def _lost(tensors: Mapping[str, Tensor], passed_over: set[str]) -> list[str]:
    return [
        name
        for name, tensor in tensors.items()
        if name not in passed_over
        and tensor.is_floating_point()
        and not bool(tensor.isfinite().all())
    ]


@contextmanager
def _watched(model: nn.Module, seen: Trace) -> Iterator[None]:
    hooks = [
        module.register_forward_hook(partial(_look, name, seen))
        for name, module in model.named_modules()
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _as_written(model: nn.Module) -> AbstractContextManager[object]:
    """Inside, compiled modules run as they were written: compiled ones call no hook."""
    if all(module._compiled_call_impl is None for module in model.modules()):
        return nullcontext()
    stance: AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
    return stance


def _look(name: str, seen: Trace, module: nn.Module, _: object, output: object) -> None:
    for tensor in _tensors(output):
        if not tensor.is_floating_point():
            continue
        seen.outputs.append(_numbers(name, module, tensor))
        if tensor.requires_grad:
            tensor.register_hook(
                lambda gradient: seen.gradients.append(_numbers(name, module, gradient))
            )


def _numbers(name: str, module: nn.Module, tensor: Tensor) -> Numbers:
    values = tensor.detach()
    finite = values.isfinite()
    largest = values.abs().where(finite, 0).amax().item() if values.numel() else 0.0
    lost = values.numel() - int(finite.sum())
    dtype = str(values.dtype).removeprefix("torch.")
    return Numbers(name, type(module).__name__, dtype, tuple(values.shape), largest, lost)


def _tensors(tree: object) -> Iterator[Tensor]:
    """Those in nested tuples, lists and dicts, and in fields of objects that hold some."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, Mapping):
        for each in tree.values():
            yield from _tensors(each)
    elif isinstance(tree, list | tuple):
        for each in tree:
            yield from _tensors(each)
    elif hasattr(tree, "__dataclass_fields__"):
        yield from _tensors(vars(tree))
