"""One way to time: candidates take turns, and the figures keep their circumstances."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision

import rfcn
from rfcn.ops import library

RESULTS = Path(__file__).parent / "results"


def interleave(candidates: dict[str, Callable[[], object]], rounds: int = 15) -> dict[str, dict]:
    """Milliseconds of each candidate. They take turns, so a busy moment hits all of them alike.

    `wall` is the clock; `cpu` is processor time of all threads, which neighbours hardly change.
    """
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()  # warm-up: allocations, first touches
    for _ in range(rounds):
        for name, run in candidates.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: {
            f"{clock}_{kind}_ms": round(1000 * function(one[index] for one in times), 3)
            for index, clock in enumerate(("wall", "cpu"))
            for kind, function in (("median", statistics.median), ("min", min))
        }
        for name, times in taken.items()
    }


def machine() -> dict[str, object]:
    """Where and with what the figures were taken."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = names[0].split(":", 1)[1].strip() if names else cpu
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load_average": [round(one, 2) for one in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "rfcn": rfcn.__version__,
        "backends": {f"{one.op} {one.device}": one.backend for one in library.status()},
    }


def report(name: str, rows: list[dict[str, object]]) -> None:
    """Prints the rows and writes results/<name>.json."""
    for row in rows:
        print(json.dumps(row))
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"machine": machine(), "rows": rows}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
