"""Everything that needs a GPU, in one run of under ten minutes: python benchmarks/gpu.py.

Compiles the operators for the GPU at hand, holds what they compute there against the CPU, runs a
small part under compute-sanitizer where there is one, asks the contract of the operators
(tests/ops), times them against torchvision and against the bandwidth of a copy, and writes
gpu.json and gpu.md. Ends with 1 where something was wrong.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Runs all parts, or with --small the part that a sanitizer watches."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results" / "gpu")
    parser.add_argument("--small", action="store_true", help="a few small checks, nothing else")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            f"gpu.py: nothing was checked or timed, since torch {torch.__version__} finds no GPU",
            file=sys.stderr,
        )
        return 1
    if given.small:
        return 0 if all(not fault for _, fault in checks(small=True)) else 1
    _compile()
    begin = time.monotonic()
    results = {"checks": [], "tools": {}, "rows": []}
    for what, fault in checks(small=False):
        results["checks"].append({"what": what, "fault": fault})
        if fault:
            print(f"WRONG: {what}: {fault}", flush=True)
    print(f"{len(results['checks'])} checks, {time.monotonic() - begin:.0f} s", flush=True)
    import gpu_timing

    gb_s = gpu_timing.copy_gb_s()
    print(f"copy: {gb_s:.0f} GB/s", flush=True)
    results["rows"] = list(_rows(gb_s))
    results["tools"] = {**_sanitized(), "contract": _contract()}
    _write(results, gb_s, given.output)
    print(f"{time.monotonic() - begin:.0f} s in all", flush=True)
    wrong = any(one["fault"] for one in results["checks"])
    return 1 if wrong or any("failed" in said for said in results["tools"].values()) else 0


def _compile() -> None:
    """Builds the operators for this GPU: nvcc asks it for its architecture."""
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    print((done.stdout + done.stderr).strip().splitlines()[-1], flush=True)


def checks(*, small: bool, device: str = "cuda") -> Iterator[tuple[str, str]]:
    """(what was compared, its fault or nothing). Every operator must be compiled for the device."""
    import gpu_cases

    from rfcn.ops import library

    for one in library.status():
        if one.device == device:
            yield f"{one.op} is compiled", "" if one.backend == "compiled" else one.reason
    for subject in gpu_cases.subjects():
        for channels, count in [(3, 40)] if small else [(3, 40), (8, 400), (40, 3000)]:
            yield from gpu_cases.check(subject, device, channels, count)
    for count in (1, 130) if small else (1, 64, 1000, 6000, 12000):
        yield from gpu_cases.check_nms(device, count)


def _rows(gb_s: float) -> Iterator[dict[str, object]]:
    """What was timed; each row is printed as it comes. gb_s: bandwidth of a copy."""
    import gpu_cases
    import tables

    for subject in gpu_cases.subjects():
        for dtype in (torch.float32, torch.float16):
            for row in gpu_cases.timings(subject, dtype, gb_s):
                print(tables.markdown([row]).splitlines()[-1], flush=True)
                yield row
    yield from gpu_cases.nms_timings()


def _sanitized() -> dict[str, str]:
    """What compute-sanitizer says about the small part, tool by tool."""
    found = shutil.which("compute-sanitizer")
    if found is None:
        return {"compute-sanitizer": "not here"}
    said = {}
    for tool in ("memcheck", "racecheck"):
        command = [found, "--tool", tool, "--error-exitcode", "9"]
        said[tool] = _said([*command, sys.executable, __file__, "--small"], 90)
        print(f"{tool}: {said[tool]}", flush=True)
    return said


def _contract() -> str:
    """What the tests of the operators say about the GPU."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "tests/ops", "-k", "cuda"]
    said = _said([*command, "--confcutdir", "tests/ops"], 150)
    print(f"contract: {said}", flush=True)
    return said


def _said(command: list[str], seconds: float) -> str:
    """The last line of a command, with `failed` before it where it failed."""
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return f"not finished after {seconds:.0f} s"
    last = (done.stdout + done.stderr).strip().splitlines()[-1:]
    return ("failed: " if done.returncode else "") + "".join(last)


def _write(results: dict, gb_s: float, folder: Path) -> None:
    """gpu.json with the circumstances, and gpu.md with the tables."""
    import common
    import tables

    machine = {**common.machine(), "gpu_copy_gb_s": round(gb_s)}
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"machine": machine, **results}, indent=1)
    (folder / "gpu.json").write_text(text + "\n")
    lines = [f"# {machine['gpu']}", "", tables.circumstances(machine), ""]
    lines += [f"A copy of 2 GiB on the GPU moves {gb_s:.0f} GB/s: `floor` is that.", ""]
    for op in dict.fromkeys(row["op"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["op"] == op]
        lines += [f"## {op}", "", tables.markdown(rows), ""]
    faults = [one for one in results["checks"] if one["fault"]]
    lines += ["## Checks", "", f"{len(results['checks'])} comparisons, {len(faults)} wrong.", ""]
    lines += [f"- {one['what']}: {one['fault']}" for one in faults]
    lines += [f"- {tool}: {said}" for tool, said in results["tools"].items()]
    page = "\n".join(lines) + "\n"
    (folder / "gpu.md").write_text(page)
    print(page)


if __name__ == "__main__":
    raise SystemExit(main())
