"""`rfcn replay`: take a failed training step again and say where its numbers were lost."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfcn.cli.options import add_device_option, add_override_option, count_or_zero

if TYPE_CHECKING:
    from rfcn.running.replay import Replay

STILL_BAD = 5
"""Exit code where the step fails again: that of the training it comes from."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "step",
        metavar="FOLDER",
        type=Path,
        help="what the failed run named: RUN/failure/step_NNNNNNNN",
    )
    add_override_option(parser)
    add_device_option(parser)
    parser.add_argument(
        "--layers",
        metavar="N",
        type=count_or_zero,
        default=8,
        help="outputs shown up to the first that is not finite (default: 8)",
    )


def run(args: argparse.Namespace) -> int:
    """Replay, print what was seen."""
    from rfcn.running.replay import replay

    overrides = [*args.overrides, *([f"runtime.device={args.device}"] if args.device else [])]
    found = replay(args.step, overrides=overrides)
    for line in tell(found, layers=args.layers):
        print(line)
    return 0 if found.is_good else STILL_BAD


def tell(found: "Replay", *, layers: int) -> Iterator[str]:
    """What a replay has seen, line by line."""
    report = found.bundle.report
    names = [name for batch, _ in found.bundle.failed.pieces for name in batch.ids]
    yield f"step {found.bundle.failed.step} with {', '.join(names)}"
    yield from _numbers(found, report)
    if report:
        yield f"cause that the run found likely: {report['likely_cause']}"
    if found.lost_weights:
        yield f"not finite before the step: {_some(found.lost_weights)}"
    yield from _lost_outputs(found, layers)
    yield from _lost_gradients(found)
    if found.trace.error is not None:
        yield f"the step ended with {found.trace.error}"
    yield "the step is good now" if found.is_good else "the step fails again"


def _numbers(found: "Replay", report: dict[str, Any] | Any) -> Iterator[str]:
    """Losses and norm, then and now."""
    now: dict[str, float] = {}
    if found.found is not None:
        now = {name: value.item() for name, value in found.found.losses.items()}
        now["gradient norm"] = found.found.gradient_norm
    then = dict(report.get("losses", {}), **{"gradient norm": report.get("gradient_norm", "")})
    width = max(map(len, {**then, **now}))
    yield f"{'':{width}}  {'then':>12}  {'now':>12}"
    for name in {**then, **now}:
        shown = f"{now[name]:.6g}" if name in now else ""
        yield f"{name:{width}}  {then.get(name, '')!s:>12}  {shown:>12}"


def _lost_outputs(found: "Replay", layers: int) -> Iterator[str]:
    first = found.trace.output
    if first is None:
        yield "the outputs of all modules are finite"
        return
    yield f"the first output that is not finite, of {first.module or 'the whole model'}:"
    for one in found.trace.before(layers):
        yield f"{'>' if one is first else ' '} {one}"


def _lost_gradients(found: "Replay") -> Iterator[str]:
    first = found.trace.gradient
    if first is not None:
        yield "the first gradient that is not finite came back to the output of:"
        yield f"> {first}"
    if found.lost_gradients:
        yield f"parameters whose gradient is not finite: {_some(found.lost_gradients)}"


def _some(names: Any) -> str:
    from rfcn.engine.tracing import some_names

    return some_names(list(names))
