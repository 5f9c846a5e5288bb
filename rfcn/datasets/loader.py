"""From samples to batches: like shapes together, the same for any workers, from any step on."""

import itertools
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from rfcn.datasets.sample import Dataset, Sample
from rfcn.datasets.transforms import TrainTransform, resize
from rfcn.errors import DataError, MachineError
from rfcn.structures import ImageBatch, Pyramid, Target

# First number of the seeds of the two random streams below, so that neither repeats the other.
_ORDER, _SHORT_SIDE = 1, 2


def plan_epoch(
    aspects: Sequence[float], batch_size: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """The batches of an epoch, as picture numbers: every picture once, in an order of its own.

    aspects: width / height of each picture. Wide pictures (aspect >= 1) fill batches with wide
    ones, tall with tall, so that little is padded; what is left of both fills mixed batches, the
    last of them short. Always ceil(len(aspects) / batch_size) batches.
    """
    chance = np.random.default_rng((_ORDER, seed, epoch))
    order = chance.permutation(len(aspects)).tolist()
    full: list[list[int]] = []
    left: list[int] = []
    for group in ([i for i in order if aspects[i] >= 1], [i for i in order if aspects[i] < 1]):
        whole = len(group) - len(group) % batch_size
        full += [group[i : i + batch_size] for i in range(0, whole, batch_size)]
        left += group[whole:]
    full += [left[i : i + batch_size] for i in range(0, len(left), batch_size)]
    return [full[i] for i in chance.permutation(len(full))]


def collate(samples: Sequence[Sample]) -> tuple[ImageBatch, list[Target]]:
    """Samples to one batch, padded with 0 at the right and the bottom to the largest sides."""
    height = max(sample.size[0] for sample in samples)
    width = max(sample.size[1] for sample in samples)
    tensor = torch.zeros(len(samples), 3, height, width, dtype=torch.uint8)
    for row, sample in zip(tensor, samples, strict=True):
        row[:, : sample.size[0], : sample.size[1]] = _channels_first(sample.image)
    batch = ImageBatch(
        tensor=tensor,
        sizes=[sample.size for sample in samples],
        original_sizes=[sample.original_size or sample.size for sample in samples],
        ids=[sample.id for sample in samples],
        proposals=_proposals(samples),
    )
    return batch, [sample.target for sample in samples]


def _proposals(samples: Sequence[Sample]) -> list[Tensor] | None:
    """Those of each sample, where all of them bring some."""
    found = [sample.proposals for sample in samples if sample.proposals is not None]
    return found if len(found) == len(samples) else None


def _channels_first(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


@dataclass(frozen=True)
class TrainLoader:
    """Endless training batches `(ImageBatch, list[Target])`, beginning with step `start_step`.

    Step s is the same batch, bit for bit, whatever `workers` or `start_step`: order and short side
    depend on (seed, epoch) and (seed, step) only, mirroring on (seed, epoch, picture).
    """

    dataset: Dataset
    batch_size: int
    short_sides: Sequence[int]
    """One of them is drawn for each batch, in pixels."""
    max_long_side: int
    flip: bool
    """Mirror half of the pictures."""
    use_difficult: bool
    """Train on objects marked difficult."""
    seed: int
    workers: int
    """Processes that decode and resize; 0 does it in this process."""
    start_step: int = 0

    def __post_init__(self) -> None:
        if not len(self.dataset):
            raise DataError(
                "The training set holds no picture. Check `data.root` and `data.train`."
            )

    @property
    def steps_per_epoch(self) -> int:
        """Batches in which every picture is seen once."""
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[ImageBatch, list[Target]]]:
        transform = TrainTransform(
            max_long_side=self.max_long_side,
            flip=self.flip,
            use_difficult=self.use_difficult,
            seed=self.seed,
        )
        return _run(_Training(self.dataset, transform), self._tickets(), self.workers)

    def _tickets(self) -> Iterator[list["_Ticket"]]:
        """The batches from `start_step` on, as orders to the workers."""
        aspects = [width / height for height, width in self.dataset.sizes]
        first_epoch, skipped = divmod(self.start_step, self.steps_per_epoch)
        step = self.start_step
        for epoch in itertools.count(first_epoch):
            plan = plan_epoch(aspects, self.batch_size, seed=self.seed, epoch=epoch)
            for indices in plan[skipped if epoch == first_epoch else 0 :]:
                chance = np.random.default_rng((_SHORT_SIDE, self.seed, step))
                side = int(chance.choice(self.short_sides))
                yield [_Ticket(index, epoch, side) for index in indices]
                step += 1


def test_loader(
    dataset: Dataset, *, sizes: Sequence[tuple[int, int]], workers: int
) -> Iterator[Pyramid]:
    """Every picture of a data set once, in order, one a batch, at each of `sizes`: (short side,
    longest side) in pixels. A picture is decoded once for all sizes."""
    pictures = _Test(dataset, sizes)
    return _run(pictures, ([index] for index in range(len(dataset))), workers, _pyramid)


class _Ticket(NamedTuple):
    """Tells a worker which picture to make ready, and how."""

    picture: int
    epoch: int
    short_side: int


class _Training(TorchDataset):
    """Training samples by ticket. A fault is returned, not raised: raised in a worker, its text
    would reach the user inside a traceback."""

    def __init__(self, dataset: Dataset, transform: TrainTransform) -> None:
        self.dataset = dataset
        self.transform = transform

    def __getitem__(self, ticket: _Ticket) -> Sample | DataError:
        try:
            sample = self.dataset[ticket.picture]
        except DataError as fault:
            return fault
        return self.transform(
            sample, short_side=ticket.short_side, epoch=ticket.epoch, index=ticket.picture
        )


class _Test(TorchDataset):
    """Test samples by number, at each size; faults as in `_Training`."""

    def __init__(self, dataset: Dataset, sizes: Sequence[tuple[int, int]]) -> None:
        self.dataset = dataset
        self.sizes = sizes

    def __getitem__(self, index: int) -> list[Sample] | DataError:
        try:
            sample = self.dataset[index]
        except DataError as fault:
            return fault
        return [
            resize(sample, short_side=short, max_long_side=longest) for short, longest in self.sizes
        ]


def _run(
    samples: TorchDataset,
    batches: Iterator[list],
    workers: int,
    together: Callable[[list], Any] = collate,
) -> Iterator[Any]:
    """What `together` makes of each batch of samples, in order, in `workers` processes. Raises what
    went wrong in them."""
    loader: DataLoader = DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=partial(_unless_faulty, together),
        worker_init_fn=_start_worker,
    )
    try:
        for batch in loader:
            if isinstance(batch, DataError):
                raise batch
            yield batch
    except RuntimeError as fault:
        if "DataLoader worker" not in str(fault):
            raise
        raise MachineError(
            f"A process that loads pictures died ({str(fault).splitlines()[0]}), most likely for "
            "lack of memory. Lower `data.workers` (0 loads in the main process) or give the "
            "machine more shared memory (/dev/shm)."
        ) from fault


def _unless_faulty(together: Callable[[list], Any], samples: list) -> Any:
    faults = [sample for sample in samples if isinstance(sample, DataError)]
    return faults[0] if faults else together(samples)


def _pyramid(samples: list[list[Sample]]) -> Pyramid:
    """Pictures, each at all sizes -> one batch a size."""
    return Pyramid(tuple(collate(level)[0] for level in zip(*samples, strict=True)))


def _start_worker(_: int) -> None:
    """One thread a worker. Signals to the whole group (Ctrl-C, a scheduler's SIGTERM) are for the
    main process, which finishes its step, saves and then ends its workers itself."""
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    for sent in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sent, signal.SIG_IGN)
