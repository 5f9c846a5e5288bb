"""Time and memory against classes, RoIs, bins and picture size: every operator, both heads.

    python benchmarks/curves.py                # draws results/curves/ops.png, head.png, nms.png
    python benchmarks/curves.py head rois k    # measures two sweeps of one anew, keeps the others

Each sweep changes one number of a load and keeps the others: 21 classes, 300 RoIs, k = 7 and a
picture whose short side has 600 pixels (3 : 5, stride 16). Position-sensitive operators read maps
of all classes, the others 1,024 channels, which do not depend on classes. The head votes from 1,024
reduced channels.

Time is the smallest of the turns that `common.interleave` gives, by the clock. Memory is the most
bytes that tensors hold at once beyond the inputs, as torch's profiler logs each allocation and
release; what a kernel takes for itself beside torch's allocator is not seen. It is exact and the
same at every run, unlike the size of the process.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from common import RESULTS, interleave, machine
from loads import SCALE, random_rois
from torch import Tensor

from rfcn.models.heads.poolers import PositionSensitivePooler
from rfcn.models.heads.rfcn import RFCNHead
from rfcn.ops import library
from rfcn.ops.box_voting import box_voting
from rfcn.ops.deform_psroi_pool import deform_psroi_pool
from rfcn.ops.nms import nms
from rfcn.ops.psroi_align import psroi_align
from rfcn.ops.psroi_pool import psroi_pool
from rfcn.ops.psroi_vote import psroi_vote
from rfcn.ops.roi_align import roi_align
from rfcn.ops.roi_average_pool import roi_average_pool
from rfcn.ops.roi_pool import roi_pool
from rfcn.ops.soft_nms import soft_nms

CHANNELS = 1024
ROUNDS = 2
FOLDER = RESULTS / "curves"
MEASURES = {
    "forward_ms": "forward, ms",
    "both_ms": "forward and backward, ms",
    "forward_mb": "forward, MB at most",
    "both_mb": "forward and backward, MB at most",
}


class Load(NamedTuple):
    """classes with background, RoIs, bins a side, pixels of the picture's short side."""

    classes: int = 21
    rois: int = 300
    k: int = 7
    side: int = 600

    @property
    def cells(self) -> tuple[int, int]:
        """Height and width of the features."""
        return -(-self.side // 16), -(-self.side * 5 // 3 // 16)

    def boxes(self) -> Tensor:
        """RoIs spread over the picture."""
        rois = random_rois(self.rois)
        rois[:, 1:] *= self.side / 600
        return rois


class Subject(NamedTuple):
    """What is measured at one load: a call without arguments, and the leaves of its gradient."""

    run: Callable[[], Any]
    leaves: list[Tensor]


Maker = Callable[[Load], Subject]
SWEEPS: dict[str, dict[str, tuple[int, ...]]] = {
    "ops": {
        "classes": (6, 21, 81, 366),
        "rois": (30, 100, 300, 1000),
        "k": (1, 3, 5, 7, 9),
        "side": (300, 600, 900, 1200),
    },
    "head": {
        "classes": (6, 21, 81, 366),
        "rois": (30, 100, 300, 1000, 2000),
        "k": (1, 3, 5, 7, 9),
        "side": (300, 600, 900, 1200),
    },
    "nms": {"rois": (300, 1000, 3000, 6000)},
}


def on_maps(op: Callable[..., Tensor]) -> Maker:
    """A position-sensitive operator, on maps whose classes lie side by side."""

    def make(load: Load) -> Subject:
        shape = (1, *load.cells, load.k, load.k, load.classes)
        maps = torch.randn(shape).permute(0, 5, 3, 4, 1, 2).requires_grad_()
        rois = load.boxes()
        return Subject(lambda: op(maps, rois, load.k, SCALE), [maps])

    return make


def deformed(load: Load) -> Subject:
    """deform_psroi_pool, with offsets that all classes share and that learn too."""
    shape = (1, *load.cells, load.k, load.k, load.classes)
    maps = torch.randn(shape).permute(0, 5, 3, 4, 1, 2).requires_grad_()
    offsets = torch.randn(load.rois, load.k, load.k, 1, 2).permute(0, 3, 4, 1, 2).requires_grad_()
    rois = load.boxes()
    return Subject(lambda: deform_psroi_pool(maps, rois, offsets, load.k, SCALE), [maps, offsets])


def on_channels(op: Callable[..., Tensor]) -> Maker:
    """An operator that pools every channel, on channels-last features."""

    def make(load: Load) -> Subject:
        shape = (1, *load.cells, CHANNELS)
        features = torch.randn(shape).permute(0, 3, 1, 2).requires_grad_()
        rois = load.boxes()
        return Subject(lambda: op(features, rois, load.k, SCALE), [features])

    return make


def a_head(form: Literal["auto", "maps", "features"]) -> Maker:
    """The R-FCN head in one form, from reduced features."""

    def make(load: Load) -> Subject:
        pooler = PositionSensitivePooler(load.k, round(1 / SCALE))
        head = RFCNHead(8, classes=load.classes - 1, pooler=pooler, reduction=CHANNELS, form=form)
        reduced = torch.randn(1, *load.cells, CHANNELS).permute(0, 3, 1, 2).requires_grad_()
        rois = load.boxes()
        learned = [*head.score_maps.parameters(), *head.box_maps.parameters()]

        def run() -> Tensor:
            logits, deltas = head.votes(reduced, rois)
            return torch.cat([logits, deltas.flatten(1)], dim=1)

        return Subject(run, [reduced, *learned])

    return make


def on_boxes(op: Callable[[Tensor, Tensor], object]) -> Maker:
    """What is asked of so many scored boxes."""

    def make(load: Load) -> Subject:
        g = torch.Generator().manual_seed(1)
        boxes, scores = load.boxes()[:, 1:], torch.rand(load.rois, generator=g)
        return Subject(lambda: op(boxes, scores), [])

    return make


def kept_and_voted(boxes: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
    """nms, and what is left of each cluster moved to its mean."""
    return box_voting(boxes, scores, nms(boxes, scores, 0.3))


SUBJECTS: dict[str, dict[str, Maker]] = {
    "ops": {
        "psroi_pool": on_maps(psroi_pool),
        "psroi_vote": on_maps(psroi_vote),
        "psroi_align": on_maps(psroi_align),
        "deform_psroi_pool": deformed,
        "roi_average_pool": on_channels(roi_average_pool),
        "roi_pool": on_channels(roi_pool),
        "roi_align": on_channels(roi_align),
    },
    "head": {"maps": a_head("maps"), "features": a_head("features")},
    "nms": {
        "nms": on_boxes(lambda boxes, scores: nms(boxes, scores, 0.7)),
        "soft_nms": on_boxes(soft_nms),
        "nms and box_voting": on_boxes(kept_and_voted),
    },
}


def measure(subjects: dict[str, Subject]) -> dict[str, dict[str, float]]:
    """Each subject's MEASURES; without leaves, of the forward pass alone."""

    def forward(one: Subject) -> Callable[[], object]:
        def run() -> object:
            with torch.no_grad():
                return one.run()

        return run

    def both(one: Subject) -> Callable[[], object]:
        def run() -> object:
            found = one.run()
            return torch.autograd.grad(found, one.leaves, torch.ones_like(found))

        return run

    learning = {name: one for name, one in subjects.items() if one.leaves}
    passes = {
        "forward": {name: forward(one) for name, one in subjects.items()},
        "both": {name: both(one) for name, one in learning.items()},
    }
    found: dict[str, dict[str, float]] = {name: {} for name in subjects}
    for part, runs in passes.items():
        for name, times in interleave(runs, ROUNDS).items():
            found[name][f"{part}_ms"] = times["wall_min_ms"]
            found[name][f"{part}_mb"] = round(peak_bytes(runs[name]) / 1e6, 3)
    return found


def peak_bytes(run: Callable[[], object]) -> int:
    """The most bytes of tensors alive at once that `run` made."""
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        kept = run()
    del kept
    now = most = 0
    changes = [one for one in profile.profiler.kineto_results.events() if one.name() == "[memory]"]
    for one in sorted(changes, key=lambda event: event.start_ns()):
        now += one.nbytes()
        most = max(most, now)
    return most


def points(figure: str, sweeps: list[str]) -> Iterator[dict[str, Any]]:
    """Every point of every curve of these sweeps of a figure."""
    live = {
        name: make
        for name, make in SUBJECTS[figure].items()
        if figure != "ops" or library.is_compiled(name, torch.device("cpu"))
    }
    for sweep in sweeps:
        for value in SWEEPS[figure][sweep]:
            load = Load()._replace(**{sweep: value})
            print(f"{figure}: {sweep} {value}", file=sys.stderr, flush=True)
            torch.manual_seed(0)
            measured = measure({name: make(load) for name, make in live.items()})
            for name, found in measured.items():
                yield {"subject": name, "sweep": sweep, "value": value, **found}


def draw(rows: list[dict[str, Any]], file: Path) -> None:
    """A column for each sweep, a row for each measure, a line for each subject; both axes log."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    sweeps = list(dict.fromkeys(row["sweep"] for row in rows))
    shown = [name for name in MEASURES if any(name in row for row in rows)]
    size = 3.6 * len(sweeps) + 1, 2.6 * len(shown) + 0.4
    figure = Figure(figsize=size, dpi=110, layout="constrained")
    axes = figure.subplots(len(shown), len(sweeps), squeeze=False)
    for line, measure_name in zip(axes, shown, strict=True):
        for axis, sweep in zip(line, sweeps, strict=True):
            for subject in dict.fromkeys(row["subject"] for row in rows):
                own = [r for r in rows if (r["subject"], r["sweep"]) == (subject, sweep)]
                values = [r["value"] for r in own]
                axis.loglog(values, [r[measure_name] for r in own], "o-", ms=3, label=subject)
            axis.set_xticks(values, [str(value) for value in values], minor=False)
            axis.minorticks_off()
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.grid(alpha=0.3)
            axis.set_xlabel({"side": "short side, pixels", "rois": "RoIs"}.get(sweep, sweep))
        line[0].set_ylabel(MEASURES[measure_name])
    lines, names = axes[0][0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside upper center", ncols=4, fontsize=8)
    FigureCanvasAgg(figure).print_png(str(file))


def renew(figure: str, sweeps: list[str]) -> Path:
    """Measure sweeps of a figure (all if none are named), keep its others, draw it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    file = FOLDER / f"{figure}.json"
    rows = json.loads(file.read_text())["rows"] if sweeps and file.exists() else []
    rows = [row for row in rows if row["sweep"] not in sweeps]
    rows += points(figure, sweeps or list(SWEEPS[figure]))
    rows.sort(key=lambda row: list(SWEEPS[figure]).index(row["sweep"]))
    file.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n")
    draw(rows, file.with_suffix(".png"))
    return file.with_suffix(".png")


if __name__ == "__main__":
    for name in sys.argv[1:2] or list(SUBJECTS):
        print(renew(name, sys.argv[2:]))
