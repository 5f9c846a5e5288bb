"""How a training run went: one small panel for each term of the loss and for the learning rate."""

import json
import math
from pathlib import Path

import numpy as np

from rfcn.errors import DataError
from rfcn.visualization.draw import Picture

Series = tuple[list[float], list[float]]
"""Steps and values."""

COLUMNS = 4
BLUE, GREY, RED = "#0072B2", "#B8C9D6", "#D55E00"
SMOOTH_SHARE = 0.05
"""The smooth line is a mean over this share of the points."""


def plot_losses(metrics: str | Path) -> Picture:
    """Draws the `metrics.jsonl` of a run folder -> uint8 [h, w, 3].

    Panels: the loss, each `train/loss_*`, the learning rate, and every `val/mAP*`. No line runs
    from one stage of a training into the next. A value that was not finite (null) is left out.
    Raises DataError when the file cannot be read or holds no step.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    series = _read(Path(metrics))
    names = sorted(filter(_is_shown, series), key=_place)
    if not names:
        raise DataError(f"{metrics}: holds no losses yet; a run writes them as it trains.")
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    figure = Figure(figsize=(3.9 * columns, 2.5 * rows + 0.2), dpi=100, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    for index, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, index + 1)
        steps, values = (np.array(column) for column in series[name])
        is_loss = name.startswith("train/loss")
        marker = "o" if len(values) < 30 else None
        for part in _parts(steps, series.get("train/stage")):
            x, y = steps[part], values[part]
            if is_loss:
                axes.plot(x, y, color=GREY, linewidth=0.8)
                axes.plot(x, _smooth(y), color=BLUE, linewidth=1.8)
            else:
                axes.plot(x, y, color=RED, linewidth=1.5, marker=marker, markersize=3.5)
        axes.set_ylim(0, 1.05 * max(np.percentile(values, 99.5), 1e-9) if is_loss else None)
        axes.set_title(f"{name}   last {values[-1]:.3g}", fontsize=10, loc="left")
        axes.grid(color="0.92", linewidth=0.6)
        axes.tick_params(labelsize=8, length=0)
        axes.spines[["top", "right"]].set_visible(False)
    figure.supxlabel("step", fontsize=10)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _read(path: Path) -> dict[str, Series]:
    """Every number by its name. A last line that a killed run left unfinished is dropped."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as the metrics of a run: {error}") from error
    series: dict[str, Series] = {}
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
            step = float(record["step"])
        except (ValueError, KeyError, TypeError) as error:
            if number == len(lines):
                break
            raise DataError(f"{path}:{number}: is not a record with a step: {error!r}") from error
        for name, value in record.items():
            if isinstance(value, int | float) and math.isfinite(value):
                steps, values = series.setdefault(name, ([], []))
                steps.append(step)
                values.append(float(value))
    return series


def _is_shown(name: str) -> bool:
    return name == "train/lr" or name.startswith(("train/loss", "val/mAP"))


def _place(name: str) -> int:
    """The losses first (in the order of the file), then the evaluation, then the learning rate."""
    return 0 if name.startswith("train/loss") else 2 if name == "train/lr" else 1


def _parts(steps: np.ndarray, stages: Series | None) -> list[np.ndarray]:
    """The places of `steps` that belong to each stage; all of them where there are no stages."""
    places = np.arange(len(steps))
    if stages is None:
        return [places]
    logged, numbers = map(np.array, stages)
    own = numbers[np.searchsorted(logged, steps).clip(max=len(logged) - 1)]
    return np.split(places, np.flatnonzero(np.diff(own)) + 1)


def _smooth(values: np.ndarray) -> np.ndarray:
    """The mean over a window in the middle of which each value lies (cut at both ends)."""
    reach = round(SMOOTH_SHARE * len(values) / 2)
    sums = np.concatenate([[0.0], np.cumsum(values)])
    low = np.maximum(np.arange(len(values)) - reach, 0)
    high = np.minimum(np.arange(len(values)) + reach + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)
