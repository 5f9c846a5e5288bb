"""The files that the benchmarks take: what is in them, and that they score the same."""

import json
from pathlib import Path

import pytest
import torch

from rfcn.errors import DataError
from rfcn.evaluation.detections_file import save_detections
from rfcn.evaluation.submission import (
    Naming,
    load_any,
    load_coco_results,
    load_voc_results,
    save_coco_results,
    save_voc_results,
)
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.structures import Detections, Target

NAMING = Naming({"2007/000001": 42, "2007/000002": 7}, ("dog", "hot_dog"), (18, 58))
PLAIN = Naming({"2007/000001": "000001", "2007/000002": "000002"}, ("dog", "hot_dog"), (1, 2))


@pytest.fixture
def found(detections) -> dict[str, Detections]:
    second = detections([[0, 0, 1, 1], [10.5, 20, 30.25, 60]], [0.5, 0.125], [1, 2])
    return {"2007/000002": second, "2007/000001": detections([[3, 4, 5, 8]], [0.75], [2])}


def assert_same(read: dict[str, Detections], found: dict[str, Detections]) -> None:
    assert list(read) == ["2007/000001", "2007/000002"]
    for name, one in found.items():
        for part in ("boxes", "scores", "labels"):
            mine, theirs = getattr(read[name], part), getattr(one, part)
            assert torch.equal(mine, theirs.to(mine.dtype)), (name, part)


def test_a_list_of_coco_results(found, tmp_path: Path) -> None:
    path = save_coco_results(found, NAMING, tmp_path / "new" / "results.json")
    assert json.loads(path.read_text()) == [
        {"image_id": 42, "category_id": 58, "bbox": [3, 4, 2, 4], "score": 0.75},
        {"image_id": 7, "category_id": 18, "bbox": [0, 0, 1, 1], "score": 0.5},
        {"image_id": 7, "category_id": 58, "bbox": [10.5, 20, 19.75, 40], "score": 0.125},
    ]
    assert_same(load_coco_results(path, NAMING), found)


def test_vocs_files_count_from_1_and_include_the_last_pixel(found, tmp_path: Path) -> None:
    paths = save_voc_results(found, PLAIN, tmp_path / "new", set_name="test")
    assert [path.name for path in paths] == [
        "comp4_det_test_dog.txt",
        "comp4_det_test_hot_dog.txt",
    ]
    assert paths[0].read_text() == "000002 0.5 1.0 1.0 1.0 1.0\n"
    assert paths[1].read_text() == (
        "000001 0.75 4.0 5.0 5.0 8.0\n000002 0.125 11.5 21.0 30.25 60.0\n"
    )
    assert_same(load_voc_results(tmp_path / "new", PLAIN), found)


def test_nothing_found_is_a_file_too(tmp_path: Path) -> None:
    path = save_coco_results({}, NAMING, tmp_path / "results.json")
    assert json.loads(path.read_text()) == []
    save_voc_results({}, PLAIN, tmp_path, set_name="val")
    for read in (load_coco_results(path, NAMING), load_voc_results(tmp_path, PLAIN)):
        assert [len(one) for one in read.values()] == [0, 0]


def test_every_kind_is_known_by_what_is_there(found, tmp_path: Path) -> None:
    save_detections(found, PLAIN.class_names, tmp_path / "detections.json")
    save_coco_results(found, PLAIN, tmp_path / "results.json")
    save_voc_results(found, PLAIN, tmp_path, set_name="test")
    for name in ("detections.json", "results.json", ""):
        read = load_any(tmp_path / name, PLAIN)
        assert_same(dict(sorted(read.items())), found)
    with pytest.raises(DataError, match=r"absent\.json: cannot be read"):
        load_any(tmp_path / "absent.json", PLAIN)


def test_e8_every_form_scores_the_same(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    found, truths = {}, {}
    for name in NAMING.pictures:
        corners = torch.rand(40, 2, generator=generator) * 300
        boxes = torch.cat([corners, corners + torch.rand(40, 2, generator=generator) * 90], 1)
        labels = torch.randint(1, 3, (40,), generator=generator)
        scores = (torch.rand(40, generator=generator) * 9).round() / 9
        found[name] = Detections(boxes, scores, labels)
        truths[name] = Target(boxes[::3] + 4, labels[::3], labels[::3] == 5)

    def figures(detections: dict[str, Detections]) -> dict[str, float]:
        evaluator = VOCEvaluator(truths, NAMING.class_names)
        evaluator.update(list(detections), list(detections.values()))
        return evaluator.compute().summary()

    expected = figures(found)
    assert 0 < expected["mAP@0.5"] < 1
    path = save_coco_results(found, NAMING, tmp_path / "results.json")
    assert figures(load_any(path, NAMING)) == expected
    save_voc_results(found, NAMING, tmp_path, set_name="test")
    assert figures(load_any(tmp_path, NAMING)) == expected


GOOD = {"image_id": 42, "category_id": 18, "bbox": [0, 0, 5, 5], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", r"cannot be read as COCO results"),
        ("{}", r"is not a JSON list"),
        ([GOOD, {**GOOD, "bbox": [1, 2, 3]}], r"result 2 needs .*bbox"),
        ([{**GOOD, "score": None}], r"result 1 needs .*score"),
        ([[1]], r"result 1 needs image_id"),
        ([{**GOOD, "image_id": [1]}], r"result 1 needs image_id"),
        ([{**GOOD, "image_id": 43}], r"image_id 43, which the data do not have .*like 42, 2 in"),
        ([{**GOOD, "category_id": 1}], r"category_id 1, which the data do not have .*like 18"),
    ],
)
def test_e4_results_that_are_not_of_the_data(content, words, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(DataError, match=words):
        load_coco_results(path, NAMING)


@pytest.mark.parametrize(
    "line", ["000003 0.5 1 1 2 2", "000001 0.5 1 1 2", "000001 x 1 1 2 2", "000001", ""]
)
def test_e4_lines_that_are_not_of_the_data(line, tmp_path: Path) -> None:
    paths = save_voc_results({}, PLAIN, tmp_path, set_name="test")
    paths[1].write_text(f"000001 0.5 1 1 2 2\n{line}\n")
    with pytest.raises(DataError, match=r"comp4_det_test_hot_dog\.txt:2: .* one of the 2 pictures"):
        load_voc_results(tmp_path, PLAIN)


def test_a_missing_class_and_a_second_set_are_named(tmp_path: Path) -> None:
    paths = save_voc_results({}, PLAIN, tmp_path, set_name="test")
    save_voc_results({}, PLAIN, tmp_path, set_name="val")
    with pytest.raises(DataError, match=r"of them: comp4_det_test, comp4_det_val; .*: none"):
        load_voc_results(tmp_path, PLAIN)
    for path in (paths[1], tmp_path / "comp4_det_val_hot_dog.txt"):
        path.unlink()
    with pytest.raises(DataError, match="with all of them: none; classes without a file: hot_dog"):
        load_voc_results(tmp_path, PLAIN)
