"""What the fuzzer compares, and how: two forms of every operator, bits, figures."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rfcn.ops import library

COMPILED = library.LIBRARY
PLAIN = library.load("torch", Path("."))
FORMS = {"compiled": COMPILED, "plain": PLAIN}


class MismatchError(AssertionError):
    """What an operator did wrong."""


class Trial(NamedTuple):
    """One case that was tried."""

    rows: int
    words: str
    fault: str = ""


@contextmanager
def backend(live: library.Library) -> Iterator[None]:
    """The operators as `live` has them: COMPILED, or PLAIN."""
    before = library.LIBRARY
    library.LIBRARY = live
    try:
        yield
    finally:
        library.LIBRARY = before


def forward_and_backward(
    form: str, call: Callable[..., Tensor], given: list[Tensor], gradient: Tensor
) -> list[Tensor]:
    """The result of `call` and the gradients of what it was given, of one form of the operator. The
    compiled one runs with one thread and with two: the bits must be the same."""
    runs = []
    for threads in (1, 2) if form == "compiled" else (1,):
        torch.set_num_threads(threads)
        leaves = [one.detach().requires_grad_() for one in given]
        with backend(FORMS[form]):
            found = call(*leaves)
            runs.append([found.detach(), *torch.autograd.grad(found, leaves, gradient)])
    torch.set_num_threads(1)
    for number, (first, *others) in enumerate(zip(*runs, strict=True)):
        if any(not torch.equal(first, other) for other in others):
            raise MismatchError(f"{form}, output {number}: other bits with other threads")
    return runs[0]


def close(found: Tensor, expected: Tensor, what: str, scale: Tensor | None = None) -> None:
    """Raises MismatchError unless the figures agree to the precision of their dtype and, of their
    scale (without one the largest of all, or 1), to 1e-12 in float64 and to 1e-5 in the others."""
    if found.shape != expected.shape:
        raise MismatchError(f"{what}: shape {list(found.shape)}, not {list(expected.shape)}")
    if found.numel() == 0:
        return
    absolute = 1e-12 if found.dtype == torch.float64 else 1e-5
    largest = expected.abs().max().clamp(min=1) if scale is None else scale
    error = (found.double() - expected).abs()
    allowed = absolute * largest + torch.finfo(found.dtype).eps * expected.abs()
    wrong = (~(error <= allowed)).nonzero()
    if len(wrong):
        at = tuple(wrong[0].tolist())
        raise MismatchError(f"{what} at {at}: {float(found[at])}, not {float(expected[at])}")
