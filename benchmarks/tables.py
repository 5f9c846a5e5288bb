"""Tables of the timings: each drawn from results/*.json, so that no figure is copied by hand."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
FLOOR = "floor"
RIVAL = "torchvision"
HEADING = """# Timings

Written by `python benchmarks/tables.py` from the JSON files beside it: do not edit. The method is
in [../README.md](../README.md).

A cell is the smallest wall time in ms; then, where they were timed, how many times faster than
torchvision, and what fraction of it a copy of the same bytes (`floor`) takes: 100 %
cannot be beaten by an operator that reads its map and writes its output from
memory once.
"""


def markdown(rows: list[dict[str, Any]]) -> str:
    """One line a load, one column a candidate."""
    if not rows:
        return "no rows"
    loads = list(dict.fromkeys(key for row in rows for key in row if key != "ms"))
    candidates = list(dict.fromkeys(name for row in rows for name in row["ms"] if name != FLOOR))
    if any(FLOOR in row["ms"] for row in rows):
        candidates.append(FLOOR)
    lines = [[*loads, *candidates], ["---"] * len(loads) + ["---:"] * len(candidates)]
    for row in rows:
        known = [str(row.get(key, "")) for key in loads]
        lines.append([*known, *(cell(row["ms"], name) for name in candidates)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(times: dict[str, dict[str, float]], name: str) -> str:
    """`1.05 · 10.7× · 32 %`: ms, against torchvision, and the floor's share of it."""
    if name not in times:
        return ""
    own = times[name]["wall_min_ms"]
    parts = [f"{own:.3g}" if own < 100 else f"{own:.0f}"]
    if name not in (FLOOR, RIVAL) and RIVAL in times:
        parts.append(f"{times[RIVAL]['wall_min_ms'] / max(own, 1e-4):.1f}×")
    if name != FLOOR and FLOOR in times:
        parts.append(f"{100 * times[FLOOR]['wall_min_ms'] / max(own, 1e-4):.0f} %")
    return " · ".join(parts)


def circumstances(machine: dict[str, Any]) -> str:
    """One sentence: processor, threads, bandwidth, load, versions."""
    parts = [f"{machine['cpu']}, {machine['threads']} of {machine['cores']} threads"]
    if machine.get("gpu"):
        parts.append(machine["gpu"])
    if "copy_gb_s" in machine:
        parts.append(f"copy {machine['copy_gb_s']} GB/s")
    parts.append(f"load {machine['load_average'][0]}")
    parts += [f"{name} {machine[name]}" for name in ("python", "torch", "torchvision", "rfcn")]
    return "; ".join(parts) + "."


def page(folder: Path) -> str:
    """results/README.md: a section for each JSON file of `folder`."""
    sections = [HEADING]
    for file in sorted(folder.glob("*.json")):
        result = json.loads(file.read_text())
        sections.append(f"## {file.stem}\n\n{circumstances(result['machine'])}\n")
        if "method" in result:
            sections.append(f"{result['method']}\n")
        sections.append(markdown(result["rows"]) + "\n")
    return "\n".join(sections)


if __name__ == "__main__":
    (RESULTS / "README.md").write_text(page(RESULTS))
