"""Draws docs/pictures/systems.png: what each system computes once for the picture, and per RoI."""

from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrow, FancyBboxPatch

OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "systems.png"
SHARED, POOL, PER_ROI = "#BBD7EE", "#F6E3A1", "#F2B8A0"


class System(NamedTuple):
    """A row of the picture."""

    name: str
    shared: tuple[str, ...]
    """Boxes computed once for the picture."""
    pool: str
    """How RoIs are read; nothing for one stage."""
    per_roi: tuple[str, ...]
    """Boxes computed on every RoI."""


SYSTEMS = (
    System("R-FCN", ("conv1-4", "conv5", "1x1", "k²(C+1) + 8k² maps"), "PS-RoI pool", ("vote",)),
    System("naive Faster R-CNN", ("conv1-4", "conv5"), "RoI pool 7x7", ("scores, boxes",)),
    System("Faster R-CNN (C4)", ("conv1-4",), "RoI pool 14x14", ("conv5", "mean", "scores, boxes")),
    System(
        "Faster R-CNN +++",
        ("conv1-4,\nat 5 sizes",),
        "RoI pool 14x14,\npicture too",
        ("conv5", "mean", "RoI beside\npicture", "scores, boxes,\nonce more"),
    ),
    System(
        "Faster R-CNN (VGG-16)", ("conv1-5_3",), "RoI pool 7x7", ("fc6", "fc7", "scores, boxes")
    ),
    System("class-specific RPN", ("conv1-4", "conv5", "3x3", "C+1 scores an anchor"), "", ()),
    System(
        "Light-Head R-CNN",
        ("conv1-4", "conv5", "15x1 + 1x15", "10k² maps"),
        "PS-RoI pool",
        ("fc 2048", "scores, boxes"),
    ),
    System(
        "Deformable R-FCN",
        ("conv1-4", "deformable conv5", "1x1", "maps + offset maps"),
        "deformable\nPS-RoI pool",
        ("vote",),
    ),
)


def draw_box(axes: Axes, x: float, y: float, text: str, colour: str) -> float:
    """A box with its left edge at x, its middle at y; where its right edge is."""
    longest = max(map(len, text.split("\n")))
    width = 0.5 + 0.115 * longest
    patch = FancyBboxPatch(
        (x, y - 0.28), width, 0.56, boxstyle="round,pad=0.03", facecolor=colour, edgecolor="#444444"
    )
    axes.add_patch(patch)
    axes.text(x + width / 2, y, text, ha="center", va="center", fontsize=8.5)
    return x + width


def draw_row(axes: Axes, system: System, y: float) -> None:
    """One system, left to right."""
    axes.text(-0.15, y, system.name, ha="right", va="center", fontsize=10, weight="bold")
    parts = [(text, SHARED) for text in system.shared]
    parts += [(system.pool, POOL)] if system.pool else []
    parts += [(text, PER_ROI) for text in system.per_roi]
    x = 0.0
    for number, (text, colour) in enumerate(parts):
        if number:
            axes.add_patch(
                FancyArrow(x + 0.05, y, 0.2, 0, width=0.01, head_width=0.14, head_length=0.1,
                           length_includes_head=True, color="#444444")
            )  # fmt: skip
            x += 0.3
        x = draw_box(axes, x, y, text, colour)


def main() -> None:
    """Write the picture."""
    figure = Figure(figsize=(11.3, 0.72 * len(SYSTEMS) + 0.7), dpi=90, layout="constrained")
    axes = figure.add_subplot()
    for place, system in enumerate(SYSTEMS):
        draw_row(axes, system, -0.9 * place)
    y = -0.9 * len(SYSTEMS)
    x = 0.0
    legend = (
        ("once for the picture", SHARED),
        ("reads RoIs", POOL),
        ("once for each RoI", PER_ROI),
    )
    for text, colour in legend:
        x = draw_box(axes, x, y, text, colour) + 0.3
    axes.set_xlim(-3.4, 12.6)
    axes.set_ylim(y - 0.5, 0.6)
    axes.set_axis_off()
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUTPUT)
    print(OUTPUT)


if __name__ == "__main__":
    main()
