import hashlib
import itertools
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rfcn.datasets import loader
from rfcn.datasets.loader import TrainLoader, collate, plan_epoch
from rfcn.datasets.sample import Dataset, Sample
from rfcn.datasets.skipped import SkippedPictures
from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError, MachineError
from rfcn.structures import ImageBatch, Pyramid, Target


class Blank:
    """A data set in memory: picture i is all i, its one object of class 1 the left half."""

    class_names = ("half",)

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.sizes = sizes
        self.ids = [f"p{index}" for index in range(len(sizes))]

    def __len__(self) -> int:
        return len(self.sizes)

    def target(self, index: int) -> Target:
        height, width = self.sizes[index]
        return Target(
            boxes=torch.tensor([[0, 0, width / 2, height]]),
            labels=torch.tensor([1]),
            difficult=torch.tensor([False]),
        )

    def reduced(self, index: int, at_least: tuple[int, int]) -> Sample:
        return self[index]

    def __getitem__(self, index: int) -> Sample:
        image = np.full((*self.sizes[index], 3), index, np.uint8)
        return Sample(image, self.target(index), self.ids[index], Path(self.ids[index]))


class Broken(Blank):
    """Its picture number 3 cannot be read."""

    def __getitem__(self, index: int) -> Sample:
        if index == 3:
            raise DataError("p3.jpg: the picture is damaged.")
        return super().__getitem__(index)


class Deadly(Blank):
    """Reading its picture number 3 kills the process, as the kernel does when memory runs out."""

    def __getitem__(self, index: int) -> Sample:
        if index == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


class Signalled(Blank):
    """Its process gets the signals that a whole group gets."""

    def __getitem__(self, index: int) -> Sample:
        for sent in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), sent)
        return super().__getitem__(index)


MIXED = [(30, 40), (40, 30), (24, 48), (50, 20), (30, 30), (33, 44), (44, 33)]


def _train(dataset: Dataset, **changes: Any) -> TrainLoader:
    settings: dict[str, Any] = {
        "batch_size": 2,
        "short_sides": (24, 36, 48),
        "max_long_side": 80,
        "flip": True,
        "use_difficult": False,
        "seed": 5,
        "workers": 0,
    }
    return TrainLoader(dataset, **(settings | changes))


def _digest(batch: ImageBatch, targets: list[Target]) -> str:
    content = [batch.tensor.numpy().tobytes(), batch.sizes, batch.original_sizes, batch.ids]
    for target in targets:
        content += [target.boxes.tolist(), target.labels.tolist(), target.seed]
    return hashlib.sha256(pickle.dumps(content)).hexdigest()


def _digests(steps: int, dataset: Dataset, **changes: Any) -> list[str]:
    batches = itertools.islice(_train(dataset, **changes), steps)
    return [_digest(*batch) for batch in batches]


# ------------------------------------------------------------------------------------ plan_epoch


@given(
    aspects=st.lists(st.floats(0.2, 5), min_size=1, max_size=60),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 3),
    epoch=st.integers(0, 3),
)
def test_every_picture_once_an_epoch(
    aspects: list[float], batch_size: int, seed: int, epoch: int
) -> None:
    plan = plan_epoch(aspects, batch_size, seed=seed, epoch=epoch)
    assert sorted(index for batch in plan for index in batch) == list(range(len(aspects)))
    assert len(plan) == -(-len(aspects) // batch_size)
    assert all(1 <= len(batch) <= batch_size for batch in plan)
    assert sum(len(batch) < batch_size for batch in plan) <= 1
    mixed = [b for b in plan if len({aspects[index] >= 1 for index in b}) == 2]
    assert len(mixed) <= 1


def test_orders_differ_between_epochs_and_seeds_and_repeat() -> None:
    aspects = [0.5, 2.0] * 20

    def plan(seed: int, epoch: int) -> list[list[int]]:
        return plan_epoch(aspects, 4, seed=seed, epoch=epoch)

    assert plan(0, 0) == plan(0, 0)
    assert plan(0, 0) != plan(0, 1)
    assert plan(0, 0) != plan(1, 0)
    assert plan(0, 1) != plan(1, 0)


def test_wide_and_tall_batches_take_turns() -> None:
    """Shuffled: neither orientation comes first, as it would if batches stayed in groups."""
    plan = plan_epoch([0.5] * 40 + [2.0] * 40, 4, seed=0, epoch=0)
    kinds = [batch[0] < 40 for batch in plan]
    assert sum(a != b for a, b in itertools.pairwise(kinds)) > 3


# --------------------------------------------------------------------------------------- collate


def test_collate_pads_right_and_bottom_with_0() -> None:
    dataset = Blank([(2, 5), (4, 3)])
    samples = [dataset[0], dataset[1]]
    samples[0].image[0, 4] = (7, 8, 9)
    batch, targets = collate(samples)
    assert batch.tensor.dtype == torch.uint8
    assert batch.tensor.shape == (2, 3, 4, 5)
    assert batch.tensor.is_contiguous(memory_format=torch.channels_last)
    assert batch.tensor[0, :, 0, 4].tolist() == [7, 8, 9]
    assert not batch.tensor[0, :, 2:].any()
    assert (batch.tensor[1, :, :, :3] == 1).all()
    assert not batch.tensor[1, :, :, 3:].any()
    assert batch.sizes == batch.original_sizes == [(2, 5), (4, 3)]
    assert batch.ids == ["p0", "p1"]
    assert targets[1] is samples[1].target


# ----------------------------------------------------------------------------------- TrainLoader


def test_a_batch_is_what_its_parts_say() -> None:
    dataset = Blank(MIXED)
    seen = []
    for batch, targets in itertools.islice(_train(dataset), 4):
        assert {min(size) for size in batch.sizes} <= {24, 36, 48} | {80 * 20 // 50, 40}
        for row, size, id_, target in zip(
            batch.tensor, batch.sizes, batch.ids, targets, strict=True
        ):
            index = int(id_[1:])
            seen.append(index)
            assert (row[:, : size[0], : size[1]] == index).all()
            assert not row[:, size[0] :].any()
            assert not row[:, :, size[1] :].any()
            x1, y1, x2, y2 = target.boxes[0].tolist()
            assert (y1, y2) == (0, pytest.approx(size[0]))
            half, whole = pytest.approx(size[1] / 2), pytest.approx(size[1])
            assert (x1, x2) in ((0, half), (half, whole))
        assert batch.original_sizes == [dataset.sizes[int(id_[1:])] for id_ in batch.ids]
    assert sorted(seen) == list(range(7))


def test_one_short_side_a_batch_and_all_in_use() -> None:
    sides = []
    for batch, _ in itertools.islice(_train(Blank([(30, 40)] * 6)), 30):
        assert len({min(size) for size in batch.sizes}) == 1
        sides.append(min(batch.sizes[0]))
    assert set(sides) == {24, 36, 48}


@pytest.mark.parametrize("workers", [1, 2])
def test_t17_workers_do_not_change_a_batch(workers: int) -> None:
    assert _digests(9, Blank(MIXED), workers=workers) == _digests(9, Blank(MIXED))


@pytest.mark.parametrize("workers", [0, 1])
def test_w18_loading_draws_nothing_from_the_generator_of_the_run(workers: int) -> None:
    before = torch.get_rng_state()
    next(iter(_train(Blank(MIXED), workers=workers)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("start", [1, 3, 4, 9, 4000])
def test_starting_late_equals_skipping(start: int) -> None:
    """Four steps are an epoch here: within, at its end, after several."""
    if start < 10:
        expected = _digests(start + 5, Blank(MIXED))[start:]
    else:
        expected = _digests(6, Blank(MIXED), start_step=start - 1)[1:]
    assert _digests(5, Blank(MIXED), start_step=start) == expected


def test_iterating_again_starts_again() -> None:
    training = _train(Blank(MIXED))
    first, second = (next(iter(training)) for _ in range(2))
    assert _digest(*first) == _digest(*second)


def test_no_batch_repeats_and_seeds_differ() -> None:
    digests = _digests(20, Blank(MIXED))
    assert len(set(digests)) == 20
    assert digests[:5] != _digests(5, Blank(MIXED), seed=6)


@pytest.mark.parametrize(("pictures", "batch_size"), [(1, 4), (3, 2), (4, 4)])
def test_t13_sets_smaller_than_a_batch(pictures: int, batch_size: int) -> None:
    training = _train(Blank([(30, 40)] * pictures), batch_size=batch_size)
    assert training.steps_per_epoch == -(-pictures // batch_size)
    counts = [len(batch) for batch, _ in itertools.islice(training, 4)]
    assert sum(counts[: training.steps_per_epoch]) == pictures


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(DataError, match="holds no picture"):
        _train(Blank([]))


@pytest.mark.parametrize("workers", [0, 1])
# I12
def test_i12_an_unreadable_picture_ends_in_one_paragraph(workers: int) -> None:
    with pytest.raises(DataError) as fault:
        list(itertools.islice(_train(Broken(MIXED), workers=workers), 4))
    assert str(fault.value) == "p3.jpg: the picture is damaged."


@pytest.mark.parametrize("workers", [0, 2])
# I12
def test_i12_the_next_picture_takes_the_place_of_one_that_cannot_be_read(workers: int) -> None:
    told: list[str] = []

    def batches(start_step: int = 0, workers: int = workers) -> Iterator[Any]:
        skipped = SkippedPictures(3, tell=told.append, said="replaced")
        return iter(_train(Broken(MIXED), workers=workers, start_step=start_step, skipped=skipped))

    epoch = list(itertools.islice(batches(), 4))
    seen = sorted(name for batch, _ in epoch for name in batch.ids)
    assert seen == ["p0", "p1", "p2", "p4", "p4", "p5", "p6"]
    assert told == ["replaced (1 of at most 3): p3.jpg: the picture is damaged."]
    # neither workers nor the step begun with change it
    alone = [_digest(*batch) for batch in itertools.islice(batches(workers=0), 6)]
    assert alone[:4] == [_digest(*batch) for batch in epoch]
    assert [_digest(*one) for one in itertools.islice(batches(start_step=2), 4)] == alone[2:]


class AllBroken(Blank):
    """None of its pictures can be read."""

    def __getitem__(self, index: int) -> Sample:
        raise DataError(f"p{index}.jpg: the picture is damaged.")


# I12
def test_i12_too_many_end_the_run() -> None:
    skipped = SkippedPictures(3, tell=lambda _: None)
    with pytest.raises(DataError, match=r"4 pictures could not be read.*passes over 3"):
        next(iter(_train(AllBroken(MIXED), skipped=skipped)))
    two = AllBroken(MIXED[:2])
    with pytest.raises(DataError, match="could not be read"):
        next(iter(_train(two, batch_size=1, skipped=SkippedPictures(1, tell=lambda _: None))))


# I2
def test_i2_truncated_picture_of_a_real_set_is_named(write_voc: Callable[..., Path]) -> None:
    root = write_voc({"a": [("cat", 1, 1, 9, 9)], "b": []}, size=(100, 120))
    path = root / "JPEGImages" / "b.jpg"
    Image.effect_noise((120, 100), 90).save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"b\.jpg: the picture is damaged"):
        list(itertools.islice(_train(VOCDataset(root, "train"), workers=1), 1))


def test_t10_a_killed_worker_is_a_fault_not_a_hang() -> None:
    with pytest.raises(MachineError, match=r"data\.workers"):
        list(itertools.islice(_train(Deadly(MIXED), workers=1), 4))


def test_t9_workers_leave_signals_to_the_main_process() -> None:
    assert _digests(4, Signalled(MIXED), workers=1) == _digests(4, Blank(MIXED))


# V21
def test_v21_empty_pictures_join_batches(write_voc: Callable[..., Path]) -> None:
    dataset = VOCDataset(write_voc({"a": [], "b": [("cat", 1, 1, 9, 9)]}), "train")
    _, targets = next(iter(_train(dataset)))
    assert sorted(len(target.boxes) for target in targets) == [0, 1]


# I8
def test_i8_extreme_shapes_batch(write_voc: Callable[..., Path]) -> None:
    batch, _ = next(iter(_train(Blank([(1, 500), (500, 1), (1, 1)]), batch_size=3)))
    assert batch.tensor.shape[2:] == (80, 80)


# ----------------------------------------------------------------------------------- test_loader


@pytest.mark.parametrize("workers", [0, 2])
def test_test_batches_come_in_order_unmirrored(workers: int) -> None:
    pyramids = loader.test_loader(
        Blank(MIXED), sizes=[(36, 80)], workers=workers, skipped=SkippedPictures()
    )
    batches = [pyramid.levels[0] for pyramid in pyramids]
    assert [batch.ids for batch in batches] == [[f"p{index}"] for index in range(7)]
    assert [batch.original_sizes[0] for batch in batches] == MIXED
    assert batches[3].sizes == [(80, 32)]
    assert all(batch.tensor.shape == (1, 3, *batch.sizes[0]) for batch in batches)


def test_test_batches_are_the_plain_pictures(write_voc: Callable[..., Path]) -> None:
    dataset = VOCDataset(write_voc({"a": [("cat", 1, 1, 9, 9)]}), "train")
    (pyramid,) = loader.test_loader(dataset, sizes=[(30, 90)], workers=0, skipped=SkippedPictures())
    (batch,) = pyramid.levels
    np.testing.assert_array_equal(batch.tensor[0].permute(1, 2, 0).numpy(), dataset[0].image)


def test_a_pyramid_holds_each_picture_at_each_size() -> None:
    sizes = [(18, 40), (36, 80)]
    for index, pyramid in enumerate(
        loader.test_loader(Blank(MIXED), sizes=sizes, workers=0, skipped=SkippedPictures())
    ):
        assert pyramid.ids == [f"p{index}"]
        small, large = (level.sizes[0] for level in pyramid.levels)
        assert small == pytest.approx([side / 2 for side in large], abs=0.5)
        assert {level.original_sizes[0] for level in pyramid.levels} == {MIXED[index]}


def test_test_loader_raises_what_went_wrong() -> None:
    def run() -> Iterator[Pyramid]:
        return loader.test_loader(
            Broken(MIXED), sizes=[(36, 80)], workers=1, skipped=SkippedPictures()
        )

    with pytest.raises(DataError, match=r"p3\.jpg"):
        list(run())


# I12
def test_i12_a_test_leaves_out_what_it_cannot_read() -> None:
    told: list[str] = []
    skipped = SkippedPictures(3, tell=told.append)
    found = loader.test_loader(Broken(MIXED), sizes=[(36, 80)], workers=0, skipped=skipped)
    assert [one.ids for one in found] == [[f"p{index}"] for index in (0, 1, 2, 4, 5, 6)]
    assert skipped.faults == {"p3": "p3.jpg: the picture is damaged."}
    assert len(told) == 1


def test_real_pictures_batch(data_folder: Path) -> None:
    dataset = VOCDataset(data_folder / "bccd" / "BCCD", "train")
    batch, targets = next(iter(_train(dataset, short_sides=(120,), max_long_side=200)))
    assert batch.tensor.shape == (2, 3, 120, 160)
    assert all((target.boxes[:, 2] <= 160).all() for target in targets)
