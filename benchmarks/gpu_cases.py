"""What gpu.py checks and times: the RoI operators, their loads and their rivals in torchvision."""

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torchvision
from bench_nms import clustered, spread
from gpu_timing import interleave_on_gpu, sets_beyond_cache, side_stream
from loads import HEIGHT, SCALE, WIDTH, K, memory_orders, random_rois
from tables import FLOOR, RIVAL
from torch import Tensor

from rfcn.ops.nms import nms

Pool = Callable[[Tensor, Tensor], Tensor]
"""(features, rois) -> what the operator makes of them."""
THRESHOLD = 0.7


@dataclass(frozen=True)
class Subject:
    """A RoI operator with its other arguments fixed."""

    name: str
    call: Pool
    rival: Pool | None
    loads: tuple[tuple[int, int], ...]
    """(channels, RoIs) that are timed."""
    by_bin: bool
    """Whether channels belong to bins, so that maps may lie bin by bin."""

    def orders(self, features: Tensor) -> dict[str, Tensor]:
        """The same features in each memory order, the fastest one first."""
        if self.by_bin:
            orders = memory_orders(features)
            return {name: orders[name] for name in ("by bin", "planes", "channels-last")}
        last = features.contiguous(memory_format=torch.channels_last)
        return {"channels-last": last, "planes": features}


def subjects() -> list[Subject]:
    """The RoI operators of this checkout."""
    score_maps = tuple((classes * K * K, n) for classes in (21, 81) for n in (300, 2000))
    features = ((1024, 300), (256, 1000))
    theirs = torchvision.ops

    def voted(maps: Tensor, rois: Tensor) -> Tensor:
        return theirs.ps_roi_pool(maps, rois, K, SCALE).mean((2, 3))

    table = [
        ("psroi_pool", (K, SCALE), lambda m, r: theirs.ps_roi_pool(m, r, K, SCALE), True),
        (
            "psroi_vote",
            (K, SCALE),
            lambda m, r: theirs.ps_roi_pool(m, r, K, SCALE).mean((2, 3)),
            True,
        ),
        ("psroi_align", (K, SCALE, 2), lambda m, r: theirs.ps_roi_align(m, r, K, SCALE, 2), True),
        ("roi_average_pool", (K, SCALE), None, False),
        ("roi_pool", (K, SCALE), lambda m, r: theirs.roi_pool(m, r, K, SCALE), False),
        ("roi_align", (K, SCALE, 2), lambda m, r: theirs.roi_align(m, r, K, SCALE, 2, True), False),
    ]
    found = []
    for name, arguments, rival, by_bin in table:
        if importlib.util.find_spec(f"rfcn.ops.{name}") is None:
            continue
        function = getattr(importlib.import_module(f"rfcn.ops.{name}"), name)
        call = lambda m, r, function=function, more=arguments: function(m, r, *more)  # noqa: E731
        found.append(Subject(name, call, rival, score_maps if by_bin else features, by_bin))
    return found


# ------------------------------------------------------------------------------------- checks


TOLERANCES = {
    torch.float32: 1e-5,
    torch.float64: 1e-12,
    torch.float16: 2e-2,
    torch.bfloat16: 2e-2,
}
"""Of the largest value, between the GPU and the CPU."""


def hard_rois(count: int) -> Tensor:
    """[count, 5] RoIs of two pictures: usual ones, reversed, points, borders, far outside."""
    g = torch.Generator().manual_seed(count)
    rois = random_rois(count)
    rois[:, 0] = torch.randint(0, 2, (count,), generator=g)
    rois[::7, 1:] = rois[::7, 1:].flip(1)
    rois[1::7, 3:] = rois[1::7, 1:3]
    rois[2::7, 1:] = rois[2::7, 1:].floor() + 0.5
    rois[3::7, 1:] += 700
    rois[4::7, 1:] *= -1e6
    return rois


def check(subject: Subject, device: str, channels: int, count: int) -> Iterator[tuple[str, str]]:
    """(what was compared, what was wrong with it or nothing) for every dtype and memory order.

    The gradient comes twice as it is, once in another memory order: all give the same bits.
    """
    rois = hard_rois(count)
    shape = (2, channels * K * K if subject.by_bin else channels, HEIGHT, WIDTH)
    plain = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for dtype, tolerance in TOLERANCES.items():
        leaf = plain.to(dtype).requires_grad_()
        expected = subject.call(leaf, rois)
        given = torch.randn(expected.shape, dtype=torch.float64).to(dtype)
        (expected_back,) = torch.autograd.grad(expected, leaf, given)
        for order, features in subject.orders(plain.to(dtype).to(device)).items():
            what = f"{subject.name}, {str(dtype)[6:]}, {order}, {count} RoIs"
            there = features.detach().requires_grad_()
            runs = []
            for gradient in (given.to(device), given.to(device), _turned(given.to(device))):
                found = subject.call(there, rois.to(device))
                (back,) = torch.autograd.grad(found, there, gradient)
                runs.append((found.detach(), back.reshape(shape)))
            yield f"{what}, forward", _apart(runs[0][0], expected, tolerance)
            yield f"{what}, backward", _apart(runs[0][1], expected_back, tolerance)
            pairs = [(a, b) for run in runs[1:] for a, b in zip(run, runs[0], strict=True)]
            same = all(torch.equal(a, b) for a, b in pairs)
            yield f"{what}, same bits again", "" if same else "other bits"


def _turned(gradient: Tensor) -> Tensor:
    """The same gradient in the other memory order."""
    axes = list(reversed(range(gradient.dim())))
    return gradient.permute(axes).contiguous().permute(axes)


def _apart(found: Tensor, expected: Tensor, tolerance: float) -> str:
    """What is wrong with the figures, or nothing."""
    error = (found.detach().cpu().double() - expected.detach().double()).abs()
    largest = float(expected.detach().double().abs().amax()) if expected.numel() else 0.0
    worst = float(error.nan_to_num(nan=torch.inf).amax()) if error.numel() else 0.0
    allowed = tolerance * max(1.0, largest)
    return "" if worst <= allowed else f"{worst:.3g} apart, {allowed:.3g} is allowed"


def check_nms(device: str, count: int) -> Iterator[tuple[str, str]]:
    """The same for nms: identical indices."""
    for kind in (spread, clustered):
        g = torch.Generator().manual_seed(count)
        boxes, scores = kind(count, g), torch.rand(count, generator=g)
        groups = torch.randint(0, 5, (count,), generator=g)
        for dtype in (torch.float32, torch.float64):
            for one, limit in ((None, None), (groups, None), (None, 300), (groups, 20)):
                mine = boxes.to(dtype)
                here = nms(mine, scores, THRESHOLD, groups=one, limit=limit)
                there = nms(
                    mine.to(device),
                    scores.to(device),
                    THRESHOLD,
                    groups=None if one is None else one.to(device),
                    limit=limit,
                )
                what = f"nms, {str(dtype)[6:]}, {count} {kind.__name__}"
                what += ", groups" * (one is not None) + f", limit {limit}" * (limit is not None)
                yield what, "" if here.tolist() == there.tolist() else "other boxes are kept"


# ------------------------------------------------------------------------------------- times


def timings(subject: Subject, dtype: torch.dtype, gb_s: float) -> Iterator[dict[str, object]]:
    """Rows of results: forward and backward of each load, in each memory order."""
    for channels, count in subject.loads:
        rois = random_rois(count).cuda()
        features = torch.randn(1, channels, HEIGHT, WIDTH, device="cuda", dtype=dtype)
        output = subject.call(features, rois)
        sets = sets_beyond_cache(features, output)
        candidates = {
            f"rfcn, {order}": (one, subject.call) for order, one in subject.orders(features).items()
        }
        if subject.rival is not None and dtype != torch.bfloat16:
            candidates[RIVAL] = (features, subject.rival)
        forward, backward = {}, {}
        for name, (one, pool) in candidates.items():
            forward[name], backward[name] = _work(one, rois, pool, sets)
        touched = (features.numel() + output.numel()) * features.element_size()
        floor = {"wall_median_ms": touched / gb_s / 1e6, "wall_min_ms": touched / gb_s / 1e6}
        for part, work in (("forward", forward), ("backward", backward)):
            yield {
                "op": subject.name,
                "channels": channels,
                "rois": count,
                "dtype": str(dtype)[6:],
                "part": part,
                "ms": {**interleave_on_gpu(work), FLOOR: floor},
            }


def _work(features: Tensor, rois: Tensor, pool: Pool, sets: int):  # type: ignore[no-untyped-def]
    """Forward and backward on several copies of the features."""
    forward, backward = [], []
    with side_stream():
        for _ in range(sets):
            copy = torch.empty_like(features).copy_(features)
            leaf = copy.detach().requires_grad_()
            found = pool(leaf, rois)
            given = torch.randn_like(found)
            forward.append(lambda copy=copy: pool(copy, rois))
            backward.append(
                lambda found=found, leaf=leaf, given=given: torch.autograd.grad(
                    found, leaf, given, retain_graph=True
                )
            )
    return forward, backward


def nms_timings() -> Iterator[dict[str, object]]:
    """Rows of results for nms: whole calls, and the kernels alone on boxes already in order."""
    for make in (spread, clustered):
        for count in (2000, 6000, 12000):
            g = torch.Generator().manual_seed(1)
            boxes, scores = make(count, g).cuda(), torch.rand(count, generator=g).cuda()
            ms = interleave_on_gpu(_nms_work(boxes, scores))
            yield {"op": "nms", "boxes": count, "kind": make.__name__, "ms": ms}


def _nms_work(boxes: Tensor, scores: Tensor) -> dict[str, list[Callable[[], object]]]:
    ranked = boxes[scores.argsort(descending=True)].contiguous()
    kernels = torch.ops.rfcn.nms
    return {
        "rfcn": [lambda: nms(boxes, scores, THRESHOLD)],
        "rfcn, first 300": [lambda: nms(boxes, scores, THRESHOLD, limit=300)],
        "kernels": [lambda: kernels(ranked, None, THRESHOLD, len(boxes))],
        "kernels, first 300": [lambda: kernels(ranked, None, THRESHOLD, 300)],
        RIVAL: [lambda: torchvision.ops.nms(boxes, scores, THRESHOLD)],
    }
