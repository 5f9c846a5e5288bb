"""From samples to batches: like shapes together, the same for any workers, from any step on."""

import itertools
import math
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data import Dataset as TorchDataset

from rfcn.datasets.sample import Dataset, Sample
from rfcn.datasets.skipped import SkippedPictures
from rfcn.datasets.transforms import TrainTransform, fitted_size, resize
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
    """Samples to one batch, padded with 0 at the right and the bottom to the largest sides.

    In memory the channels come last, as in the samples and as the model's convolutions like them:
    rows are copied as they are."""
    height = max(sample.size[0] for sample in samples)
    width = max(sample.size[1] for sample in samples)
    pixels = _room_for((len(samples), height, width, 3))
    for page, sample in zip(pixels.numpy(), samples, strict=True):
        own_height, own_width = sample.size
        page[:own_height, :own_width] = sample.image
        page[:own_height, own_width:] = 0
        page[own_height:] = 0
    batch = ImageBatch(
        tensor=pixels.permute(0, 3, 1, 2),
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


def _room_for(shape: tuple[int, ...]) -> Tensor:
    """Bytes to be written; in a worker where the main process finds them without another copy."""
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    shared = torch.UntypedStorage._new_shared(math.prod(shape))
    return torch.empty(0, dtype=torch.uint8).set_(shared).view(shape)


@dataclass(frozen=True)
class TrainLoader:
    """Endless training batches `(ImageBatch, list[Target])`, beginning with step `start_step`.

    Step s is the same pictures, bit for bit, whatever `workers` or `start_step`: order and short
    side depend on (seed, epoch) and (seed, step) only, mirroring on (seed, epoch, picture). Each of
    `processes` makes `pieces` batches of its part of a step; their `share` says what part.
    """

    dataset: Dataset
    batch_size: int
    """Pictures a step, of all pieces and processes."""
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
    skipped: SkippedPictures = field(default_factory=SkippedPictures)
    """Is told of pictures that cannot be read, in whose place another comes; or stops the run."""
    pieces: int = 1
    """Batches that this process makes of its part of a step."""
    rank: int = 0
    """Number of this process, from 0."""
    processes: int = 1

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
        pictures = _Training(self.dataset, transform, self.skipped.allowed)
        tickets = (order.tickets for order in self._orders())
        batches = _run(pictures, tickets, self.workers, self.skipped)
        for (batch, targets), order in zip(batches, self._orders(), strict=False):
            yield replace(batch, share=order.share), targets

    def _orders(self) -> Iterator["_Order"]:
        """The batches from `start_step` on, as orders to the workers."""
        aspects = [width / height for height, width in self.dataset.sizes]
        first_epoch, skipped = divmod(self.start_step, self.steps_per_epoch)
        step = self.start_step
        for epoch in itertools.count(first_epoch):
            plan = plan_epoch(aspects, self.batch_size, seed=self.seed, epoch=epoch)
            for indices in plan[skipped if epoch == first_epoch else 0 :]:
                chance = np.random.default_rng((_SHORT_SIDE, self.seed, step))
                side = int(chance.choice(self.short_sides))
                yield from self._cut([_Ticket(index, epoch, side) for index in indices])
                step += 1

    def _cut(self, step: list["_Ticket"]) -> Iterator["_Order"]:
        """The pieces of a step that are this process's. One that goes empty, in the short last step
        of an epoch, is a picture that counts nothing: all processes must take every step."""
        count = self.processes * self.pieces
        edges = [len(step) * piece // count for piece in range(count + 1)]
        for piece in range(self.rank * self.pieces, (self.rank + 1) * self.pieces):
            tickets = step[edges[piece] : edges[piece + 1]]
            yield _Order(tickets or step[:1], len(tickets) / len(step))


def test_loader(
    dataset: Dataset,
    *,
    sizes: Sequence[tuple[int, int]],
    workers: int,
    skipped: SkippedPictures,
    pictures: Sequence[int] | None = None,  # noqa: PT028 - no test
) -> Iterator[Pyramid]:
    """Pictures of a data set by their numbers, or all of them, in order, one a batch, at each of
    `sizes`: (short side, longest side) in pixels. A picture is decoded once for all sizes. One that
    cannot be read is left out, where `skipped` allows it."""
    numbers = range(len(dataset)) if pictures is None else pictures
    return _run(_Test(dataset, sizes), ([one] for one in numbers), workers, skipped, _pyramid)


class _Ticket(NamedTuple):
    """Tells a worker which picture to make ready, and how."""

    picture: int
    epoch: int
    short_side: int


class _Order(NamedTuple):
    """Tells a worker what batch to make."""

    tickets: list[_Ticket]
    share: float
    """See `ImageBatch.share`."""


class _Fault(NamedTuple):
    """A picture that could not be read. It is returned, not raised: raised in a worker, its text
    would reach the user inside a traceback."""

    id: str
    error: DataError


class _Loaded(NamedTuple):
    """What a worker made of a ticket, or of several."""

    content: Any
    """None where no picture could be read."""
    faults: list[_Fault]


class _Training(TorchDataset):
    """Training samples by ticket; for a picture that cannot be read the next one that can, so that
    a batch stays as large as it is, and depends on nothing but the files."""

    def __init__(self, dataset: Dataset, transform: TrainTransform, skips: int) -> None:
        """skips: faults in a row that are passed over."""
        self.dataset = dataset
        self.transform = transform
        self.skips = skips

    def __getitem__(self, ticket: _Ticket) -> _Loaded:
        faults: list[_Fault] = []
        while len(faults) <= min(self.skips, len(self.dataset) - 1):
            index = (ticket.picture + len(faults)) % len(self.dataset)
            size = fitted_size(
                self.dataset.sizes[index],
                short_side=ticket.short_side,
                max_long_side=self.transform.max_long_side,
            )
            try:
                sample = self.dataset.reduced(index, size)
            except DataError as error:
                faults.append(_Fault(self.dataset.ids[index], error))
                continue
            sample = self.transform(
                sample, short_side=ticket.short_side, epoch=ticket.epoch, index=index
            )
            return _Loaded(sample, faults)
        return _Loaded(None, faults)


class _Test(TorchDataset):
    """Test samples by number, at each size."""

    def __init__(self, dataset: Dataset, sizes: Sequence[tuple[int, int]]) -> None:
        self.dataset = dataset
        self.sizes = sizes

    def __getitem__(self, index: int) -> _Loaded:
        try:
            sample = self.dataset[index]
        except DataError as error:
            return _Loaded(None, [_Fault(self.dataset.ids[index], error)])
        levels = [
            resize(sample, short_side=short, max_long_side=longest) for short, longest in self.sizes
        ]
        return _Loaded(levels, [])


def _run(
    samples: TorchDataset,
    batches: Iterator[list],
    workers: int,
    skipped: SkippedPictures,
    together: Callable[[list], Any] = collate,
) -> Iterator[Any]:
    """What `together` makes of each batch of samples, in order, in `workers` processes. `skipped`
    is told what went wrong in them, and raises it where it is too much."""
    loader: DataLoader = DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=partial(_gathered, together),
        worker_init_fn=_start_worker,
        generator=torch.Generator(),  # it draws a seed, which must not come from the run's own
    )
    try:
        for batch, faults in loader:
            for fault in faults:
                skipped.add(*fault)
            if batch is not None:
                yield batch
    except RuntimeError as fault:
        if "DataLoader worker" not in str(fault):
            raise
        raise MachineError(
            f"A process that loads pictures died ({str(fault).splitlines()[0]}), most likely for "
            "lack of memory. Lower `data.workers` (0 loads in the main process) or give the "
            "machine more shared memory (/dev/shm)."
        ) from fault


def _gathered(together: Callable[[list], Any], loaded: list[_Loaded]) -> _Loaded:
    """Of one batch, with all faults that were met on the way."""
    faults = [fault for one in loaded for fault in one.faults]
    samples = [one.content for one in loaded if one.content is not None]
    return _Loaded(together(samples) if samples else None, faults)


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
