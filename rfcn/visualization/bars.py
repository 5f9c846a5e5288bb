"""Bars side by side as SVG, for pages of HTML: sharp at every size, coloured by the page."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 460, 180
"""Of a chart, in its own units."""
LEFT, BOTTOM, TOP = 40, 22, 10
_STEPS = (1, 2, 5, 10, 20, 25, 50)
"""Percents between two lines of the grid."""


def grouped_bars(names: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """An SVG element with a group of bars for each name, one bar of each series.

    names: of the groups, below the axis. series: (name, shares), shares being 0..1, one a group;
    drawn in percent. Series n has the CSS class `series-n`; a bar tells its numbers as a tooltip.
    """
    highest = max((share for _, shares in series for share in shares), default=0)
    step = next((one for one in _STEPS if 100 * highest / one <= 5), _STEPS[-1])
    top = step * max(1, -(-round(10_000 * highest) // (100 * step)))  # in percent
    inner = HEIGHT - BOTTOM - TOP
    parts = [f'<svg class="bars" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">']
    for percent in range(0, top + 1, step):
        y = TOP + inner * (1 - percent / top)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="level" x="{LEFT - 5}" y="{y + 3.5:.1f}">{percent} %</text>')
    room = (WIDTH - LEFT) / max(len(names), 1)
    width = 0.78 * room / max(len(series), 1)
    for place, name in enumerate(names):
        x = LEFT + (place + 0.11) * room
        for number, (title, shares) in enumerate(series):
            height = inner * 100 * shares[place] / top
            parts.append(
                f'<rect class="series-{number}" x="{x + number * width:.1f}" '
                f'y="{TOP + inner - height:.1f}" width="{max(width - 1, 1):.1f}" '
                f'height="{height:.1f}"><title>{escape(title)}, {escape(name)}: '
                f"{100 * shares[place]:.1f} %</title></rect>"
            )
        parts.append(
            f'<text class="name" x="{LEFT + (place + 0.5) * room:.1f}" y="{HEIGHT - BOTTOM + 15}">'
            f"{escape(name)}</text>"
        )
    return "".join([*parts, "</svg>"])
