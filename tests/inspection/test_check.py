"""The whole check: every planted fault is reported, and nothing that is right."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from rfcn.config.schema import Config
from rfcn.inspection.cases import Case
from rfcn.inspection.check import check_data, middle_side
from rfcn.inspection.report import Report


def kinds_by_name(report: Report, names: list[str]) -> dict[str, set[str]]:
    """The kinds of the cases that each name occurs in: of a pair of pictures, the first."""
    found: dict[str, set[str]] = {name: set() for name in names}
    for case in report.cases:
        place = case.place.partition(" is ")[0]
        for name in names:
            if re.search(rf"/{re.escape(name)}(?:\.\w+|$|')", place) or f"'{name}'" in place:
                found[name].add(case.kind)
    return found


def test_voc_with_a_fault_of_every_row_is_reported_completely(planted_voc, report_of) -> None:
    report = report_of(planted_voc.config)
    assert kinds_by_name(report, list(planted_voc.expected)) == planted_voc.expected
    assert report.complete
    assert report.exit_code() == 3


def key(case: Case) -> str:
    """What a case is about: an id, a picture or a class."""
    if case.object is not None:
        return str(case.object)
    return Path(case.file).name if case.file else re.sub(r"^'(.+)' as .*", r"\1", case.place)


def test_coco_with_a_fault_of_every_row_is_reported_completely(planted_coco, report_of) -> None:
    report = report_of(planted_coco.config)
    found = Counter((case.kind, key(case)) for case in report.cases)
    assert found == Counter(planted_coco.expected)
    assert report.exit_code() == 3
    assert [len(part.looks) for part in report.parts] == [28, 2]


def test_coco_cases_find_their_picture_and_box(planted_coco, report_of) -> None:
    report = report_of(planted_coco.config)
    (cut,) = [case for case in report.cases if case.kind == "cut"]
    assert report.parts[0].dataset.paths[cut.picture].endswith("K9_outside.jpg")
    assert cut.boxes == ((60, 40, 90, 70),)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        ('{"images": [', "ends in the middle"),
        ("[]", "a list"),
        ("<!DOCTYPE html><html></html>", "JSON was expected"),
        (
            '{"images": [{"id": 1, "file_name": "K3.jpg"}],'
            ' "categories": [{"id": 1, "name": "cat"}]}',
            "no `annotations`",
        ),
    ],
)
def test_k1_k2_a_file_that_is_no_coco(
    planted_coco, report_of, content: str | None, words: str
) -> None:
    file = Path(planted_coco.config.data.root) / "annotations" / "instances_train.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    report = report_of(planted_coco.config)
    (broken,) = [case for case in report.cases if case.part == "train"]
    assert broken.kind == "broken"
    assert words in broken.place
    assert len(report.parts[1].looks) == 2


@pytest.mark.parametrize(
    ("box", "kind"), [([30, 20, 78, 58], "corners"), ([0.2, 0.2, 0.5, 0.5], "fractions")]
)
def test_k10_boxes_that_look_like_something_else(
    planted_coco, report_of, box: list[float], kind: str
) -> None:
    file = Path(planted_coco.config.data.root) / "annotations" / "instances_val.json"
    content = json.loads(file.read_text())
    for one in content["annotations"]:
        one["bbox"] = box
    file.write_text(json.dumps(content))
    report = report_of(planted_coco.config)
    assert (kind, "val") in {(case.kind, case.part) for case in report.cases}


def test_k15_pictures_without_any_annotation(planted_coco, report_of) -> None:
    file = Path(planted_coco.config.data.root) / "annotations" / "instances_train.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "annotations": []}))
    report = report_of(planted_coco.config)
    (nothing,) = [case for case in report.cases if case.kind == "nothing"]
    assert nothing.part == "train"
    assert report.anchors is None
    assert report.level("nothing", "train") == "fault"


def test_k19_pictures_of_val_that_are_in_train(planted_voc, report_of) -> None:
    report = report_of(planted_voc.config)
    (leak,) = [case for case in report.cases if case.kind == "leak"]
    assert leak.part == "val"
    assert leak.place.endswith("leaked.png is " + str(Path(leak.place.split()[-1])))
    assert leak.place.endswith("K19.jpg")
    assert report.level("leak", "val") == "warning"


def test_cases_that_a_picture_shows_have_its_number_and_box(planted_voc, report_of) -> None:
    report = report_of(planted_voc.config)
    (train, _) = report.parts
    (zero,) = [case for case in report.cases if case.kind == "zero"]
    assert train.dataset.paths[zero.picture].endswith("V16.jpg")
    assert zero.boxes == ((-1, -1, 40, 40),)
    (twice,) = [case for case in report.cases if case.kind == "twice"]
    assert train.dataset.paths[twice.picture].endswith("K18.jpg")
    assert twice.boxes == ((9, 9, 40, 40),)


def test_v1_v2_a_set_that_cannot_be_read_does_not_hide_the_other(
    planted_voc, voc_config: Callable[..., Config], report_of
) -> None:
    root = Path(planted_voc.config.data.root)
    (root / "ImageSets/Main/empty.txt").write_text("\n")
    report = report_of(voc_config(root, train="absent", val="val"))
    assert {(case.kind, case.part) for case in report.cases} == {("broken", "train")}
    assert "Sets in" in report.cases[0].place
    assert len(report.parts[1].looks) == 1
    report = report_of(voc_config(root, train="val", val="empty"))
    assert "the list is empty" in next(c.place for c in report.cases if c.kind == "broken")
    assert report.exit_code() == 3


def test_a_clean_set_is_clean(planted_voc, voc_config: Callable[..., Config], report_of) -> None:
    root = Path(planted_voc.config.data.root)
    (root / "ImageSets/Main/good.txt").write_text("V9\nV10\nV12")
    (root / "ImageSets/Main/other.txt").write_text("V4\nV24")
    report = report_of(voc_config(root, train="good", val="other"))
    assert report.cases == []
    assert report.exit_code(strict=True) == 0
    assert report.anchors is not None
    assert len(report.anchors.overlaps) == 3


def test_classes_of_one_part_only(
    planted_voc, voc_config: Callable[..., Config], report_of
) -> None:
    root = Path(planted_voc.config.data.root)
    (root / "ImageSets/Main/cats.txt").write_text("V9\nV10")
    (root / "ImageSets/Main/dogs.txt").write_text("leaked")
    report = report_of(voc_config(root, train="cats", val="dogs"))
    (only_val,) = report.cases  # found in training, the classes are cat alone
    assert (only_val.kind, only_val.part) == ("unknown", "val")
    report = report_of(voc_config(root, train="cats", val="dogs", classes=["cat", "dog"]))
    assert [(c.kind, c.part, c.place) for c in report.cases] == [("not trained", "train", "dog")]
    report = report_of(voc_config(root, train="dogs", val="cats"))
    assert [(c.kind, c.part, c.place) for c in report.cases] == [("not measured", "val", "dog")]


def test_stopped_on_the_way_reports_what_was_seen(planted_voc) -> None:
    asked = iter([False, False, True])
    report = check_data(planted_voc.config, workers=0, stopped=lambda: next(asked))
    assert not report.complete
    assert [len(part.looks) for part in report.parts] == [3, 0]
    assert {"bad", "unknown"} <= {case.kind for case in report.cases}


def test_one_part_alone(planted_voc) -> None:
    report = check_data(planted_voc.config, parts=("train",), workers=0)
    assert [part.name for part in report.parts] == ["train"]
    assert not [case for case in report.cases if case.part == "val"]


@pytest.mark.parametrize(("sides", "middle"), [((600,), 600), ((400, 500, 600, 700, 800), 600)])
def test_anchors_are_compared_at_the_middle_size(sides: tuple[int, ...], middle: int) -> None:
    assert middle_side(Config().data.model_copy(update={"train_short_sides": sides})) == middle


def test_bccd_has_two_boxes_without_area(
    data_folder: Path, voc_config: Callable[..., Config]
) -> None:
    config = voc_config(data_folder / "bccd" / "BCCD", train="trainval", val="test")
    report = check_data(config, workers=0, stopped=lambda: True)  # the files say it, no picture
    bad = [case for case in report.cases if case.kind == "bad"]
    assert [Path(case.file or "").stem for case in bad] == ["BloodImage_00338", "BloodImage_00343"]
    assert {case.kind for case in report.cases} == {"bad"}
