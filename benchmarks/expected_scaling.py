"""What to expect of 1 to 64 GPUs: counted work and bytes, and stated speeds; nothing is timed.

    python benchmarks/expected_scaling.py --data VOCdevkit
    python benchmarks/expected_scaling.py --data VOCdevkit --tflops 90 --machine 450 --network 50

A step of N processes with a picture each lasts

    compute x stretch(N) + the part of the exchange that the backward pass does not hide

compute   multiply-adds of the step of the config, counted while it runs on one picture of the mean
          size, twice their number over the speed a card sustains (--tflops; not its peak)
stretch   all wait for the largest picture of a step: mean over an epoch of the real pictures, in
          the batches that the training loader plans, of the largest area over the mean area
exchange  a ring sends each byte of gradient 2 (N - 1) / N times, at the speed of its slowest link:
          within a machine (--machine), between machines (--network), plus a delay for each hop.
          Backward is two thirds of compute, and the exchange of all but the last bucket of 25 MB
          goes on beside it
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from bench_systems import Flops, detector_of, picture
from PIL import Image

from rfcn.datasets.loader import plan_epoch
from rfcn.datasets.transforms import fitted_size

CONFIG = "rfcn/r101_voc_ohem.yaml"
BUCKET = 25 * 2**20
"""Bytes that DistributedDataParallel sends together."""
SHORT_SIDE, MAX_LONG_SIDE = 600, 1000


@dataclass(frozen=True)
class Cluster:
    """What the expectation rests on beside the counted work."""

    tflops: float = 20.0
    """Floating point operations a card sustains, 10^12 a second."""
    machine: float = 200.0
    """Between the cards of a machine, GB/s each way."""
    network: float = 12.5
    """Between machines, GB/s."""
    cards: int = 8
    """A machine."""
    hop: float = 20e-6
    """Seconds until a message is on its way."""


@dataclass(frozen=True)
class Step:
    """The work of one picture, forward and backward."""

    gmac: float
    gradient_bytes: int


def stretch(areas_of_steps: list[list[int]]) -> float:
    """How much longer than the mean picture the largest of each step takes, on average."""
    areas = [area for step in areas_of_steps for area in step]
    largest = [max(step) for step in areas_of_steps]
    return (sum(largest) / len(largest)) / (sum(areas) / len(areas))


def exchange_seconds(size: int, gradient_bytes: int, cluster: Cluster) -> float:
    """A ring all-reduce of so many bytes between `size` processes."""
    if size == 1:
        return 0.0
    speed = cluster.machine if size <= cluster.cards else min(cluster.machine, cluster.network)
    steps = 2 * (size - 1)
    return steps / size * gradient_bytes / (speed * 1e9) + steps * cluster.hop


def step_seconds(size: int, step: Step, stretched: float, cluster: Cluster) -> float:
    """A step of `size` processes with a picture each."""
    compute = 2e9 * step.gmac / (cluster.tflops * 1e12) * stretched
    last = min(BUCKET, step.gradient_bytes)
    hidden = exchange_seconds(size, step.gradient_bytes - last, cluster)
    left_over = max(0.0, hidden - compute * 2 / 3)
    return compute + left_over + exchange_seconds(size, last, cluster)


def counted_step() -> Step:
    """The published R-FCN on a picture of 600 x 1000 under OHEM, 300 RoIs."""
    detector, _ = detector_of(CONFIG, 300, training=True)
    batch, targets = picture()
    with Flops() as counter:
        sum(detector(batch, targets).values()).backward()
    trained = [one for one in detector.parameters() if one.requires_grad]
    return Step(counter.flops / 2e9, sum(one.numel() * one.element_size() for one in trained))


def resized_sizes(folder: Path) -> list[tuple[int, int]]:
    """(height, width) of each picture of a folder tree, as it is trained on."""
    sizes = []
    for file in sorted(folder.rglob("*.jpg")):
        with Image.open(file) as image:
            width, height = image.size
        sizes.append(
            fitted_size((height, width), short_side=SHORT_SIDE, max_long_side=MAX_LONG_SIDE)
        )
    return sizes


def table(step: Step, sizes: list[tuple[int, int]], cluster: Cluster) -> str:
    """Markdown: a line for each number of cards."""
    aspects = [width / height for height, width in sizes]
    areas = [height * width for height, width in sizes]
    share = sum(areas) / len(areas) / (SHORT_SIDE * MAX_LONG_SIDE)
    mean = Step(step.gmac * share, step.gradient_bytes)
    lines = [
        "| GPUs | stretch | exchange ms | step ms | pictures/s | of N times one |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    alone = step_seconds(1, mean, 1.0, cluster)
    for size in (1, 2, 4, 8, 16, 32, 64):
        plan = plan_epoch(aspects, size, seed=0, epoch=0)
        stretched = stretch([[areas[place] for place in places] for places in plan])
        seconds = step_seconds(size, mean, stretched, cluster)
        exchange = 1000 * exchange_seconds(size, step.gradient_bytes, cluster)
        lines.append(
            f"| {size} | {stretched:.2f} | {exchange:.1f} | {1000 * seconds:.1f} "
            f"| {size / seconds:.0f} | {100 * alone / seconds:.0f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="pictures, whose sizes are read")
    parser.add_argument("--tflops", type=float, default=Cluster.tflops)
    parser.add_argument("--machine", type=float, default=Cluster.machine, metavar="GB/s")
    parser.add_argument("--network", type=float, default=Cluster.network, metavar="GB/s")
    parser.add_argument("--cards", type=int, default=Cluster.cards, help="a machine")
    args = parser.parse_args()
    cluster = Cluster(args.tflops, args.machine, args.network, args.cards)
    step = counted_step()
    megabytes = step.gradient_bytes / 1e6
    print(
        f"{step.gmac:.0f} GMAC a step at 600 x 1000, {megabytes:.0f} MB of gradients; {cluster}\n"
    )
    print(table(step, resized_sizes(args.data), cluster))


if __name__ == "__main__":
    main()
