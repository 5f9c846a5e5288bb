"""One way to time: candidates take turns, beside a copy of as many bytes, and say where."""

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
import torchvision
from tables import FLOOR, markdown
from torch import Tensor

import rfcn
from rfcn.ops import library

RESULTS = Path(__file__).parent / "results"
Times = dict[str, dict[str, float]]
"""Of each candidate: wall_median_ms, wall_min_ms, cpu_median_ms, cpu_min_ms."""


def interleave(
    candidates: dict[str, Callable[[], object]], rounds: int = 15, *, touches: Sequence[Tensor] = ()
) -> Times:
    """Milliseconds of each candidate. They take turns, so a busy moment hits all of them alike.

    `wall` is the clock; `cpu` is processor time of all threads, which neighbours hardly change.

    Args:
        candidates: what to time, under the names of the columns; ours first.
        rounds: how often each has its turn, after one turn that is not timed.
        touches: what the work must read or write at least once: the map and the output. A copy of
            as many bytes then takes its turn too, as the candidate "floor".
    """
    if touches:
        candidates = {**candidates, FLOOR: copy_of(touches)}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()  # warm-up: allocations, first touches
    for _ in range(rounds):
        for name, run in candidates.items():
            finish()
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            finish()
            taken[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {
        name: {
            f"{clock}_{kind}_ms": round(1000 * function(one[index] for one in times), 4)
            for index, clock in enumerate(("wall", "cpu"))
            for kind, function in (("median", statistics.median), ("min", min))
        }
        for name, times in taken.items()
    }


def finish() -> None:
    """Waits for the GPU, where one is used: its work runs on after the call has returned."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def bytes_of(tensors: Sequence[Tensor]) -> int:
    """The bytes of all elements, as if each were touched once."""
    return sum(one.numel() * one.element_size() for one in tensors)


def copy_of(tensors: Sequence[Tensor]) -> Callable[[], object]:
    """A copy that moves as many bytes as the tensors hold: half of them read, half written."""
    half = max(1, bytes_of(tensors) // 2)
    device = tensors[0].device
    source = torch.zeros(half, dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)  # written once: the pages exist before the clock starts
    return lambda: target.copy_(source)


def floor_ms(*tensors: Tensor, rounds: int = 9) -> float:
    """Milliseconds, the smallest of `rounds`, of a copy of as many bytes as the tensors hold."""
    return interleave({FLOOR: copy_of(tensors)}, rounds)[FLOOR]["wall_min_ms"]


@cache
def copy_gb_s() -> float:
    """Memory bandwidth of a copy too large for the caches, bytes read and written, in GB/s."""
    large = torch.zeros(1 << 27, dtype=torch.uint8), torch.zeros(1 << 27, dtype=torch.uint8)
    return round(bytes_of(large) / floor_ms(*large) / 1e6, 2)


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
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "copy_gb_s": copy_gb_s(),
        "load_average": [round(one, 2) for one in os.getloadavg()],
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "rfcn": rfcn.__version__,
        "backends": {f"{one.op} {one.device}": one.backend for one in library.status()},
    }


def rows_of(
    bench: Callable[..., list[dict[str, object]]], loads: Sequence[tuple[object, ...]]
) -> list[dict[str, object]]:
    """The rows of every load, one after the other; says which is at work."""
    rows = []
    for number, load in enumerate(loads, 1):
        print(f"{bench.__name__} {number} of {len(loads)}: {load}", file=sys.stderr, flush=True)
        rows += bench(*load)
    return rows


def report(name: str, rows: list[dict[str, object]], method: str = "") -> None:
    """Prints the rows as a table and writes results/<name>.json.

    A row is the load (channels, RoIs, part ...) with its times under "ms", as `interleave` gives.
    method: what was measured, where the page should say more than the table.
    """
    print(markdown(rows))
    RESULTS.mkdir(exist_ok=True)
    said = {"method": method} if method else {}
    text = json.dumps({**said, "machine": machine(), "rows": rows}, indent=1)
    (RESULTS / f"{name}.json").write_text(text + "\n")
