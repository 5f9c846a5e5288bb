"""How operators are written that ONNX has an operator of its own for.

Each function takes what the torch operator takes, as symbols of the graph, and returns symbols.
They are called by torch's exporter only, which has onnxscript.
"""

from collections.abc import Sequence
from typing import Any

FLOAT, INT32, INT64, BOOL = 1, 6, 7, 9


def _opset() -> Any:
    """The operators of the ONNX version that torch's own translations are written in."""
    from onnxscript import opset18

    return opset18


def masked_select(x: Any, mask: Any) -> Any:
    """x and mask of any shapes that broadcast -> [how many are true]."""
    op = _opset()
    x, mask = op.Expand(x, op.Shape(mask)), op.Expand(mask, op.Shape(x))
    return op.Compress(x, op.Reshape(mask, op.Constant(value_ints=[-1])))


def nms(boxes: Any, groups: Any, threshold: float, limit: int) -> Any:
    """boxes: [B, 4], best first; groups: [B] or None -> [B] bool, which are kept.

    A group is a class of NonMaxSuppression, whose boxes of other groups score 0, below the score
    that counts; the others score by rank. So no coordinate is shifted to keep groups apart.
    """
    op = _opset()
    boxes = _no_strange_boxes(op, op.Cast(boxes, to=FLOAT))
    count = op.Shape(boxes, start=0, end=1)
    one = op.Constant(value_ints=[1])
    zeros = op.Expand(op.Constant(value_ints=[0]), count)
    rank = op.CumSum(op.Expand(one, count), 0, reverse=1)  # the best box scores B, the last 1
    if groups is None:
        scores = op.Unsqueeze(rank, [0])
    else:
        names, _, _, _ = op.Unique(groups)
        mine = op.Equal(op.Unsqueeze(names, [1]), op.Unsqueeze(groups, [0]))
        scores = op.Where(mine, op.Unsqueeze(rank, [0]), 0)
    scores = op.Unsqueeze(op.Cast(scores, to=FLOAT), [0])
    most = count if limit < 0 else op.Constant(value_ints=[limit])
    found = op.NonMaxSuppression(op.Unsqueeze(boxes, [0]), scores, most, threshold, 0.5)
    index = op.Gather(found, op.Constant(value_int=2), axis=1)
    keep = op.ScatterElements(zeros, index, op.Expand(one, op.Shape(index)), axis=0)
    if limit >= 0:  # of all groups together, the first
        keep = op.Where(op.LessOrEqual(op.CumSum(keep, 0), limit), keep, zeros)
    return op.Cast(keep, to=BOOL)


def _no_strange_boxes(op: Any, boxes: Any) -> Any:
    """Reversed or infinite boxes overlap nothing here; ONNX would turn them round. So: empty."""
    low, high = op.Slice(boxes, [0], [2], [1]), op.Slice(boxes, [2], [4], [1])
    side = op.Sub(high, low)  # NaN or inf where a corner is
    sound = op.And(op.Greater(side, 0.0), op.Less(side, float("inf")))
    sound = op.ReduceMin(op.Cast(sound, to=INT32), [1])
    return op.Where(op.Cast(sound, to=BOOL), boxes, 0.0)


def roi_pool(
    features: Any, rois: Any, height: int, width: int, spatial_scale: float, with_cells: bool
) -> tuple[Any, Any]:
    """features: [N, D, H, W], rois: [R, 5] -> [R, D, height, width] by MaxRoiPool, and no cells."""
    op = _opset()
    rois = _usable_rois(op, rois, features, spatial_scale)
    # As whole numbers they must not overflow; so far out, nothing changes with the distance.
    far = max(1e6, 1e6 / spatial_scale)
    rois = op.Clip(rois, op.Constant(value_float=-far), op.Constant(value_float=far))
    size = [height, width]
    pooled = op.MaxRoiPool(features, rois, pooled_shape=size, spatial_scale=spatial_scale)
    return pooled, op.Cast(op.Slice(op.Shape(rois), [0], [0]), to=INT32)


def roi_align(
    features: Any,
    rois: Any,
    output_size: Sequence[int],
    spatial_scale: float,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    """features: [N, D, H, W], rois: [R, 5] -> [R, D, *output_size] by RoiAlign."""
    op = _opset()
    rois = _usable_rois(
        op, rois, features, spatial_scale, ordered=_adaptive(sampling_ratio, aligned)
    )
    picture = op.Cast(op.Squeeze(op.Slice(rois, [0], [1], [1]), [1]), to=INT64)
    return op.RoiAlign(
        features,
        op.Slice(rois, [1], [5], [1]),
        picture,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        output_height=output_size[0],
        output_width=output_size[1],
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )


def psroi_align(features: Any, rois: Any, spatial_scale: float, sampling_ratio: int) -> Any:
    """features: [N, C, k, k, H, W], rois: [R, 5] -> [R, C, k, k] by RoiAlign.

    Each bin becomes a RoI of one bin, and the maps of each bin a picture.
    """
    op = _opset()
    k = features.shape[2]
    rois = _usable_rois(op, rois, features, spatial_scale, ordered=_adaptive(sampling_ratio))
    picture, low, high = (
        op.Slice(rois, [a], [b], [1]) for a, b in ((0, 1), (1, 3), (3, 5))
    )  # [R, 1], [R, 2], [R, 2]
    corners = [float(x) for i in range(k) for j in range(k) for x in (j, i)]
    place = op.Constant(value_floats=corners)
    place = op.Reshape(place, op.Constant(value_ints=[1, k * k, 2]))
    side = op.Unsqueeze(op.Div(op.Sub(high, low), float(k)), [1])
    begin = op.Add(op.Unsqueeze(low, [1]), op.Mul(place, side))  # [R, k*k, 2]
    rows = op.Reshape(
        op.Concat(begin, op.Add(begin, side), axis=2), op.Constant(value_ints=[-1, 4])
    )
    numbers = op.Constant(value_ints=list(range(k * k)))
    index = op.Add(op.Mul(op.Cast(picture, to=INT64), k * k), op.Unsqueeze(numbers, [0]))
    size = op.Shape(features)
    maps = op.Transpose(features, perm=[0, 2, 3, 1, 4, 5])
    classes = op.Slice(size, [1], [2])
    maps = op.Reshape(
        maps, op.Concat(op.Constant(value_ints=[-1]), classes, op.Slice(size, [4], [6]), axis=0)
    )
    pooled = op.RoiAlign(
        maps,
        rows,
        op.Reshape(index, op.Constant(value_ints=[-1])),
        coordinate_transformation_mode="half_pixel",
        output_height=1,
        output_width=1,
        sampling_ratio=sampling_ratio,
        spatial_scale=spatial_scale,
    )
    bins = op.Constant(value_ints=[k, k])
    shape = op.Concat(op.Shape(rois, start=0, end=1), bins, classes, axis=0)
    return op.Transpose(op.Reshape(pooled, shape), perm=[0, 3, 1, 2])


def _adaptive(sampling_ratio: int, aligned: bool = True) -> bool:
    """Whether a reversed RoI has no samples: zeros here, an error in ONNX Runtime."""
    return sampling_ratio <= 0 and aligned


def _usable_rois(
    op: Any, rois: Any, features: Any, spatial_scale: float, ordered: bool = False
) -> Any:
    """float32 rows, those of no picture or not finite replaced by one outside picture 0.

    ordered: those with a corner on the wrong side of the other, too.
    """
    rois = op.Cast(rois, to=FLOAT)
    finite = op.ReduceMin(op.Cast(op.Equal(op.Sub(rois, rois), 0.0), to=INT32), [1])
    index = op.Slice(rois, [0], [1], [1])
    count = op.Cast(op.Shape(features, start=0, end=1), to=FLOAT)
    exists = op.And(op.GreaterOrEqual(index, 0.0), op.Less(index, count))
    exists = op.And(exists, op.Equal(op.Floor(index), index))
    if ordered:
        sides = op.Sub(op.Slice(rois, [3], [5], [1]), op.Slice(rois, [1], [3], [1]))
        long = op.ReduceMin(sides, [1])
        exists = op.And(exists, op.GreaterOrEqual(long, 0.0))
    outside = op.Constant(value_floats=[0.0, *[-100 / spatial_scale] * 4])
    return op.Where(op.And(exists, op.Cast(finite, to=BOOL)), rois, outside)
