"""Holds every operator against its slow definition, on random calls, for as long as it is told to.

    python tools/fuzz_ops.py --seconds 60

Compiled and plain form, forward and backward; two runs with different numbers of threads must give
the same bits; a broken RoI must be named. What is compared with what, the contract of the operators
knows (roi_op_contract.py); what is drawn is in fuzz_cases.py.
"""

import argparse
import importlib
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fuzz_cases
import numpy as np
import torch
from fuzz_compare import (
    COMPILED,
    FORMS,
    MismatchError,
    Trial,
    backend,
    close,
    forward_and_backward,
)
from fuzz_suppression import try_box_voting, try_nms, try_soft_nms
from roi_op_contract import RoIOpContract, Variant
from tqdm import tqdm

from rfcn.ops.checks import SEMANTICS
from rfcn.ops.deform_psroi_pool import deform_psroi_pool
from rfcn.ops.reference import deform_psroi_pool as deform

CASES_OF_A_SEED = 10**9


# ----------------------------------------------------------------------------------- operators


def draw_k(choose: random.Random) -> Variant:
    """k and the channels of a position-sensitive operator."""
    k = choose.choice((1, 1, 1, 2, 2, 2, 3, 3, 4, 7))
    classes = choose.choice((1, 1, 2, 3, 5, 17)) if k < 3 else choose.choice((1, 2))
    return Variant(classes * k * k, {"k": k})


def draw_bins(choose: random.Random) -> Variant:
    """The same, and whose corners and rounding the bins follow."""
    channels, arguments = draw_k(choose)
    return Variant(channels, {**arguments, "semantics": choose.choice(SEMANTICS)})


def draw_shared_bins(choose: random.Random) -> Variant:
    """Bins and channels of an operator whose bins all read the same channels."""
    _, arguments = draw_bins(choose)
    channels = choose.choice((1, 1, 2, 3, 17, 70)) if arguments["k"] < 4 else 1
    return Variant(channels, arguments)


def draw_output_size(choose: random.Random) -> Variant:
    """Bins and channels of an operator whose channels do not know their bin."""
    size = choose.choice(((1, 1), (1, 1), (2, 2), (1, 3), (3, 2), (7, 7)))
    channels = choose.choice((1, 1, 2, 3, 17)) if size != (7, 7) else 1
    return Variant(channels, {"output_size": size})


def draw_samples(choose: random.Random) -> Variant:
    """Bins, samples and groups of a deformable operator."""
    k = choose.choice((1, 1, 1, 1, 2, 2, 3))
    groups = choose.choice((1, 1, 2, 3)) if k < 3 else 1
    classes = groups * choose.choice((1, 1, 2, 5))
    arguments = {
        "k": k,
        "groups": groups,
        "samples": choose.choice((1, 2, 4, 4, 5)),
        "offset_scale": choose.choice((0.1, 0.1, 0.1, 1.0, -0.3, 0.0)),
    }
    return Variant(classes * k * k, arguments)


def draw_sampling(variant: Variant, choose: random.Random, **more: Any) -> Variant:
    """The same, and how many samples a bin has."""
    arguments = {**variant.arguments, "sampling_ratio": choose.choice((0, 0, 1, 2, 2, 3)), **more}
    return Variant(variant.channels, arguments)


DRAWN = {
    "psroi_pool": draw_bins,
    "psroi_vote": draw_bins,
    "roi_average_pool": draw_shared_bins,
    "psroi_align": lambda choose: draw_sampling(draw_k(choose), choose),
    "roi_align": lambda choose: draw_sampling(
        draw_output_size(choose), choose, aligned=choose.random() < 0.6
    ),
    "roi_pool": draw_output_size,
    "deform_psroi_pool": draw_samples,
}
"""What is drawn for an operator; of others, the variants that their contract names."""


def contracts() -> dict[str, type[RoIOpContract]]:
    """The RoI operators: every subclass of the contract in the test files of this folder."""
    found = {}
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        if "(RoIOpContract" in file.read_text():
            classes = vars(importlib.import_module(file.stem)).values()
            own = [one for one in classes if isinstance(one, type) and one is not RoIOpContract]
            own = [one for one in own if issubclass(one, RoIOpContract)]
            name = file.stem.removeprefix("test_")
            found.update({name if len(own) == 1 else f"{name}.{c.__name__}": c for c in own})
    return found


ROI_OPERATORS = contracts()


def try_roi_operator(op: str, number: int) -> Trial:
    """One case of a RoI operator."""
    contract = ROI_OPERATORS[op]
    named = list(contract.variants.values())
    draw = DRAWN.get(op, lambda choose: choose.choice(named))
    case = fuzz_cases.draw_roi_case(number, draw, most_rois=400, score_maps="psroi" in op)
    subject = contract()
    subject.scale = case.scale
    try:
        _hold_against_the_definition(subject, case, number)
        _break_a_row(subject, case, number)
    except Exception as error:
        return Trial(len(case.rois), str(case), f"{type(error).__name__}: {error}")
    return Trial(len(case.rois), str(case))


def _hold_against_the_definition(
    subject: RoIOpContract, case: fuzz_cases.RoICase, number: int
) -> None:
    expected = subject.define(case.features, case.rois, case.variant)
    gradient = fuzz_cases.draw_gradient(number, expected.to(case.features.dtype))
    expected_back = subject.define_gradient(gradient, case.features, case.rois, case.variant)
    for form in FORMS:
        found, back = forward_and_backward(
            form,
            lambda features: subject.call(features, case.rois, case.variant),
            [case.given],
            gradient,
        )
        close(found, expected, f"{form} forward")
        close(back.flatten(1, -3), expected_back, f"{form} backward")


def try_offsets(op: str, number: int) -> Trial:
    """One case of deform_psroi_pool with random offsets, whose gradient is compared too."""
    case = fuzz_cases.draw_roi_case(number, draw_samples, most_rois=150, score_maps=True)
    offsets, scale = fuzz_cases.draw_offsets(number, case)
    arguments = {name: case.variant.arguments[name] for name in ("k", "samples", "offset_scale")}
    sampling = deform.Sampling(spatial_scale=case.scale, **arguments)
    words = f"{case}, offsets of {str(offsets.dtype)[6:]}"
    try:
        expected = deform.deform_psroi_pool(case.features, case.rois, offsets, sampling)
        gradient = fuzz_cases.draw_gradient(number, expected.to(case.features.dtype))
        to_maps, to_offsets = deform.deform_psroi_pool_backward(
            gradient, case.features, case.rois, offsets, sampling
        )
        for form in FORMS:
            found, *back = forward_and_backward(
                form,
                lambda maps, moves: deform_psroi_pool(
                    maps, case.rois, moves, spatial_scale=case.scale, **arguments
                ),
                [case.given, offsets],
                gradient,
            )
            close(found, expected, f"{form} forward")
            close(back[0].flatten(1, -3), to_maps, f"{form} gradient of the maps")
            # As precise as the coarser of the two dtypes.
            moved = back[1] if found.dtype == torch.float64 else back[1].float()
            close(moved, to_offsets, f"{form} gradient of the offsets", scale)
    except Exception as error:
        return Trial(len(case.rois), words, f"{type(error).__name__}: {error}")
    return Trial(len(case.rois), words)


def _break_a_row(subject: RoIOpContract, case: fuzz_cases.RoICase, number: int) -> None:
    """A RoI that cannot be used must be named."""
    choose = random.Random(number)
    row, column = choose.randrange(len(case.rois)), choose.randrange(5)
    rois = case.rois.clone()
    rois[row, column] = choose.choice((torch.nan, torch.inf, -torch.inf))
    if column == 0:
        rois[row, 0] = choose.choice((torch.nan, -1, len(case.features), 0.5, 1e9))
    for name, live in FORMS.items():
        with backend(live):
            try:
                subject.call(case.given, rois, case.variant)
            except RuntimeError as error:
                if not re.match(rf"rois: row {row} is ", str(error)):
                    raise MismatchError(f"{name}: row {row} was broken, but: {error}") from error
            else:
                raise MismatchError(f"{name}: row {row} was broken, and nothing was said")


SUBJECTS: dict[str, Callable[[str, int], Trial]] = {
    **dict.fromkeys(ROI_OPERATORS, try_roi_operator),
    "deform_psroi_pool, offsets": try_offsets,
    "nms": try_nms,
    "soft_nms": try_soft_nms,
    "box_voting": try_box_voting,
}


# ------------------------------------------------------------------------------------- the run


@dataclass
class Tally:
    """What was tried, and what failed: (operator, case number, words)."""

    cases: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[str, int, str]] = field(default_factory=list)

    def table(self) -> str:
        """One line an operator, and one for all."""
        failed = Counter(op for op, _, _ in self.failures)
        lines = [f"{'operator':<28}{'cases':>10}{'RoIs':>12}{'failures':>10}"]
        lines += [
            f"{op:<28}{cases:>10,}{self.rows[op]:>12,}{failed[op]:>10,}"
            for op, cases in self.cases.items()
        ]
        total = (sum(self.cases.values()), sum(self.rows.values()), len(self.failures))
        return "\n".join([*lines, "{:<28}{:>10,}{:>12,}{:>10,}".format("all", *total)])


def fuzz(ops: list[str], seed: int, seconds: float, rows: int | None = None) -> Tally:
    """Tries the operators in turn until the time is over or so many RoIs an operator are tried."""
    tally = Tally()
    end = time.monotonic() + seconds
    number = seed * CASES_OF_A_SEED
    with tqdm(total=round(seconds), unit="s", bar_format="{l_bar}{bar}| {postfix}") as bar:
        while time.monotonic() < end:
            left = [op for op in ops if rows is None or tally.rows[op] < rows]
            if not left:
                break
            for op in left:
                _try(op, number, tally)
            number += 1
            bar.n = min(bar.total, round(seconds - (end - time.monotonic())))
            bar.set_postfix_str(
                f"{sum(tally.rows.values()):,} RoIs, {len(tally.failures)} failures"
            )
    return tally


def _try(op: str, number: int, tally: Tally) -> None:
    with np.errstate(all="ignore"):  # 3e38 and its like overflow in the definitions too
        trial = SUBJECTS[op](op, number)
    tally.cases[op] += 1
    tally.rows[op] += trial.rows
    if trial.fault:
        tally.failures.append((op, number, f"{op}: {trial.words}: {trial.fault}"))


def main(argv: list[str] | None = None) -> int:
    """The command line; 1 if anything failed."""
    parser = argparse.ArgumentParser("fuzz_ops.py", description=__doc__.split("\n\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long to try (60)")
    parser.add_argument("--rois", type=int, help="or until so many RoIs an operator are tried")
    parser.add_argument("--seed", type=int, default=0, help="other cases (0)")
    parser.add_argument("--op", choices=sorted(SUBJECTS), help="this operator only")
    parser.add_argument("--case", type=int, help="this case of --op only, and what it is")
    given = parser.parse_args(argv)
    if not COMPILED.compiled:
        parser.error(f"the operators are not compiled: {COMPILED.reasons['cpu']}")
    if given.case is not None:
        if given.op is None:
            parser.error("--case needs --op")
        trial = SUBJECTS[given.op](given.op, given.case)
        print("fails:" if trial.fault else "passes:", trial.words, trial.fault)
        return 1 if trial.fault else 0
    ops = [given.op] if given.op else list(SUBJECTS)
    tally = fuzz(ops, given.seed, given.seconds, given.rois)
    print(tally.table())
    for op, number, words in tally.failures[:50]:
        print(f"\n{words}\n    python tools/fuzz_ops.py --op '{op}' --case {number}")
    return 1 if tally.failures else 0
