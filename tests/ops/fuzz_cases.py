"""Random calls of the operators: every layout and dtype, and RoIs on every edge there is.

A case is drawn from one number, so that the number is all it takes to meet it again.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from roi_op_contract import Variant, memory_orders
from torch import Tensor

SCALES = (1.0, 1 / 2, 1 / 8, 1 / 16, 1 / 32, 0.1, 1 / 3, 0.0371)
MAP_DTYPES = (torch.float32,) * 4 + (torch.float64,) * 3 + (torch.float16, torch.bfloat16)
SIDES = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 19)


@dataclass
class RoICase:
    """One call of a RoI operator."""

    variant: Variant
    scale: float
    features: Tensor
    """[N, C, H, W] as the definition takes them."""
    given: Tensor
    """The same values as the operator gets them: in some memory order, expanded, or 6-D."""
    rois: Tensor
    order: str

    def __str__(self) -> str:
        shape = "x".join(map(str, self.features.shape))
        dtypes = f"{str(self.features.dtype)[6:]}/{str(self.rois.dtype)[6:]}"
        arguments = ", ".join(f"{name}={value}" for name, value in self.variant.arguments.items())
        return f"{shape} {self.order}, {len(self.rois)} RoIs, {dtypes}, {arguments}, {self.scale:g}"


def draw_roi_case(
    number: int, draw_variant: Callable[[random.Random], Variant], most_rois: int, score_maps: bool
) -> RoICase:
    """The case of this number. score_maps: whether [N, C, k, k, H, W] is drawn too."""
    choose, g = random.Random(number), torch.Generator().manual_seed(number)
    variant, scale = draw_variant(choose), choose.choice(SCALES)
    height, width, pictures = choose.choice(SIDES), choose.choice(SIDES), choose.randint(1, 3)
    shape = (pictures, variant.channels, height, width)
    features = torch.randn(shape, generator=g, dtype=torch.float64).to(choose.choice(MAP_DTYPES))
    if choose.random() < 0.3:
        features = features.round()  # ties, for what takes a maximum
    orders: dict[str, Tensor] = memory_orders(features)
    if score_maps:
        orders["by bin"] = by_bin(features, variant.arguments["k"])
    orders["pictures expanded"] = features[:1].expand(shape)
    order = choose.choice(list(orders))
    if order == "pictures expanded":
        features = orders[order].contiguous()
    count = choose.choice((1, 3, 40, most_rois, most_rois, most_rois))
    size = (height / scale, width / scale)
    dtype = choose.choice((torch.float32, torch.float32, torch.float64))
    rois = evil_rois(g, count, pictures, size, scale).to(dtype)
    return RoICase(variant, scale, features, orders[order], rois, order)


def by_bin(features: Tensor, k: int) -> Tensor:
    """[N, C, k, k, H, W] whose classes of a bin lie side by side."""
    maps = features.unflatten(1, (-1, k, k))
    return maps.permute(0, 4, 5, 2, 3, 1).contiguous().permute(0, 5, 3, 4, 1, 2)


def evil_rois(
    g: torch.Generator, count: int, pictures: int, size: tuple[float, float], scale: float
) -> Tensor:
    """[count, 5] float64. Whole RoIs are inside, inverted, points or far; and each corner may sit
    on a cell's border or a number's width beside it, on a half, on the picture's edge, at 1e30.
    """
    limits = torch.tensor([size[1], size[0], size[1], size[0]], dtype=torch.float64)
    corners = _random(g, count, 4) * 1.6 - 0.3
    ordered = torch.cat([corners[:, :2], corners[:, :2] + 0.8 * _random(g, count, 2)], dim=1)
    kind = torch.randint(0, 10, (count, 1), generator=g)
    corners = torch.where(kind < 7, ordered, corners) * limits  # 7, 8, 9: may be inverted
    corners = torch.where(kind == 8, corners[:, :2].repeat(1, 2), corners)
    corners = torch.where(kind == 9, corners + 3 * limits, corners)
    on_border = (corners * scale).round() / scale
    beside = torch.nextafter(on_border.float(), _pick(g, count, [-9e9, 9e9]).float()).double()
    extremes = [0.0, -0.0, 1e-30, -1e-30, 1e6, -1e6, 1e30, -1e30, 3e38, -3e38, 2**31, 2**33]
    choices = [
        *[corners] * 10,
        *[corners.round()] * 3,
        corners.floor() + 0.5,
        on_border,
        on_border - 1,
        beside,
        _pick(g, count, [0.0, 1.0, -1.0, -0.5]) + _pick(g, count, [0.0, 1.0]) * limits,
        torch.where(_random(g, count, 4) < 0.8, corners, _pick(g, count, extremes)),
    ]
    choice = torch.randint(0, len(choices), (count, 4), generator=g)
    corners = torch.stack(choices).gather(0, choice[None])[0]
    index = torch.randint(0, pictures, (count, 1), generator=g).double()
    return torch.cat([index, corners], dim=1)


def draw_offsets(number: int, case: RoICase) -> tuple[Tensor, Tensor]:
    """[R, G, 2, k, k] for a deformable case; and how much a unit of them moves each RoI's samples,
    in cells but at least 1, [R, 1, 1, 1, 1] float64: the scale of their gradient."""
    choose, g = random.Random(number), torch.Generator().manual_seed(number)
    arguments = case.variant.arguments
    k, count = arguments["k"], len(case.rois)
    offsets = torch.randn(count, arguments["groups"], 2, k, k, generator=g, dtype=torch.float64)
    far = _random(g, *offsets.shape) < 0.05
    offsets = torch.where(far, offsets * choose.choice((10.0, 1e4, 1e30)), offsets)
    if choose.random() < 0.3:
        offsets = offsets.round()  # samples on rows and columns of cells
    dtype = choose.choice((torch.float32, torch.float32, torch.float64))
    sides = (case.rois[:, 3:].double() - case.rois[:, 1:3].double()).amax(dim=1) + 2
    cells = abs(arguments["offset_scale"]) * case.scale * sides
    return offsets.to(dtype), cells.clamp(min=1)[:, None, None, None, None]


def draw_gradient(number: int, like: Tensor) -> Tensor:
    """A gradient of an output: dense, one number for all, one for all bins, or transposed."""
    choose, g = random.Random(number), torch.Generator().manual_seed(number)
    dense = torch.randn(like.shape, generator=g, dtype=torch.float64).to(like.dtype)
    bins = dense[..., :1, :1] if like.dim() == 4 else dense
    sizes, axes = like.shape[::-1], tuple(reversed(range(like.dim())))
    kinds = [
        dense,
        dense.flatten()[:1].expand(like.numel()).view(like.shape) if like.numel() else dense,
        bins.expand(like.shape),
        torch.randn(sizes, generator=g, dtype=torch.float64).to(like.dtype).permute(axes),
    ]
    return choose.choice(kinds)


STRANGE = (torch.nan, torch.inf, -torch.inf, 3e38, -3e38, 0.0)


def draw_boxes(
    number: int, most: int, strange: tuple[float, ...] = STRANGE
) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """Boxes, scores, and the other arguments of nms."""
    choose, g = random.Random(number), torch.Generator().manual_seed(number)
    count = choose.choice((0, 1, 2, 63, 64, 65, most, most, most))
    spread = choose.choice((5.0, 30.0, 300.0))
    corners = _random(g, count, 2) * spread
    boxes = torch.cat([corners, corners + _random(g, count, 2) * 40], dim=1)
    if choose.random() < 0.5:
        boxes = boxes.round()
    if choose.random() < 0.3:
        boxes = torch.where(_random(g, count, 4) < 0.95, boxes, _pick(g, count, list(strange)))
    scores = _random(g, count, 1)[:, 0]
    if choose.random() < 0.5:
        scores = (scores * 8).round() / 8
    if choose.random() < 0.3:
        scores = torch.where(_random(g, count, 1)[:, 0] < 0.8, scores, torch.nan)
    threshold = choose.choice((0.0, 0.25, 0.3, 0.5, 0.7, 1.0, choose.random()))
    arguments: dict[str, Any] = {"threshold": threshold}
    if choose.random() < 0.5:
        arguments["groups"] = torch.randint(0, 5, (count,), generator=g) * 2**40 - 2**41
    if choose.random() < 0.5:
        arguments["limit"] = choose.choice((0, 1, 7, 64, 10**6))
    dtype = choose.choice((torch.float32, torch.float64))
    return boxes.to(dtype), scores.float(), arguments


def _random(g: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=g, dtype=torch.float64)


def _pick(g: torch.Generator, count: int, values: list[float]) -> Tensor:
    """[count, 4] of the values."""
    index = torch.randint(0, len(values), (count, 4), generator=g)
    return torch.tensor(values, dtype=torch.float64)[index]
