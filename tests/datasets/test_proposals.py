"""Proposals beside a data set: matched by name, converted, the best kept, moved along."""

import json

import numpy as np
import pytest
import torch

from rfcn.datasets.loader import TrainLoader, collate
from rfcn.datasets.loader import test_loader as every_size
from rfcn.datasets.proposals import attach_proposals
from rfcn.datasets.shapes import make_shapes
from rfcn.datasets.skipped import SkippedPictures
from rfcn.datasets.transforms import flip, resize
from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError


@pytest.fixture
def dataset(tmp_path):
    """Two drawn pictures in VOC's layout."""
    folder = make_shapes(tmp_path / "shapes", train=2, val=1, seed=0)
    return VOCDataset(folder, "train")


def a_file(tmp_path, boxes, name="a.json"):
    path = tmp_path / name
    path.write_text(json.dumps(boxes))
    return path


def attach(dataset, path, **settings):
    chosen = {"corners": "x1y1x2y2", "pixels": "half_open", "most": 10, **settings}
    return attach_proposals(dataset, [path], **chosen)


def test_each_picture_gets_its_own(dataset, tmp_path):
    first, second = dataset.ids
    path = a_file(tmp_path, {second: [[3, 4, 50, 60]], first: [[1, 2, 30, 40], [5, 6, 70, 80]]})
    both = attach(dataset, path)
    assert both[0].proposals.tolist() == [[1, 2, 30, 40], [5, 6, 70, 80]]
    assert both[1].proposals.tolist() == [[3, 4, 50, 60]]
    assert both[0].proposals.dtype == torch.float32
    assert both.ids == dataset.ids
    assert both.sizes == dataset.sizes
    assert both.class_names == dataset.class_names
    assert len(both) == 2
    assert torch.equal(both.target(1).boxes, dataset.target(1).boxes)
    assert "2 a picture" in both.notes[-1]


def test_the_best_are_kept(dataset, tmp_path):
    boxes = [[i, 0, i + 10, 10] for i in range(5)]
    plain = dict.fromkeys(dataset.ids, boxes)
    kept = attach(dataset, a_file(tmp_path, plain), most=2)[0].proposals
    assert kept[:, 0].tolist() == [0, 1]  # the first
    scored = {name: [[*box, place] for place, box in enumerate(boxes)] for name in dataset.ids}
    kept = attach(dataset, a_file(tmp_path, scored), most=2)[0].proposals
    assert kept[:, 0].tolist() == [4, 3]  # those of the highest scores


def test_corners_and_pixels_are_converted(dataset, tmp_path):
    path = a_file(tmp_path, {name: [[6, 3, 10, 5]] for name in dataset.ids})
    both = attach(dataset, path, corners="y1x1y2x2", pixels="one_based")
    assert both[0].proposals.tolist() == [[2, 5, 5, 10]]


def test_names_may_lack_the_folder(dataset, tmp_path):
    path = a_file(tmp_path, {name: [[0, 0, 9, 9]] for name in dataset.ids})
    dataset.ids = [f"VOC2007/{name}" for name in dataset.ids]
    assert len(attach(dataset, path)[1].proposals) == 1


def test_files_add_up(dataset, tmp_path):
    paths = [
        a_file(tmp_path, {name: [[0, 0, 9, 9]]}, f"{place}.json")
        for place, name in enumerate(dataset.ids)
    ]
    both = attach_proposals(dataset, paths, corners="x1y1x2y2", pixels="half_open", most=1)
    assert [len(both.proposals(index)) for index in range(2)] == [1, 1]


def test_a_missing_picture_is_named(dataset, tmp_path):
    path = a_file(tmp_path, {dataset.ids[0]: [[0, 0, 9, 9]]})
    with pytest.raises(DataError) as caught:
        attach(dataset, path)
    message = str(caught.value)
    assert f"lacks 1 of 2 pictures of the data set: {dataset.ids[1]}" in message
    assert str(path) in message


def test_boxes_that_do_not_lie_on_their_picture(dataset, tmp_path):

    def wider_by(pixels):
        sizes = zip(dataset.ids, dataset.sizes, strict=True)
        boxes = {name: [[0, 0, width + pixels, height]] for name, (height, width) in sizes}
        return a_file(tmp_path, boxes)

    with pytest.raises(DataError, match=r"leave their picture in 2 of 2.*corners \(x1y1x2y2\)"):
        attach(dataset, wider_by(5))
    height, width = dataset.sizes[0]
    assert attach(dataset, wider_by(1))[0].proposals.tolist() == [[0, 0, width, height]]


def test_boxes_without_area_are_dropped_and_counted(dataset, tmp_path):
    path = a_file(tmp_path, {name: [[5, 5, 5, 9], [9, 9, 3, 12]] for name in dataset.ids})
    both = attach(dataset, path)
    assert both[0].proposals.shape == (0, 4)
    assert "dropped: 4" in both.notes[-2]
    assert "without any proposal: 2" in both.notes[-1]


def test_they_move_with_the_picture(dataset, tmp_path):
    """Proposals equal to the objects stay equal to them, whatever is done."""
    boxes = {name: dataset.target(index).boxes.tolist() for index, name in enumerate(dataset.ids)}
    both = attach(dataset, a_file(tmp_path, boxes))
    sample = flip(resize(both[0], short_side=77, max_long_side=200))
    assert torch.equal(sample.proposals, sample.target.boxes)
    assert not torch.equal(sample.proposals, both[0].proposals)
    loader = TrainLoader(
        both, batch_size=2, short_sides=[64, 96], max_long_side=200, flip=True,
        use_difficult=True, seed=0, workers=0,
    )  # fmt: skip
    for _, (batch, targets) in zip(range(4), loader, strict=False):
        for proposals, target in zip(batch.proposals, targets, strict=True):
            assert torch.equal(proposals, target.boxes)
    for index, pyramid in enumerate(
        every_size(both, sizes=[(64, 99), (128, 200)], workers=0, skipped=SkippedPictures())
    ):
        small, large = (level.proposals[0] for level in pyramid.levels)
        np.testing.assert_allclose(2 * small, large, atol=1.5)
        assert len(small) == len(both.proposals(index))


def test_a_batch_has_them_when_all_of_its_pictures_do(dataset, tmp_path):
    both = attach(dataset, a_file(tmp_path, {name: [[0, 0, 9, 9]] for name in dataset.ids}))
    assert collate([both[0], both[1]])[0].proposals is not None
    assert collate([both[0], dataset[1]])[0].proposals is None
    assert collate([dataset[0]])[0].proposals is None
    moved = collate([both[0]])[0].to("cpu")
    assert moved.proposals[0].tolist() == [[0, 0, 9, 9]]
