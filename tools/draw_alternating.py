"""Draws docs/pictures/alternating.png: what learns in each stage of alternating training."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from rfcn.models.alternating import Part
from rfcn.stages import ALTERNATING, Kind

OUTPUT = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "alternating.png"
COLUMNS: tuple[tuple[str, Part], ...] = (
    ("conv1-4", "shared"),
    ("RPN", "rpn"),
    ("conv5, head", "head"),
)
"""What is drawn, from left to right, and the part it is."""
LEARNS, FROZEN, APART, ABSENT = "#F2B8A0", "#BBD7EE", "#E4E4E4", "white"
LEGEND = (
    ("learns", LEARNS),
    ("frozen", FROZEN),
    ("earlier copy", APART),
    ("not computed", ABSENT),
)
WIDTH, GAP = 1.5, 0.2


def colour_of(kind: Kind, part: Part) -> str:
    """What a part does in a kind of stage."""
    if part in kind.learns:
        return LEARNS
    if "rpn" in kind.learns:
        return ABSENT if part == "head" else FROZEN
    return APART if kind.anew else FROZEN  # the RPN proposes; conv1-4 cannot be apart


def draw_box(axes: Axes, x: float, y: float, text: str, colour: str) -> None:
    """A box with its left edge at x, its middle at y."""
    axes.add_patch(
        FancyBboxPatch(
            (x, y - 0.26),
            WIDTH,
            0.52,
            boxstyle="round,pad=0.03",
            facecolor=colour,
            edgecolor="#BBBBBB" if colour == ABSENT else "#444444",
        )
    )
    grey = "#BBBBBB" if colour == ABSENT else "black"
    axes.text(x + WIDTH / 2, y, text, ha="center", va="center", fontsize=9, color=grey)


def draw_scheme(axes: Axes, kinds: tuple[Kind, ...]) -> None:
    """A row for each stage."""
    axes.set_title(f"stages: {len(kinds)}", fontsize=11, loc="left", weight="bold")
    end = len(COLUMNS) * (WIDTH + GAP)
    for number, kind in enumerate(kinds, start=1):
        y = -0.85 * number
        axes.text(-0.2, y, str(number), ha="right", va="center", fontsize=10, weight="bold")
        for place, (text, part) in enumerate(COLUMNS):
            draw_box(axes, place * (WIDTH + GAP), y, text, colour_of(kind, part))
        start = "from the first weights" if kind.anew else f"from stage {number - 1}"
        taught = f"\nproposals of stage {number - 1}" if "head" in kind.learns else ""
        axes.text(end, y, start + taught, va="center", fontsize=8.5)
    axes.set_xlim(-0.6, end + 2.2)
    axes.set_ylim(-0.85 * max(ALTERNATING) - 0.5, -0.3)
    axes.set_axis_off()


def main() -> None:
    """Write the picture."""
    figure = Figure(figsize=(12, 4.1), dpi=90, layout="constrained")
    rows = figure.subplots(2, len(ALTERNATING), height_ratios=(7, 1))
    for axes, kinds in zip(rows[0], ALTERNATING.values(), strict=True):
        draw_scheme(axes, kinds)
    for axes in rows[1]:
        axes.set_axis_off()
    legend = rows[1][0]
    for place, (text, colour) in enumerate(LEGEND):
        draw_box(legend, place * (WIDTH + GAP), 0, text, colour)
    legend.set_xlim(-0.6, len(COLUMNS) * (WIDTH + GAP) + 2.2)
    legend.set_ylim(-0.4, 0.4)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(OUTPUT)
    print(OUTPUT)


if __name__ == "__main__":
    main()
