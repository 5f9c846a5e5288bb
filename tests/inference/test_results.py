"""What was found in a picture, for people."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.datasets.image import read_image
from rfcn.datasets.rules import FileRules
from rfcn.errors import ConfigError, DataError, MachineError
from rfcn.inference.results import Detection, NamedDetections, labels_of
from rfcn.visualization.draw import draw_boxes

NAMES = ("cat", "dog", "fox")


@pytest.fixture
def found(photo: np.ndarray) -> NamedDetections:
    return NamedDetections(
        boxes=torch.tensor([[1.0, 2, 30.125, 40.5], [0, 0, 25, 25], [20, 10, 60, 40]]),
        scores=torch.tensor([0.9, 0.5, 0.25]),
        labels=torch.tensor([2, 1, 2]),
        rois=torch.tensor([7, 8, 9]),
        class_names=NAMES,
        size=(48, 64),
        source=photo,
        rules=FileRules(),
    )


def test_one_after_the_other(found: NamedDetections) -> None:
    assert len(found) == 3
    first = Detection("dog", 2, pytest.approx(0.9), (1.0, 2.0, 30.125, 40.5))
    assert next(iter(found)) == found[0] == found[-3] == first
    assert [one.name for one in found] == found.names == ["dog", "cat", "dog"]
    with pytest.raises(IndexError):
        found[3]


def test_some_of_them_keep_all_they_had(found: NamedDetections) -> None:
    sure = found.above(0.5)
    assert isinstance(sure, NamedDetections)
    assert (sure.names, sure.rois.tolist(), sure.size) == (["dog", "cat"], [7, 8], (48, 64))
    assert found[1:].names == ["cat", "dog"]
    assert found[found.scores < 0.6].names == ["cat", "dog"]
    assert found[[2, 0]].rois.tolist() == [9, 7]
    assert found[np.array([False, True, False])].names == ["cat"]
    assert found.of("dog").rois.tolist() == [7, 9]
    assert found.of("fox", "cat").names == ["cat"]
    assert len(found.of()) == len(found[[0]].above(1.0)) == 0
    with pytest.raises(ConfigError, match=r"no class 'dgo'. Did you mean 'dog'\?.* cat, dog, fox"):
        found.of("dgo")


def test_labels_of_names() -> None:
    assert labels_of(["fox", "cat"], NAMES) == [3, 1]
    with pytest.raises(ConfigError, match=r"no class 'zebra'\. The detector knows"):
        labels_of(["zebra"], NAMES)


def test_drawn_are_the_sure_ones_on_a_copy(found: NamedDetections, photo: np.ndarray) -> None:
    before = photo.copy()
    two = found.above(0.5)
    expected = draw_boxes(photo, two.boxes, two.labels, NAMES, scores=two.scores)
    assert np.array_equal(found.draw(), expected)
    assert np.array_equal(found.draw(0.95), photo)
    assert not np.array_equal(found.draw(0), expected)
    assert np.array_equal(photo, before)
    assert found._repr_jpeg_().startswith(b"\xff\xd8")


def test_saved_but_never_over_the_picture(
    found: NamedDetections, photo: np.ndarray, tmp_path: Path
) -> None:
    from dataclasses import replace

    written = found.save(tmp_path / "deep" / "seen.png")
    assert np.array_equal(read_image(written), found.draw())
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    of_file = replace(found, source=str(path))
    assert np.array_equal(of_file.draw(), found.draw())
    with pytest.raises(DataError, match=r"photo\.png is the picture itself"):
        of_file.save(tmp_path / "deep" / ".." / "photo.png")
    assert np.array_equal(read_image(path), photo)
    assert of_file.to_dict()["file"] == str(path)


def test_json(found: NamedDetections) -> None:
    told = json.loads(found[:2].to_json())
    assert told == found[:2].to_dict()
    assert told == {
        "width": 64,
        "height": 48,
        "detections": [
            {"label": "dog", "label_id": 2, "score": 0.9, "box": [1.0, 2.0, 30.12, 40.5]},
            {"label": "cat", "label_id": 1, "score": 0.5, "box": [0.0, 0.0, 25.0, 25.0]},
        ],
    }


def test_supervision(found: NamedDetections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MachineError, match="pip install supervision"):
        found.to_supervision()
    monkeypatch.setitem(sys.modules, "supervision", SimpleNamespace(Detections=SimpleNamespace))
    theirs = found.to_supervision()
    assert np.array_equal(theirs.xyxy, found.boxes.numpy())
    assert theirs.class_id.tolist() == [1, 0, 1]
    assert theirs.confidence.tolist() == found.scores.tolist()
    assert theirs.data["class_name"].tolist() == found.names
    assert found[:0].to_supervision().data["class_name"].shape == (0,)
