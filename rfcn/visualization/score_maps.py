"""Position-sensitive score maps at work: the picture that explains R-FCN (paper, figures 3 and 4).

The class of a RoI is voted on by k x k bins, and each bin reads a score map of its own: bin (top,
left) the map that answers to the top left part of an object, and so on. On an object each map is
high under its bin and the votes agree; a shifted RoI moves the bins off the high places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from rfcn.visualization.draw import Picture, check_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

Floats = NDArray[np.float64]

YELLOW = "#FFE000"
AGAINST, NEUTRAL, FOR = "#1E6BFF", "#FFFFFF", "#FF3300"
"""The colours of a negative, a zero and a positive number."""
CONTEXT = 1.5
"""The maps are shown in a square around the RoI whose side is so many times its longer side."""
COLUMN_INCHES = (6.3, 4.6, 3.8)
"""Widths of picture, maps and votes; the maps make a square."""
WITHOUT_INCHES = 3.8
"""Width of the scores without each bin, where they are shown."""
ROW_INCHES = 5.1
HEADING_INCHES = 0.75
LONGEST_TITLE = 46
"""Letters; a longer one is written smaller, so as not to reach its neighbour."""
DPI = 100


@dataclass(frozen=True)
class ScoreMapView:
    """What there is to show of one RoI and one class."""

    image: Picture
    """uint8 [H, W, 3], the picture as the network saw it (resized, not padded)."""
    roi: Tensor
    """[4] the RoI, half-open, in pixels of `image`."""
    class_name: str
    maps: Tensor
    """[k, k, h, w] float: the score maps of the class, by row and column of the bin they serve."""
    stride: float
    """Pixels of `image` a cell of the maps."""
    votes: Tensor
    """[k, k] float: what position-sensitive pooling gave for the class."""
    score: float
    """Softmax score of the class, 0..1."""
    title: str = ""
    """Stands above the picture; `<class> <score>` if empty."""
    scores_without: Tensor | None = None
    """[k, k] float: the score if the bin had no vote; a column more, where any view has them."""


def draw_score_maps(views: ScoreMapView | Sequence[ScoreMapView], *, heading: str = "") -> Picture:
    """A row for each view: picture with RoI and bins, the k x k maps, the votes -> uint8 [h, w, 3].

    Every map is laid over the picture with the bin that it votes for in yellow. Several views, such
    as a hit and a shifted miss, share one scale of colours. Bins are drawn as even parts of the
    RoI; the released operator rounds their borders to cells. heading: two lines above all.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = [views] if isinstance(views, ScoreMapView) else list(views)
    for view in rows:
        _check(view)
    crops = [_square_around(view) for view in rows]
    largest = full_colour(rows)
    with_without = any(view.scores_without is not None for view in rows)
    columns = (*COLUMN_INCHES, WITHOUT_INCHES) if with_without else COLUMN_INCHES
    head = HEADING_INCHES if heading else 0.0
    width, height = sum(columns) + 0.6, ROW_INCHES * len(rows) + head
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        len(rows),
        len(columns),
        width_ratios=columns,
        left=0.01,
        right=0.99,
        top=1 - (0.085 * ROW_INCHES + head) / height,
        bottom=0.015 * ROW_INCHES / height,
        wspace=0.04,
        hspace=0.11,
    )
    if heading:
        figure.text(0.01, 1 - 0.12 / height, heading.replace("$", r"\$"), fontsize=14.5, va="top")
    for row, (view, crop) in enumerate(zip(rows, crops, strict=True)):
        _draw_picture(figure.add_subplot(grid[row, 0]), view)
        _draw_maps(figure, grid[row, 1], view, crop, largest)
        _draw_votes(figure.add_subplot(grid[row, 2]), view, largest)
        if view.scores_without is not None:
            _draw_without(figure.add_subplot(grid[row, 3]), view, view.scores_without)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def full_colour(views: Sequence[ScoreMapView]) -> float:
    """The value shown in full colour, where several views share one scale."""
    return max(_largest(view, _square_around(view)) for view in views)


def film(values: Floats, largest: float) -> Floats:
    """A map [h, w] as a film of colour, the more transparent the nearer to zero: RGBA 0..1
    [h, w, 4]. largest: the value of full colour."""
    strength = np.clip(values / largest, -1, 1)
    colour: Floats = _colours()(0.5 + 0.5 * np.sign(strength))
    colour[..., 3] = 0.85 * np.abs(strength) ** 1.2
    return colour


def _check(view: ScoreMapView) -> None:
    check_picture(view.image)
    k = view.votes.shape[0]
    if view.votes.shape != (k, k) or view.maps.shape[:2] != (k, k) or view.maps.ndim != 4:
        raise ValueError(
            f"score maps must be [k, k, h, w] and votes [k, k], not {list(view.maps.shape)} and "
            f"{list(view.votes.shape)}"
        )
    if view.scores_without is not None and view.scores_without.shape != (k, k):
        raise ValueError(f"scores_without must be [k, k], not {list(view.scores_without.shape)}")


def _draw_picture(axes: "Axes", view: ScoreMapView) -> None:
    height, width = view.image.shape[:2]
    axes.imshow(view.image, extent=(0, width, height, 0), interpolation="lanczos")
    x1, y1, x2, y2 = view.roi.tolist()
    k = view.votes.shape[0]
    for step in range(1, k):
        x, y = x1 + (x2 - x1) * step / k, y1 + (y2 - y1) * step / k
        axes.plot((x, x), (y1, y2), color=YELLOW, linewidth=0.9, alpha=0.85)
        axes.plot((x1, x2), (y, y), color=YELLOW, linewidth=0.9, alpha=0.85)
    _outline(axes, (x1, y1, x2, y2), 2.4, "solid")
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    axes.set_anchor("N")
    _title(axes, view.title or f"{view.class_name} {view.score:.2f}", weight="bold")


def _draw_maps(
    figure: "Figure", place: "SubplotSpec", view: ScoreMapView, crop: Floats, largest: float
) -> None:
    k = view.votes.shape[0]
    # An invisible panel carries the title over all k x k of them.
    frame = figure.add_subplot(place)
    frame.set_axis_off()
    maps = "the score map" if k == 1 else f"the {k} x {k} score maps"
    _title(frame, f"{maps} of {view.class_name!r}, each with its bin")
    grid = place.subgridspec(k, k, wspace=0.04, hspace=0.04)
    backdrop = _backdrop(view.image)
    height, width = backdrop.shape
    values = _numpy(view.maps)
    x1, y1, x2, y2 = view.roi.tolist()
    for row in range(k):
        for column in range(k):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(backdrop, extent=(0, width, height, 0), vmin=0, vmax=1, cmap="gray")
            _draw_map(axes, values[row, column], view.stride, largest)
            left, top = x1 + (x2 - x1) * column / k, y1 + (y2 - y1) * row / k
            bin_ = (left, top, left + (x2 - x1) / k, top + (y2 - y1) / k)
            _outline(axes, (x1, y1, x2, y2), 0.8, (0, (3, 2)))
            _outline(axes, bin_, 2.2 if k < 5 else 1.6, "solid")
            axes.set(xlim=crop[[0, 2]], ylim=crop[[3, 1]], xticks=(), yticks=())
            axes.set_facecolor("0.1")
            axes.spines[:].set_visible(False)


def _draw_map(axes: "Axes", values: Floats, stride: float, largest: float) -> None:
    extent = (0, values.shape[1] * stride, values.shape[0] * stride, 0)
    axes.imshow(film(values, largest), extent=extent, interpolation="bilinear")


def _draw_votes(axes: "Axes", view: ScoreMapView, largest: float) -> None:
    votes = _numpy(view.votes)
    texts = [[f"{value:.1f}" for value in row] for row in votes]
    _draw_cells(axes, votes / largest, texts)
    _title(axes, "the votes of the bins")
    result = f"mean of the votes (logit) {votes.mean():.2f}\nscore (softmax) {view.score:.3f}"
    _legend(axes, result, "red: for the class, blue: against it")


def _draw_without(axes: "Axes", view: ScoreMapView, without: Tensor) -> None:
    scores = _numpy(without)
    lost = view.score - scores
    # Full colour for the largest change; small changes stay pale.
    largest = max(float(np.abs(lost).max()), 0.1)
    texts = [[f"{value:.2f}" for value in row] for row in scores]
    _draw_cells(axes, lost / largest, texts)
    _title(axes, "the score without each bin")
    result = f"with all bins {view.score:.3f}\nbetween {scores.min():.3f} and {scores.max():.3f}"
    if np.abs(lost).max() < 0.01:
        _legend(axes, result, "no one bin decides")
    else:
        _legend(axes, result, "red: the score falls without it, blue: it rises")


def _draw_cells(axes: "Axes", strength: Floats, texts: Sequence[Sequence[str]]) -> None:
    """A number in each bin, on a colour by its strength, -1..1."""
    k = len(strength)
    axes.imshow(strength, cmap=_colours(), vmin=-1, vmax=1)
    for row, column in np.ndindex(k, k):
        size = min(20, 66 / k)
        axes.text(column, row, texts[row][column], ha="center", va="center", fontsize=size)
    for line in np.arange(k + 1) - 0.5:
        axes.axvline(line, color="white", linewidth=1.5)
        axes.axhline(line, color="white", linewidth=1.5)
    axes.set(xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    axes.set_anchor("N")


def _legend(axes: "Axes", result: str, legend: str) -> None:
    for y, text, size in ((-0.03, result, 13), (-0.165, legend, 10)):
        axes.text(0.5, y, text, transform=axes.transAxes, ha="center", va="top", fontsize=size)


def _colours() -> "LinearSegmentedColormap":
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("votes", (AGAINST, NEUTRAL, FOR))


def _outline(axes: "Axes", box: Sequence[float], width: float, line: object) -> None:
    from matplotlib.patches import Rectangle

    x1, y1, x2, y2 = box
    frame = Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=YELLOW)
    frame.set(linewidth=width, linestyle=line)
    axes.add_patch(frame)


def _title(axes: "Axes", text: str, weight: str = "normal") -> None:
    # A dollar sign would start a formula.
    size = 13 * min(1, LONGEST_TITLE / max(len(text), 1))
    axes.set_title(text.replace("$", r"\$"), fontsize=size, pad=8, fontweight=weight)


def _backdrop(image: Picture) -> Floats:
    """The picture in dimmed grey, 0..1, on which colours stand out. -> [H, W]"""
    return 0.05 + 0.5 * (image @ np.array([0.299, 0.587, 0.114])) / 255


def _square_around(view: ScoreMapView) -> Floats:
    """(x1, y1, x2, y2): a square with the RoI in its middle, moved into the picture."""
    height, width = view.image.shape[:2]
    low, high = np.array(view.roi.tolist()).reshape(2, 2)
    longer = (high - low).max()
    side = max(min(CONTEXT * longer, min(height, width)), 1.1 * longer, view.stride)
    spare = np.array([width, height]) - side
    # A side longer than the picture leaves borders, alike on both sides.
    start = np.where(spare > 0, np.clip((low + high - side) / 2, 0, spare.clip(0)), spare / 2)
    return np.concatenate([start, start + side])


def _largest(view: ScoreMapView, crop: Floats) -> float:
    """The value of full colour: nearly the largest magnitude that is in sight."""
    left, top, right, bottom = (crop / view.stride).clip(0).astype(int)
    seen = np.abs(_numpy(view.maps)[:, :, top : bottom + 1, left : right + 1])
    largest = np.percentile(seen, 99.5) if seen.size else 0.0
    return max(float(largest), float(_numpy(view.votes).max()), 1e-6)


def _numpy(values: Tensor) -> Floats:
    return values.detach().cpu().double().numpy()
