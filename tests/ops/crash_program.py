"""Run in a process of its own: calls that could crash one. Each must return or raise.

Prints the name of each question once it is survived. The last sets a limit on the memory.
"""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fuzz
import torch
from fuzz_compare import FORMS, backend
from roi_op_contract import RoIOpContract, Variant, memory_orders
from torch import Tensor

NOT_FINITE = (torch.nan, torch.inf, -torch.inf)


MOST_BYTES = 600 << 20  # the largest result has 78 MB, in float64 157 MB
HARMLESS = ("on another device",)  # "meta" holds no values that could be misread


def each_variant() -> Iterator[tuple[str, RoIOpContract, Variant]]:
    """Every RoI operator, in every variant."""
    for op, contract in fuzz.ROI_OPERATORS.items():
        for variant in contract.variants.values():
            yield op, contract(), variant


def rois() -> Tensor:
    """Three RoIs on two pictures."""
    return torch.tensor([[0.0, 0, 0, 50, 50], [1, 5, 5, 20, 70], [0, -9, 3, 200, 9]])


def survive(call: Any, *arguments: Any) -> str:
    """What came of a call: the name of its error, or nothing."""
    try:
        call(*arguments)
    except (RuntimeError, ValueError, TypeError) as error:
        return type(error).__name__
    return ""


def broken_rows() -> None:
    """O5, O6, O7: corners and pictures of all kinds; an error exactly where the row is broken."""
    for op, subject, variant in each_variant():
        features = torch.randn(2, variant.channels, 5, 6)
        for order, maps in memory_orders(features).items():
            for column in range(5):
                for value in (*NOT_FINITE, -1.0, 2.0, 0.5, 1e9, -1e9, 1e30, 3.4e38, -3.4e38):
                    broken = rois()
                    broken[1, column] = value
                    said = survive(subject.call, maps, broken, variant)
                    wrong = column == 0 or value in NOT_FINITE or value != value
                    assert said == ("RuntimeError" if wrong else ""), (op, order, column, value)


def empty() -> None:
    """O8, O9: nothing of every dimension, forward and backward."""
    for _, subject, variant in each_variant():
        for pictures, height, width in ((0, 5, 6), (2, 0, 6), (2, 5, 0), (0, 0, 0), (2, 5, 6)):
            features = torch.randn(pictures, variant.channels, height, width)
            for maps in memory_orders(features).values():
                for some in (rois()[:0], rois()):
                    leaf = maps.detach().requires_grad_()
                    if pictures == 0 and len(some):
                        assert survive(subject.call, leaf, some, variant) == "RuntimeError"
                    else:
                        subject.call(leaf, some, variant).sum().backward()


def wrong_arguments() -> None:
    """O8, O10, O12: the operators without their faces, each tensor in turn a wrong one."""
    for op, subject, variant in each_variant():
        features = torch.randn(2, variant.channels, 5, 6)
        for operator, arguments in subject.opcheck_calls(features, rois(), variant):
            for place, tensor in enumerate(arguments):
                if not isinstance(tensor, Tensor):
                    continue
                for kind, wrong in spoiled(tensor.detach()).items():
                    given = [*arguments]
                    given[place] = wrong
                    said = survive(operator, *given)
                    features = place == 0 and "backward" not in str(operator)
                    if kind not in HARMLESS and not (features and "column" in kind):
                        assert said, f"{op}: {operator} accepts argument {place} {kind}"


def spoiled(tensor: Tensor) -> dict[str, Tensor]:
    """The tensor in ways that no operator can take."""
    return {
        "of another kind": tensor.int() if tensor.is_floating_point() else tensor.double(),
        "on another device": tensor.to("meta"),
        "with a dimension more": tensor[None],
        "with a dimension less": tensor[0],
        "with a column less": tensor[:, :-1],
        "with no columns": tensor[:, :0],
    }


def memory() -> None:
    """O19: RoIs by the thousand on as many maps as 80 classes have, in bounded memory."""
    status = Path("/proc/self/status").read_text()
    used = 1024 * int(status.split("VmSize:")[1].split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + MOST_BYTES, used + MOST_BYTES))
    for op, contract in fuzz.ROI_OPERATORS.items():
        subject, variant = contract(), next(iter(contract.variants.values()))
        rois = torch.rand(5000 if op == "psroi_pool" else 1200, 5) * 300
        rois[:, 0] = 0
        one = subject.call(torch.randn(1, variant.channels, 20, 30), rois[:1], variant).numel()
        times = min(80 * 49 // one, 80 * 49 // variant.channels)
        wide = variant._replace(channels=variant.channels * times)
        features = torch.randn(1, wide.channels, 20, 30)
        for live in FORMS.values():
            with backend(live):
                assert len(subject.call(features, rois, wide)) == len(rois)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for question in (broken_rows, empty, wrong_arguments, memory):
        question()
        print(question.__name__, flush=True)
