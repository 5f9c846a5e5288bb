"""Detections that were written down and read again."""

import json

import pytest
import torch

from rfcn.errors import DataError
from rfcn.evaluation.detections_file import load_detections, save_detections
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.structures import Detections, Target

NAMES = ("cat", "köter", "cow")


@pytest.fixture
def found():
    generator = torch.Generator().manual_seed(3)
    results = {}
    for number in range(20):
        corner = torch.rand(number, 2, generator=generator) * 500
        boxes = torch.cat([corner, corner + torch.rand(number, 2, generator=generator) * 200], 1)
        scores = torch.rand(number, generator=generator)
        labels = torch.randint(1, 4, (number,), generator=generator)
        results[f"2007/{number}"] = Detections(boxes, scores, labels)
    return results


def test_e8_scored_again_the_file_gives_the_same_figures(found, tmp_path):
    truths = {
        name: Target(one.boxes[::2] + 9, one.labels[::2], one.labels[::2] == 9)
        for name, one in found.items()
    }
    path = tmp_path / "eval" / "detections.json"
    save_detections(found, NAMES, path)

    def figures(detections):
        evaluator = VOCEvaluator(truths, NAMES)
        evaluator.update(list(detections), list(detections.values()))
        return evaluator.compute().summary()

    assert figures(load_detections(path, NAMES)) == figures(found)
    assert 0 < figures(found)["mAP@0.5"] < 1


def test_every_bit_comes_back_and_labels_follow_the_names(found, tmp_path):
    path = tmp_path / "detections.json"
    save_detections(found, NAMES, path)
    read = load_detections(path, ("cow", "cat", "köter"))
    assert list(read) == list(found)
    order = torch.tensor([0, 2, 3, 1])
    for name, one in found.items():
        assert torch.equal(read[name].boxes, one.boxes)
        assert torch.equal(read[name].scores, one.scores)
        assert torch.equal(read[name].labels, order[one.labels])
        assert read[name].boxes.shape == (len(one), 4)


def test_numbers_are_short_and_each_picture_has_its_line(tmp_path):
    tenth = Detections(torch.full((1, 4), 0.1), torch.tensor([0.7]), torch.tensor([2]))
    path = tmp_path / "detections.json"
    save_detections({"a": tenth, "b": tenth}, NAMES, path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert json.loads(lines[1].rstrip(",")) == {
        "id": "a",
        "boxes": [[0.1, 0.1, 0.1, 0.1]],
        "scores": [0.7],
        "labels": ["köter"],
    }
    assert len(lines) == 4


def test_no_pictures_at_all(tmp_path):
    save_detections({}, NAMES, tmp_path / "empty.json")
    assert load_detections(tmp_path / "empty.json", NAMES) == {}


ROW = {"id": "a", "boxes": [[0, 0, 1, 1]], "scores": [0.5], "labels": ["cat"]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "cannot be read as a file of detections"),
        ("[]", "no list 'pictures'"),
        ('{"pictures": 3}', "no list 'pictures'"),
        ({"format": 2, "pictures": []}, "has format 2; this version reads 1"),
        ({"format": 1, "pictures": [7]}, "has no id"),
        ({"format": 1, "pictures": [ROW, ROW]}, "comes twice: 'a'"),
        ({"format": 1, "pictures": [{**ROW, "labels": ["owl"]}]}, "'a' .*'owl'; the classes are"),
        ({"format": 1, "pictures": [{"id": "a", "labels": []}]}, "'a' lacks .*'boxes'"),
        ({"format": 1, "pictures": [{**ROW, "scores": [1, 2]}]}, "'a' needs boxes"),
        ({"format": 1, "pictures": [{**ROW, "boxes": [[0, 1]]}]}, "'a' needs boxes"),
        ({"format": 1, "pictures": [{**ROW, "boxes": "none"}]}, "'a' needs boxes"),
    ],
)
def test_a_broken_file_is_named_with_its_fault(tmp_path, content, words):
    path = tmp_path / "broken.json"
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words) as error:
        load_detections(path, NAMES)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.json: cannot be read"):
        load_detections(tmp_path / "none.json", NAMES)
