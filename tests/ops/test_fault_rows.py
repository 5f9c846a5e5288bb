"""Every fault of an operator that we promise to meet has a test; crashes have a process to hit."""

import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
TESTS = HERE.parent
ROWS = {
    "O1": "a RoI without area",
    "O2": "a reversed RoI",
    "O3": "a RoI outside the picture",
    "O4": "a RoI partly outside",
    "O5": "a corner that is NaN or infinite",
    "O6": "a corner of 1e30",
    "O7": "a picture that does not exist",
    "O8": "no RoIs, RoIs of a wrong shape",
    "O9": "no pictures, a map without rows or columns",
    "O10": "channels that do not divide",
    "O11": "k of 1, of 7, above the map's side, a map of one cell",
    "O12": "half, double and whole-number features",
    "O13": "RoIs of another dtype or device",
    "O14": "any strides, of features, RoIs and gradients",
    "O15": "RoIs that ask for a gradient",
    "O16": "a scale of 0, below 0, NaN",
    "O17": "double backward, no_grad, inference mode, autocast, compile, opcheck",
    "O18": "more than 2**31 elements",
    "O19": "one RoI 100,000 times, 5000 RoIs of 80 classes",
    "O20": "the same input twice, permuted RoIs",
    "O21": "nms of 0, 1, equal, tied, NaN, 100,000 boxes",
    "O22": "IoU of strange boxes",
    "O23": "encoding and decoding, extreme ratios, an anchor without area",
    "O24": "a binary for another torch, or of older sources",
    "O25": "a build that was killed",
}


def test_every_row_has_a_test():
    named = set()
    for file in TESTS.rglob("*.py"):
        if file != Path(__file__):
            lines = file.read_text().splitlines()
            comments = "\n".join(line for line in lines if "#" in line or '"""O' in line)
            named |= set(re.findall(r"\bO\d+\b", comments))
    missing = {row: words for row, words in ROWS.items() if row not in named}
    assert not missing


def test_no_call_ends_the_process(compiled):  # O5, O6, O7, O8, O9, O19
    # Small pieces of memory go back at once: the limit is to count what is used, not the heap.
    environment = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "RFCN_OPS": "auto"}
    done = subprocess.run(
        [sys.executable, str(HERE / "crash_program.py")],
        env={**os.environ, **environment, "PYTHONPATH": str(TESTS.parent)},
        capture_output=True,
        text=True,
    )
    survived = ["broken_rows", "empty", "wrong_arguments", "memory"]
    assert done.stdout.split() == survived, f"exit code {done.returncode}: {done.stderr[-2000:]}"
    assert done.returncode == 0
