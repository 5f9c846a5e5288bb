"""Training batches of real photos, from files to tensors, beside torchvision's reference pipeline.

`RFCN_TEST_DATA` names the folder of real data. Both load the same pictures in the same order with
two workers, at 600 / 1000, mirror the same ones, and give the same boxes: this is asserted. Theirs
is Pillow, `torchvision.transforms.v2` on tv_tensors, and padding as its detection references do;
its annotations lie ready in memory, as ours do. It ends with normalised floats, which our model
makes of the bytes on its device; a second row has ours make them in the loop too.
"""

import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from common import Times, report
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import tv_tensors
from torchvision.transforms import v2

from rfcn.config.schema import Data, Model, Train
from rfcn.datasets.image import read_image
from rfcn.datasets.loader import TrainLoader
from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError
from rfcn.models.detector import Normalize
from rfcn.structures import ImageBatch, Target

SHORT, LONG = Data().train_short_sides[0], Data().max_long_side
MEAN, STD = Model().pixel_mean, Model().pixel_std
BATCH = Train().batch_size
WORKERS, SEED = 2, 0
BATCHES, WARM = 20, 5
"""Timed a turn; and before, so that what the workers had ready does not count."""
DIVISOR = 32
"""torchvision's detectors pad to multiples of it."""
OURS, THEIRS = "rfcn", "torchvision"
METHOD = (
    f"Milliseconds a picture, from file to padded batch: VOC photos at {SHORT} / {LONG}, batches "
    f"of {BATCH}, {WORKERS} workers, the same order and mirroring, boxes asserted equal to 1e-3 "
    f"pixel; turns of {BATCHES} batches by workers at full speed. `pictures/s` are medians, "
    "`times` the median of the rounds' ratios by the clock and by processor time of all processes. "
    "torchvision's pipeline ends with normalised floats; ours with bytes, which the model "
    "normalises on its device, and in the second row the loop does."
)


def ours(dataset: VOCDataset) -> TrainLoader:
    """The loader that training uses, as the published settings have it."""
    return TrainLoader(
        dataset,
        batch_size=BATCH,
        short_sides=(SHORT,),
        max_long_side=LONG,
        flip=True,
        use_difficult=True,
        seed=SEED,
        workers=WORKERS,
    )


class Reference(TorchDataset):
    """torchvision's pipeline; an item is (picture number, mirrored)."""

    def __init__(self, dataset: VOCDataset) -> None:
        self.dataset = dataset
        self.pipelines = {
            mirrored: v2.Compose(
                [
                    v2.ToImage(),
                    v2.Resize(SHORT, max_size=LONG),
                    v2.RandomHorizontalFlip(float(mirrored)),
                    v2.ToDtype(torch.float32, scale=True),
                    v2.Normalize([one / 255 for one in MEAN], [one / 255 for one in STD]),
                ]
            )
            for mirrored in (False, True)
        }

    def __getitem__(self, item: tuple[int, bool]) -> tuple[Tensor, dict]:
        from PIL import Image

        index, mirrored = item
        target = self.dataset.target(index)
        boxes = tv_tensors.BoundingBoxes(
            target.boxes, format="XYXY", canvas_size=self.dataset.sizes[index]
        )
        with Image.open(self.dataset.paths[index]) as file:
            picture = file.convert("RGB")
        image, moved = self.pipelines[mirrored](
            picture, {"boxes": boxes, "labels": target.labels, "id": self.dataset.ids[index]}
        )
        return image, moved


def padded(samples: Sequence[tuple[Tensor, dict]]) -> tuple[Tensor, list[dict]]:
    """As GeneralizedRCNNTransform.batch_images: zeros at the right and the bottom."""
    images = [image for image, _ in samples]
    sides = [max(image.shape[axis] for image in images) for axis in (1, 2)]
    height, width = (-(-side // DIVISOR) * DIVISOR for side in sides)
    batch = images[0].new_full((len(images), 3, height, width), 0)
    for row, image in zip(batch, images, strict=True):
        row[:, : image.shape[1], : image.shape[2]].copy_(image)
    return batch, [target for _, target in samples]


def theirs(dataset: VOCDataset) -> DataLoader:
    """The same pictures, batch by batch, mirrored alike."""
    order = (
        [(one.picture, mirrored(one.epoch, one.picture)) for one in batch.tickets]
        for batch in ours(dataset)._orders()
    )
    return DataLoader(
        Reference(dataset),
        batch_sampler=order,  # type: ignore[arg-type]
        num_workers=WORKERS,
        collate_fn=padded,
        worker_init_fn=lambda _: torch.set_num_threads(1),
    )


def mirrored(epoch: int, index: int) -> bool:
    """What our transform draws."""
    return bool(np.random.default_rng((SEED, epoch, index)).random() < 0.5)


def normalised(dataset: VOCDataset) -> Iterator[Tensor]:
    """Our batches as floats, made in the process that loops."""
    normalize = Normalize(MEAN, STD)
    for batch, _ in ours(dataset):
        yield normalize(batch)


# ----------------------------------------------------------------------------------- are they equal


def check_equal(dataset: VOCDataset, batches: int) -> None:
    """Asserts that both give the same pictures and boxes, to 1e-3 pixel of the picture on disk."""
    pairs = itertools.islice(zip(ours(dataset), theirs(dataset), strict=False), batches)
    for (batch, targets), (images, others) in pairs:
        for row, (target, other) in enumerate(zip(targets, others, strict=True)):
            assert batch.ids[row] == other["id"]
            assert torch.equal(target.labels, other["labels"])
            check_boxes(batch, row, target, other["boxes"])
            size = batch.sizes[row]
            if size == tuple(other["boxes"].canvas_size):
                # Bilinear both, but theirs rounds in 8 bits: a level or two apart.
                check_pixels(batch.tensor[row], images[row], size)


def check_boxes(batch: ImageBatch, row: int, target: Target, boxes: Tensor) -> None:
    """They round the size of a picture in other ways: boxes are compared at the picture's own."""
    assert len(target.boxes) == len(boxes)
    for found, size in ((target.boxes, batch.sizes[row]), (boxes, boxes.canvas_size)):  # type: ignore[attr-defined]
        assert (found.max(0).values <= torch.tensor([size[1], size[0]] * 2) + 1e-3).all()
    height, width = batch.original_sizes[row]
    here, there = (
        found.as_subclass(Tensor) * torch.tensor([width / size[1], height / size[0]] * 2)
        for found, size in ((target.boxes, batch.sizes[row]), (boxes, boxes.canvas_size))  # type: ignore[attr-defined]
    )
    assert (here - there).abs().max() <= 1e-3


def check_pixels(mine: Tensor, their: Tensor, size: tuple[int, int]) -> None:
    """[3, H, W] bytes, and normalised floats."""
    height, width = size
    levels = their * torch.tensor(STD)[:, None, None] + torch.tensor(MEAN)[:, None, None]
    apart = (mine.float() - levels[:, : mine.shape[1], : mine.shape[2]])[:, :height, :width].abs()
    assert apart.mean() < 1


def check_damage_is_found(dataset: VOCDataset) -> None:
    """Asserts that a photo without its last tenth is refused."""
    content = Path(dataset.paths[0]).read_bytes()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "cut.jpg"
        path.write_bytes(content[: len(content) * 9 // 10])
        try:
            read_image(path)
        except DataError:
            return
    raise AssertionError("a truncated JPEG was read")


# ------------------------------------------------------------------------------------------- timing


def processor_seconds() -> float:
    """Of this process and of its workers, so far."""
    seconds = time.process_time()
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def turn(batches: Iterator[object], count: int) -> tuple[float, float]:
    """(wall, processor) milliseconds a picture over `count` batches, once the workers are busy."""
    for _ in range(WARM):
        next(batches)
    cpu, wall = processor_seconds(), time.perf_counter()
    for _ in range(count):
        next(batches)
    pictures = count * BATCH / 1000
    return (time.perf_counter() - wall) / pictures, (processor_seconds() - cpu) / pictures


def bench(dataset: VOCDataset, rounds: int = 5, batches: int = BATCHES) -> list[dict[str, object]]:
    """Both in turn, `rounds` times; a turn has workers of its own, which end with it."""
    check_damage_is_found(dataset)
    check_equal(dataset, batches)
    candidates = {OURS: ours, f"{OURS}, normalised": normalised, THEIRS: theirs}
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in candidates}
    for number in range(rounds):
        print(f"loader, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, candidate in candidates.items():
            taken[name].append(turn(iter(candidate(dataset)), batches))
    return [
        row("bytes", OURS, times_of(taken), taken),
        row("floats", f"{OURS}, normalised", times_of(taken), taken),
    ]


def times_of(taken: dict[str, list[tuple[float, float]]]) -> Times:
    """As `common.interleave` gives them, for one picture."""
    return {
        name: {
            f"{clock}_{kind}_ms": round(function(one[index] for one in times), 4)
            for index, clock in enumerate(("wall", "cpu"))
            for kind, function in (("median", statistics.median), ("min", min))
        }
        for name, times in taken.items()
    }


def row(
    gives: str, name: str, times: Times, taken: dict[str, list[tuple[float, float]]]
) -> dict[str, object]:
    """The medians of the rounds, as pictures a second and as how many times as many."""
    mine, rival = times[name], times[THEIRS]
    ratios = {
        clock: statistics.median(
            other[index] / own[index] for own, other in zip(taken[name], taken[THEIRS], strict=True)
        )
        for index, clock in enumerate(("wall", "cpu"))
    }
    return {
        "ours gives": gives,
        "workers": WORKERS,
        "pictures/s": f"{1000 / mine['wall_median_ms']:.0f} : {1000 / rival['wall_median_ms']:.0f}",
        "times": f"{ratios['wall']:.2f} (cpu {ratios['cpu']:.2f})",
        "aim": "1.5" if gives == "bytes" else "",
        "ms": {OURS: mine, THEIRS: rival},
    }


if __name__ == "__main__":
    if "RFCN_TEST_DATA" not in os.environ:
        sys.exit("RFCN_TEST_DATA names no folder of real data.")
    torch.set_num_threads(1)
    devkit = Path(os.environ["RFCN_TEST_DATA"]) / "voc" / "VOCdevkit"
    photos = VOCDataset(devkit, "voc_2007_trainval+voc_2012_trainval")
    report("loader", bench(photos), METHOD)
