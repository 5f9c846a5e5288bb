from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rfcn.datasets import shapes
from rfcn.datasets.shapes import CLASSES, LIGHTS, POSITION, Scene, draw_scene, make_shapes
from rfcn.datasets.voc import VOCDataset


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(np.random.default_rng((0, number))) for number in range(60)]


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_what_is_written_reads_back_as_it_was_drawn(tmp_path: Path) -> None:
    folder = make_shapes(tmp_path / "set", train=4, val=2, seed=1)
    assert VOCDataset(folder, "train", classes=CLASSES).ids == [
        "000000",
        "000001",
        "000002",
        "000003",
    ]
    data = VOCDataset(folder, "val", classes=CLASSES, bad_box="stop")
    assert data.ids == ["000004", "000005"]
    assert data.notes == []
    for index, number in enumerate((4, 5)):
        scene = draw_scene(np.random.default_rng((1, number)))
        sample = data[index]
        assert sample.target.boxes.tolist() == [list(shape.box) for shape in scene.shapes]
        names = [CLASSES[label - 1] for label in sample.target.labels.tolist()]
        assert names == [shape.name for shape in scene.shapes]
        assert sample.target.difficult.tolist() == [shape.difficult for shape in scene.shapes]
        error = np.abs(sample.image.astype(int) - scene.image).mean()
        assert error < 6  # JPEG


def test_same_arguments_same_files_and_no_second_drawing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_shapes(tmp_path / "a", train=2, val=1)
    assert _files(first) == _files(make_shapes(tmp_path / "b", train=2, val=1))
    assert _files(first) != _files(make_shapes(tmp_path / "c", train=2, val=1, seed=9))
    drawn: list[object] = []
    monkeypatch.setattr(shapes, "_write_set", lambda *arguments: drawn.append(arguments))
    make_shapes(tmp_path / "a", train=2, val=1)
    assert not drawn
    make_shapes(tmp_path / "a", train=2, val=1, seed=9)
    assert len(drawn) == 2


def test_an_interrupted_drawing_is_not_taken_for_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shapes, "_write_set", interrupted)
        with pytest.raises(KeyboardInterrupt):
            make_shapes(tmp_path, train=2, val=1)
    assert len(VOCDataset(make_shapes(tmp_path, train=2, val=1), "train", classes=CLASSES)) == 2


def test_scenes_vary(scenes: list[Scene]) -> None:
    counts = Counter(len(scene.shapes) for scene in scenes)
    assert min(counts) >= 1
    assert max(counts) == 7
    assert {shape.name for scene in scenes for shape in scene.shapes} == set(CLASSES)
    orientations = {scene.image.shape[0] > scene.image.shape[1] for scene in scenes}
    assert orientations == {True, False}
    sides = [
        max(s.box[2] - s.box[0], s.box[3] - s.box[1]) for scene in scenes for s in scene.shapes
    ]
    assert max(sides) / min(sides) > 2.5


def test_boxes_lie_inside_their_picture(scenes: list[Scene]) -> None:
    for scene in scenes:
        height, width = scene.image.shape[:2]
        for shape in scene.shapes:
            x1, y1, x2, y2 = shape.box
            assert 0 < x1 < x2 < width
            assert 0 < y1 < y2 < height


def test_few_objects_are_difficult(scenes: list[Scene]) -> None:
    flags = [shape.difficult for scene in scenes for shape in scene.shapes]
    assert 0.01 < np.mean(flags) < 0.2


def test_hidden_shares_by_hand() -> None:
    """Of three rows of 4 pixels: the last object hides 1 of the first's 4 and 2 of the second's."""
    first = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], dtype=np.float32)
    second = np.array([[0, 0, 0, 0], [0, 0, 1, 1]], dtype=np.float32)
    last = np.array([[0, 0, 0, 1], [0, 0, 1, 1]], dtype=np.float32)
    assert shapes._hidden([first, second, last]) == [0.25, 1, 0]


def test_the_set_of_positions_keeps_its_objects_apart(tmp_path: Path) -> None:
    for number in range(20):
        scene = draw_scene(np.random.default_rng((0, number)), POSITION)
        height, width = scene.image.shape[:2]
        assert 1 <= len(scene.shapes) <= 4
        for index, shape in enumerate(scene.shapes):
            x1, y1, x2, y2 = shape.box
            assert shape.name in LIGHTS
            assert not shape.difficult
            assert min(x1, y1, width - x2, height - y2) >= 15
            for other in scene.shapes[:index]:
                a1, b1, a2, b2 = other.box
                assert max(x1 - a2, a1 - x2, y1 - b2, b1 - y2) >= 16
    folder = make_shapes(tmp_path, train=8, val=1, kind="position")
    assert set(VOCDataset(folder, "train").class_names) <= set(LIGHTS)
    make_shapes(tmp_path, train=8, val=1)  # another kind: drawn anew
    assert set(VOCDataset(folder, "train").class_names) <= set(CLASSES)
