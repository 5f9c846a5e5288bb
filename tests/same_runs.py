"""Whether two runs have come to the same end, to the last bit."""

import json
from pathlib import Path
from typing import Any

import torch

from rfcn.engine.checkpoint import checkpoints, load_checkpoint
from rfcn.engine.weights import load_weights

EVALUATED = ("detections.json", "metrics.json", "per_class.csv")
OF_THE_CLOCK = ("time/step", "time/data", "seconds")


def differences(reference: Path, output: Path) -> list[str]:
    """In what a complete run differs from another one; nothing, as it should be."""
    found = [
        name
        for name in EVALUATED
        if (reference / "eval" / name).read_bytes() != (output / "eval" / name).read_bytes()
    ]
    pairs = [(_lines(reference), _lines(output)), (_kept(reference), _kept(output))]
    found += [f"{a} / {b}" for before, now in pairs for a, b in _unequal(before, now)]
    files = [
        {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
        for run in (reference, output)
    ]
    return found + [f"{name}: in one of them only" for name in sorted(files[0] ^ files[1])]


def _lines(output: Path) -> list[str]:
    """metrics.jsonl without what the clock says."""
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    return [
        json.dumps({key: value for key, value in line.items() if key not in OF_THE_CLOCK})
        for line in lines
    ]


def _kept(output: Path) -> list[str]:
    """Every number of the newest checkpoint and of the weights, to the last bit."""
    state = load_checkpoint(checkpoints(output / "checkpoints")[-1])
    del state["extra"]["config"]["data"]["workers"]
    for generator in ("python", "numpy"):  # seeded by the system: nothing may depend on them
        del state["rng"][generator]
    weights = {name: load_weights(output / "weights" / name)[0] for name in ("last", "best")}
    return _flat({"checkpoint": state, "weights": weights})


def _flat(tree: Any, path: str = "") -> list[str]:
    if isinstance(tree, torch.Tensor):
        return [f"{path} {tree.dtype} {list(tree.shape)} {tree.numpy().tobytes().hex()}"]
    if isinstance(tree, dict):
        return [line for key in tree for line in _flat(tree[key], f"{path}.{key}")]
    if isinstance(tree, list | tuple):
        return [line for key, one in enumerate(tree) for line in _flat(one, f"{path}.{key}")]
    return [f"{path} {tree!r}"]


def _unequal(before: list[str], now: list[str]) -> list[tuple[str, str]]:
    """Pairs of lines that differ, about where they begin to."""
    longest = max(len(before), len(now))
    padded = [lines + ["(none)"] * (longest - len(lines)) for lines in (before, now)]
    pairs = [pair for pair in zip(*padded, strict=True) if pair[0] != pair[1]]
    starts = [max(0, _common(*pair) - 80) for pair in pairs]
    return [(a[i : i + 160], b[i : i + 160]) for (a, b), i in zip(pairs, starts, strict=True)]


def _common(a: str, b: str) -> int:
    """How many letters they begin with alike."""
    return next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
