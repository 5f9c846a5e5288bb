"""Files of proposals: what is read from each kind, and what is said of broken ones."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from rfcn.datasets.proposal_files import read_proposals, to_half_open, write_proposals
from rfcn.errors import DataError

BOXES = {
    "000001": np.array([[1, 2, 30, 40], [5, 6, 7, 8]], np.float32),
    "2008_000002": np.zeros((0, 4), np.float32),
    "000003": np.array([[10, 20, 300, 400]], np.float32),
}


def cells(values):
    found = np.empty(len(values), dtype=object)
    found[:] = values
    return found


def save(path, boxes=BOXES):
    """The same boxes in the layout that the ending means."""
    if path.suffix == ".mat":  # as released: names down, boxes across, doubles
        names = cells(list(boxes)).reshape(-1, 1)
        savemat(
            path, {"images": names, "boxes": cells([one.astype(float) for one in boxes.values()])}
        )
    elif path.suffix == ".npz":
        with path.open("wb") as file:
            write_proposals(file, boxes)
    else:
        path.write_text(json.dumps({name: one.tolist() for name, one in boxes.items()}))
    return path


@pytest.mark.parametrize("name", ["a.mat", "a.npz", "a.json", "A.NPZ"])
def test_every_kind_gives_the_same(name, tmp_path):
    found = read_proposals(save(tmp_path / name) if name != "A.NPZ" else save_upper(tmp_path))
    assert list(found) == list(BOXES)
    for key, boxes in BOXES.items():
        assert found[key].dtype == np.float32
        np.testing.assert_array_equal(found[key], boxes)


def save_upper(tmp_path):
    return save(tmp_path / "a.npz").rename(tmp_path / "A.NPZ")


def test_an_array_for_each_picture(tmp_path):
    np.savez(tmp_path / "a.npz", **{name: one for name, one in BOXES.items() if len(one)})
    found = read_proposals(tmp_path / "a.npz")
    np.testing.assert_array_equal(found["000003"], BOXES["000003"])


def test_cocos_list_with_scores(tmp_path):
    content = [
        {"image_id": 7, "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1},
        {"image_id": 9, "bbox": [5, 6, 7, 8], "score": 0.25},
        {"image_id": 7, "bbox": [0, 0, 1, 1], "score": 0.75},
    ]
    (tmp_path / "a.json").write_text(json.dumps(content))
    found = read_proposals(tmp_path / "a.json")
    assert found["7"].tolist() == [[1, 2, 3, 4, 0.5], [0, 0, 1, 1, 0.75]]
    assert found["9"].shape == (1, 5)


@pytest.mark.parametrize(
    ("corners", "pixels", "raw"),
    [
        # the pixels 2..4 across and 5..9 down, counted from 0
        ("x1y1x2y2", "half_open", [2, 5, 5, 10]),
        ("x1y1x2y2", "zero_based", [2, 5, 4, 9]),
        ("x1y1x2y2", "one_based", [3, 6, 5, 10]),
        ("y1x1y2x2", "half_open", [5, 2, 10, 5]),
        ("y1x1y2x2", "zero_based", [5, 2, 9, 4]),
        ("y1x1y2x2", "one_based", [6, 3, 10, 5]),
        ("xywh", "half_open", [2, 5, 3, 5]),
        ("xywh", "zero_based", [2, 5, 3, 5]),
        ("xywh", "one_based", [3, 6, 3, 5]),
    ],
)
def test_every_convention_means_the_same_box(corners, pixels, raw):
    raw = np.array([raw, raw], np.float64)
    assert to_half_open(raw, corners, pixels).tolist() == [[2, 5, 5, 10]] * 2
    assert to_half_open(raw[:0], corners, pixels).shape == (0, 4)


# ------------------------------------------------------------------------------------ bad files


def refused(path):
    with pytest.raises(DataError) as caught:
        read_proposals(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


def test_a_missing_file(tmp_path):
    assert "there is no file" in refused(tmp_path / "nowhere.mat")


def test_a_pickle_is_not_read(tmp_path):
    path = tmp_path / "a.pkl"
    path.write_bytes(b"")
    assert "run code" in refused(path)


@pytest.mark.parametrize("name", ["a.mat", "a.npz", "a.json"])
@pytest.mark.parametrize("left", [0, 90])
def test_a_file_cut_short(name, left, tmp_path):
    path = save(tmp_path / name)
    path.write_bytes(path.read_bytes()[:left])
    assert "cannot be read as a file of proposals" in refused(path)


@pytest.mark.parametrize(
    "content",
    ["[1, 2]", '[{"image_id": 1}]', "7", '{"a": [["x", 1, 2, 3]]}', '{"a": [[1, 2], [3]]}'],
)
def test_json_of_something_else(content, tmp_path):
    path = tmp_path / "a.json"
    path.write_text(content)
    refused(path)


def test_boxes_of_a_wrong_shape_or_not_finite(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"000007": [[1, 2, 3]]}')
    assert "picture 000007 have the shape [1, 3]" in refused(path)
    path.write_text('{"000007": [[1, 2, NaN, 4]]}')
    assert "picture 000007 is not finite" in refused(path)


def test_names_and_boxes_that_do_not_pair(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"images": cells(["a", "b"]), "boxes": cells([np.zeros((1, 4))] * 3)})
    assert "names 2 pictures and holds the boxes of 3" in refused(path)
    savemat(path, {"images": cells(["a", "a"]), "boxes": cells([np.zeros((1, 4))] * 2)})
    assert "twice" in refused(path)
    savemat(path, {"boxes": cells([np.zeros((1, 4))])})
    refused(path)
