"""What a training step needs: memory and time with half the bits, with activation checkpointing.

    python benchmarks/step_memory.py                            # ResNet-50, 600 x 1000, on a CPU
    python benchmarks/step_memory.py --depth 101 --batch 8 --device cuda --compile

Every line is a process of its own, and R-FCN with OHEM on pictures of noise, weights random. Memory
is the peak of the first step above what was there before it (CPU: resident, GPU: allocated): the
activations, the gradients, what operators need for a moment. Time is processor time of the second
step on a CPU, the clock's on a GPU, where ten are taken.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from rfcn.build import build_detector, build_optimizer
from rfcn.config import schema
from rfcn.engine.precision import Precision
from rfcn.engine.step import Manner, find_gradients, take_step
from rfcn.running.machine import prepare
from rfcn.structures import ImageBatch, Target

CASES = [
    (precision, saving)
    for precision in ("float32", "bfloat16", "float16")
    for saving in (False, True)
]


def main() -> None:
    """Print a table, a process for each line."""
    options = read_options()
    if options.case is not None:
        print(json.dumps(measure(options)))
        return
    print(
        "| precision | activation checkpointing | peak MB | seconds a step |\n|---|---|---:|---:|"
    )
    for number, (precision, saving) in enumerate(CASES):
        command = [sys.executable, __file__, *sys.argv[1:], "--case", str(number)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        peak, seconds = json.loads(done.stdout.splitlines()[-1])
        print(
            f"| {precision} | {'yes' if saving else 'no'} | {peak:.0f} | {seconds:.3f} |",
            flush=True,
        )


def read_options() -> argparse.Namespace:
    """The words of the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--size", type=int, nargs=2, default=(600, 1000), metavar=("H", "W"))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def measure(options: argparse.Namespace) -> tuple[float, float]:
    """Peak megabytes and seconds of a step of one case."""
    precision, saving = CASES[options.case]
    torch.manual_seed(0)
    backbone = schema.ResNetBackbone(depth=options.depth, weights="none")
    detector = build_detector(schema.Model(backbone=backbone), [f"class{n}" for n in range(20)])
    runtime = schema.Runtime(activation_checkpointing=saving, compile=options.compile)
    prepare(detector, runtime, options.device)
    optimizer = build_optimizer(schema.Train(), detector)
    manner = Manner(35.0, precision=Precision(precision, options.device.type))
    batch = noise(options.batch, tuple(options.size))

    def step() -> None:
        find_gradients(detector, optimizer, [batch], manner)
        take_step(optimizer, manner)

    peak = peak_of(step, options.device)
    steps = 10 if options.device.type == "cuda" else 1
    clock = time.perf_counter if options.device.type == "cuda" else time.process_time
    began = clock()
    for _ in range(steps):
        step()  # waits for the device, as every step reads its loss
    return peak, (clock() - began) / steps


def noise(count: int, size: tuple[int, int]) -> tuple[ImageBatch, list[Target]]:
    """A batch of pictures with two objects each."""
    height, width = size
    pixels = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8)
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.6], [0.4, 0.3, 0.9, 0.9]])
    boxes = boxes * torch.tensor([width, height, width, height])
    labels = torch.tensor([1, 2])
    targets = [Target(boxes, labels, labels == 0, seed=number) for number in range(count)]
    return ImageBatch(
        pixels, [size] * count, [size] * count, [str(n) for n in range(count)]
    ), targets


def peak_of(step: Callable[[], None], device: torch.device) -> float:
    """Megabytes that a step needs beside what is there before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        return (torch.cuda.max_memory_allocated() - before) / 1e6
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark falls to what there is
    before = resident("VmRSS")
    step()
    return resident("VmHWM") - before


def resident(line: str) -> float:
    """A figure of this process in megabytes, as Linux counts it."""
    for words in map(str.split, Path("/proc/self/status").read_text().splitlines()):
        if words[0] == f"{line}:":
            return int(words[1]) / 1e3
    raise ValueError(line)


if __name__ == "__main__":
    main()
