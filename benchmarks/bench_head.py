"""The two forms of the R-FCN head (`rfcn/models/heads/forms.py`), and which one `auto` takes.

    python benchmarks/bench_head.py             # 20 and 80 classes
    python benchmarks/bench_head.py 7 365 1203  # k = 7 with many, in minutes; other rows are kept

Timed are the votes from reduced features of 1,024 channels: score maps of C + 1 classes and two
sets of box maps. `auto` is right where it takes the faster form, or one within a tenth of it.
"""

import json
import sys
import time
from collections.abc import Callable
from typing import Literal

import torch
from common import RESULTS, interleave, report
from loads import HEIGHT, SCALE, WIDTH, random_rois

from rfcn.models.heads.poolers import PositionSensitivePooler
from rfcn.models.heads.rfcn import RFCNHead

DEPTH = 1024
CLASSES = (20, 80)
ROIS = (100, 300, 1000, 2000)
SECONDS = 1.0
"""Rounds are run for about so long, but at least one after the warm-up."""
FORMS: tuple[Literal["maps", "features"], ...] = ("maps", "features")


def passes(head: RFCNHead, rois: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Forward alone, and forward with backward, of the form the head is set to."""
    reduced = torch.randn(1, DEPTH, HEIGHT, WIDTH).contiguous(memory_format=torch.channels_last)
    leaf = reduced.clone().requires_grad_()
    learned = [leaf, *head.score_maps.parameters(), *head.box_maps.parameters()]

    def forward() -> object:
        with torch.no_grad():
            return head.votes(reduced, rois)

    def both() -> object:
        scores, boxes = head.votes(leaf, rois)
        return torch.autograd.grad([scores, boxes], learned, [scores.detach(), boxes.detach()])

    return {"forward": forward, "forward and backward": both}


def in_form(head: RFCNHead, form: Literal["maps", "features"], run: Callable[[], object]) -> object:
    """One run with the head set to a form."""
    head.form = form
    return run()


def bench(head: RFCNHead, classes: int, count: int) -> list[dict[str, object]]:
    """A row for each pass: both forms, what auto takes, and what that costs against the best."""
    rois = random_rois(count)
    rows: list[dict[str, object]] = []
    for part, run in passes(head, rois).items():
        start = time.perf_counter()
        for form in FORMS:
            in_form(head, form, run)
        rounds = min(15, max(1, round(SECONDS / (time.perf_counter() - start))))
        candidates = {form: lambda form=form, run=run: in_form(head, form, run) for form in FORMS}
        times = interleave(candidates, rounds)
        head.form = "auto"
        reduced = torch.empty(
            1, DEPTH, HEIGHT, WIDTH, device="meta", requires_grad=part != "forward"
        )
        taken = head.forms(reduced, rois)
        spent = {form: times[form]["cpu_min_ms"] for form in FORMS}
        excess = spent[taken[0]] / min(spent.values())
        verdict = "right" if excess <= 1.1 else f"{excess:.2f}x the faster"
        load = {"k": head.k, "classes": classes, "rois": count, "part": part}
        rows.append(
            {**load, "auto": " and ".join(dict.fromkeys(taken)), "is": verdict, "ms": times}
        )
    return rows


def slices(arguments: list[str]) -> list[tuple[int, int]]:
    """The (k, classes) asked for: those of CLASSES, or some of one k."""
    if not arguments:
        return [(k, classes) for k in (3, 7) for classes in CLASSES]
    k, *classes = map(int, arguments)
    return [(k, one) for one in classes or CLASSES]


def kept_rows(fresh: list[tuple[int, int]]) -> list[dict[str, object]]:
    """The rows of an earlier run that this one does not time again."""
    file = RESULTS / "head.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    return [row for row in rows if (row["k"], row["classes"]) not in fresh]


if __name__ == "__main__":
    torch.manual_seed(0)
    wanted = slices(sys.argv[1:])
    found = kept_rows(wanted) if sys.argv[1:] else []
    for k, classes in wanted:
        pooler = PositionSensitivePooler(k, round(1 / SCALE))
        head = RFCNHead(8, classes=classes, pooler=pooler, reduction=DEPTH)
        for count in ROIS:
            print(f"k = {k}, {classes} classes, {count} RoIs", file=sys.stderr, flush=True)
            found += bench(head, classes, count)
    found.sort(key=lambda row: (row["k"], row["classes"], row["rois"], row["part"]))
    report("head", found)
