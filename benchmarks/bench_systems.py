"""Whole systems: R-FCN beside Faster R-CNN with conv5 on every RoI, and beside torchvision's.

    python benchmarks/bench_systems.py              # everything: a quarter of an hour on two cores
    python benchmarks/bench_systems.py test fpn     # some parts: test, step, step2000, fpn

ResNet-101 with random weights, one picture of 600 x 1000, channels-last; every row runs both sides
in turn, with the same options. `test` is picture to detections; `step` is forward, backward and SGD
under OHEM, where Faster R-CNN ranks its RoIs without gradient, then runs the worst 128 anew.
`fpn` is torchvision's fasterrcnn_resnet50_fpn at its own 1,000 RoIs and memory format.

GMAC are counted while it runs, convolutions and matrix products, both passes where there are two.
Proposals are random boxes put in the place of the RPN's after it ran, so that there are as many as
the row says; all else of the RPN, its NMS included, is in the time.
"""

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from common import RESULTS, interleave, report
from loads import random_rois
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from rfcn.build import build_detector, build_optimizer
from rfcn.config.loader import load_config
from rfcn.structures import ImageBatch, Target

CLASSES = [f"class{number}" for number in range(1, 21)]
SIZE = (600, 1000)
OURS, C4, FPN = "R-FCN", "Faster R-CNN", "torchvision FPN"
QUIET = ("model.backbone.weights=none", "model.postprocess.score_threshold=0.05")
"""Weights are random, so scores are all alike: with torchvision's threshold neither side finds
anything, and what is timed does not hang on chance."""
Run = Callable[[], object]


def picture() -> tuple[ImageBatch, list[Target]]:
    """Noise, with five objects."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, 3, *SIZE), dtype=torch.uint8, generator=generator)
    boxes = random_rois(5)[:, 1:]
    target = Target(boxes, torch.arange(1, 6), torch.zeros(5, dtype=torch.bool))
    return ImageBatch(pixels, [SIZE], [SIZE], ["noise"]), [target]


def fixed_proposals(detector: Any, count: int) -> None:
    """Let the RPN do its work, then go on with so many boxes that are known beforehand."""
    own, boxes = detector.proposer.forward, random_rois(count)[:, 1:]

    def forward(*arguments: object) -> tuple[list[Tensor], dict[str, Tensor]]:
        _, losses = own(*arguments)
        return [boxes], losses

    detector.proposer.forward = forward


def detector_of(config_name: str, rois: int, *, training: bool) -> tuple[Any, Any]:
    """A detector of a shipped config with random weights, and its optimizer."""
    counts = [f"model.proposer.{kind}_proposals={rois}" for kind in ("train", "test")]
    config = load_config(config_name, [*QUIET, *counts, "train.lr=1e-9"])
    torch.manual_seed(0)
    detector = build_detector(config.model, CLASSES).to(memory_format=torch.channels_last)
    fixed_proposals(detector, rois)
    return detector.train(training), build_optimizer(config.train, detector)


def tested(config_name: str, rois: int) -> Run:
    """From bytes to detections."""
    detector, _ = detector_of(config_name, rois, training=False)
    batch, _ = picture()

    def run() -> object:
        with torch.inference_mode():
            return detector(batch)

    return run


def stepped(config_name: str, rois: int) -> Run:
    """A training step."""
    detector, optimizer = detector_of(config_name, rois, training=True)
    batch, targets = picture()

    def run() -> None:
        optimizer.zero_grad()
        torch.stack(list(detector(batch, targets).values())).sum().backward()
        optimizer.step()

    return run


def torchvisions(rois: int) -> Run:
    """fasterrcnn_resnet50_fpn, at our picture's size."""
    torch.manual_seed(0)
    detector = fasterrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=len(CLASSES) + 1,
        min_size=min(SIZE),
        max_size=max(SIZE),
        rpn_post_nms_top_n_test=rois,
    ).eval()
    own, boxes = detector.rpn.forward, random_rois(rois)[:, 1:]
    detector.rpn.forward = lambda *arguments: ([boxes], own(*arguments)[1])
    image = picture()[0].tensor[0].float() / 255

    def run() -> object:
        with torch.inference_mode():
            return detector([image])

    return run


class Flops(TorchDispatchMode):
    """Counts what torch has formulas for. (Its own counter follows modules by hooks on gradients,
    which a backward pass that asks for gradients itself cannot have.)"""

    flops = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        kwargs = kwargs or {}
        formula = flop_registry.get(func._overloadpacket)
        if formula is None:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        if formula is not None:
            self.flops += formula(*args, **kwargs, out_val=result)
        return result


class Counted:
    """A run whose first turn, which is not timed, is counted."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.gmac: float | None = None
        """Billions of multiply-adds."""

    def __call__(self) -> None:
        """One turn."""
        if self.gmac is not None:
            self.run()
            return
        with Flops() as counter:
            self.run()
        self.gmac = counter.flops / 2e9


def compared(load: dict[str, object], aim: str, candidates: dict[str, Run], rounds: int) -> dict:
    """A row: the candidates' times and GMAC, and how many times the second takes of the first."""
    counted = {name: Counted(run) for name, run in candidates.items()}
    times = interleave(counted, rounds)
    first, second = candidates
    gmac = [one.gmac for one in counted.values()]
    ratio = {
        clock: times[second][f"{clock}_min_ms"] / times[first][f"{clock}_min_ms"]
        for clock in ("wall", "cpu")
    }
    return {
        **load,
        "GMAC": f"{gmac[0]:.0f} : {gmac[1]:.0f}",
        "counted": f"{gmac[1] / gmac[0]:.2f}",
        "times": f"{ratio['wall']:.2f} (cpu {ratio['cpu']:.2f})",
        "aim": aim,
        "ms": times,
    }


OHEM = {OURS: "paper/table3/rfcn_ohem_300.yaml", C4: "paper/table3/frcnn_ohem_300.yaml"}


def test_rows() -> list[dict]:
    """300 RoIs at test."""
    candidates = {name: tested(config, 300) for name, config in OHEM.items()}
    return [compared({"part": "test", "RoIs": 300}, "2.2", candidates, rounds=5)]


def step_rows() -> list[dict]:
    """A step with 300 RoIs, and what 2,000 add to R-FCN's."""
    candidates = {name: stepped(config, 300) for name, config in OHEM.items()}
    rows = [compared({"part": "step", "RoIs": 300}, "1.6", candidates, rounds=4)]
    more = {f"{OURS}, {count} RoIs": stepped(OHEM[OURS], count) for count in (300, 2000)}
    return [*rows, compared({"part": "step", "RoIs": "300, 2000"}, "at most 1.05", more, rounds=6)]


def step2000_rows() -> list[dict]:
    """A step with 2,000 RoIs: two rounds, for it takes Faster R-CNN a minute."""
    candidates = {name: stepped(config, 2000) for name, config in OHEM.items()}
    return [compared({"part": "step2000", "RoIs": 2000}, "4.5", candidates, rounds=2)]


def fpn_rows() -> list[dict]:
    """ResNet-101 R-FCN at 300 RoIs, torchvision's ResNet-50 FPN at 1,000."""
    candidates = {OURS: tested(OHEM[OURS], 300), FPN: torchvisions(1000)}
    return [compared({"part": "fpn", "RoIs": "300 : 1000"}, "1.3", candidates, rounds=5)]


PARTS = {"test": test_rows, "step": step_rows, "step2000": step2000_rows, "fpn": fpn_rows}


def kept_rows(fresh: list[str]) -> list[dict]:
    """The rows of an earlier run that this one does not time again."""
    file = RESULTS / "systems.json"
    rows = json.loads(file.read_text())["rows"] if file.exists() else []
    return [row for row in rows if row["part"] not in fresh]


if __name__ == "__main__":
    wanted = sys.argv[1:] or list(PARTS)
    found = kept_rows(wanted)
    for part in wanted:
        found += PARTS[part]()
    found.sort(key=lambda row: list(PARTS).index(row["part"]))
    report("systems", found)
