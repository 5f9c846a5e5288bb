"""What is wrong with files of COCO annotations, and what is understood all the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rfcn.datasets import coco_json
from rfcn.datasets.coco_json import COCOFile, read_coco
from rfcn.datasets.findings import Findings
from rfcn.errors import DataError

Content = dict[str, Any]
Read = Callable[..., COCOFile]
NOWHERE = {"id": 1, "image_id": 5, "category_id": 3}
OBJECT = {**NOWHERE, "bbox": [1, 2, 3, 4], "area": 5, "iscrowd": 0}
PICTURE = {"id": 5, "file_name": "a.jpg", "height": 30, "width": 40}
CATEGORY = {"id": 3, "name": "cat"}


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Writes one picture, one object and one category, or what is given instead, and reads it."""

    def write_and_read(findings: Findings | None = None, **changes: Any) -> COCOFile:
        content = {"images": [PICTURE], "annotations": [OBJECT], "categories": [CATEGORY]}
        path = tmp_path / "set.json"
        path.write_text(json.dumps({**content, **changes}))
        return read_coco(path, findings or Findings())

    return write_and_read


@pytest.mark.parametrize(  # K1
    ("content", "message"),
    [
        (b"", "an empty file, where JSON was expected"),
        (b'{"images": [{"id": 5, "file_', "ends in the middle .*Copy it anew"),
        (b'{"images": [,]}', "not valid JSON, .* at line 1, column 13"),
        (b"<!doctype html><html></html>", "an HTML page, .*fetch the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, .*git lfs pull"),
        (b"PK\x03\x04rest", "a zip archive, where JSON was expected"),
        (b'{"images": "\xff"}', "cannot be decoded .*Convert it to UTF-8"),
        (b'{"images": ' + b"[" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_what_is_no_json_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "set.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_coco(path, Findings(tolerant=True))


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:  # K1
    path = tmp_path / "set.json"
    content = {"images": [PICTURE], "annotations": [], "categories": [CATEGORY]}
    path.write_text(json.dumps(content), encoding="utf-8-sig")
    assert read_coco(path, Findings()).pictures.keys() == {5}


def test_a_file_too_large_is_not_begun(  # K1
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "set.json"
    with path.open("wb") as file:
        file.truncate(coco_json.MAX_BYTES + 1)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"4\.0 GB, and what takes more than 4 is not read"):
        read_coco(path, Findings())


@pytest.mark.parametrize(  # K2
    ("content", "message"),
    [
        ([{"image_id": 5, "score": 0.5}], "a list, as results are"),
        ("text", "a str, where COCO has an object"),
        ({"images": [PICTURE], "categories": [CATEGORY]}, r"no `annotations`, .*score against"),
        (
            {"annotations": [], "categories": [CATEGORY]},
            "no list of `images`; it holds annotations, cat",
        ),
        ({"images": [PICTURE], "annotations": []}, "no list of `categories`; it holds images, ann"),
        ({"images": {}, "annotations": [], "categories": [CATEGORY]}, "no list of `images`"),
        ({"images": [], "annotations": [], "categories": [CATEGORY]}, "0 pictures"),
        ({"images": [PICTURE], "annotations": [], "categories": []}, "there is no category"),
    ],
)
def test_a_missing_part_is_named(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=message):
        read_coco(path, Findings(tolerant=True))


@pytest.mark.parametrize(  # K3
    ("ids", "in_order"),
    [([7, 0, 3], [0, 3, 7]), (["b", "a"], ["a", "b"]), (["10", "9"], ["9", "10"]), ([2.0], [2])],
)
def test_any_category_ids_are_taken(read: Read, ids: list[Any], in_order: list[Any]) -> None:
    categories = [{"id": id_, "name": f"class {id_}"} for id_ in ids]
    file = read(categories=categories, annotations=[{**OBJECT, "category_id": ids[0]}])
    assert list(file.categories) == in_order
    assert file.annotations[5][0].category == ids[0]


BROKEN: dict[str, tuple[str, Content, str]] = {
    "K4 id": ("category", {"categories": [CATEGORY, {"id": 3, "name": "dog"}]},
              r"categories\[1\], 'dog' has the id 3 of 'cat'"),
    "K4 name": ("category", {"categories": [CATEGORY, {"id": 4, "name": "cat "}]}, "comes twice"),
    "K4 empty": ("category", {"categories": [CATEGORY, {"id": 4, "name": ""}]}, "its name is ''"),
    "K4 no id": ("category", {"categories": [CATEGORY, {"name": "dog"}]}, "its id is None"),
    "K6 picture": ("orphan", {"annotations": [OBJECT, {**OBJECT, "id": 2, "image_id": 77}]},
                   "1 annotations refer to what .*: annotation 2 to picture 77. Take"),
    "K6 category": ("orphan", {"annotations": [OBJECT, {**OBJECT, "id": 2, "category_id": "3"}]},
                    "annotation 2 to category '3'"),
    "K6 none": ("annotation", {"annotations": [OBJECT, {**OBJECT, "id": 2, "image_id": None}]},
                "annotation 2, its image_id is None"),
    "K8 id": ("listing", {"images": [PICTURE, {**PICTURE, "file_name": "b.jpg"}]},
              r"images\[1\], b.jpg has the id 5 of another"),
    "K8 digits": ("listing", {"images": [PICTURE, {**PICTURE, "id": "5", "file_name": "b"}]},
                  "b has the id 5 of another"),
    "K8 file": ("listing", {"images": [PICTURE, {**PICTURE, "id": 6}]}, "a.jpg comes twice"),
    "K8 no name": ("listing", {"images": [PICTURE, {"id": 6}]}, "its file_name is None"),
    "K8 half a character": ("listing", {"images": [PICTURE, {"id": 6, "file_name": "\ud800"}]},
                            r"its file_name is '\\ud800'"),
    "K8 no id": ("listing", {"images": [PICTURE, {**PICTURE, "id": True}]}, "its id is True"),
    "K8 no object": ("listing", {"images": [PICTURE, 7]}, "it is 7, no object"),
    **{
        f"K9 {name}": ("annotation", {"annotations": [OBJECT, {**OBJECT, "id": 2, "bbox": box}]},
                       r"1 annotations cannot be read: annotation 2, bbox is .*\[x, y, width")
        for name, box in {
            "three": [1, 2, 3], "five": [1, 2, 3, 4, 5], "texts": ["1", "2", "3", "4"],
            "nulls": [None] * 4, "mapping": {"x": 1}, "long": [10**400, 0, 1, 1],
        }.items()
    },
    "K9 no object": ("annotation", {"annotations": [OBJECT, []]}, r"annotations\[1\], it is \[\]"),
    "K12 crowd": ("annotation", {"annotations": [OBJECT, {**OBJECT, "id": 2, "iscrowd": "no"}]},
                  "annotation 2, iscrowd is 'no'"),
    "K17 mask": ("annotation", {"annotations": [OBJECT, {**NOWHERE, "id": 2, "segmentation": {}}]},
                 "annotation 2, it has neither a bbox nor polygons"),
    "K17 line": ("annotation",
                 {"annotations": [OBJECT, {**NOWHERE, "id": 2, "segmentation": [[1, 2, 3, 4]]}]},
                 "annotation 2, it has neither a bbox nor polygons"),
}  # fmt: skip


@pytest.mark.parametrize("row", BROKEN)
def test_broken_records_stop_or_are_all_found(read: Read, row: str) -> None:
    kind, changes, message = BROKEN[row]
    with pytest.raises(DataError, match=message):
        read(**changes)
    findings = Findings(tolerant=True)
    file = read(findings, **changes)
    assert [one.kind for one in findings.found] == [kind]
    assert (findings.found[0].file or "").endswith("set.json")
    assert [one.box for one in file.annotations[5]] == [(1, 2, 3, 4)]  # reading went on


def test_five_are_named_and_the_rest_counted(read: Read) -> None:
    broken = [{**OBJECT, "id": id_, "bbox": [1]} for id_ in range(1, 9)]
    with pytest.raises(DataError, match=r"8 annotations cannot .* annotation 5, .*, and 3 more"):
        read(annotations=broken)
    findings = Findings(tolerant=True)
    read(findings, annotations=broken)
    assert [one.object for one in findings.found] == list(range(1, 9))


def test_annotations_without_a_good_id_get_one(read: Read) -> None:  # K7
    ids = [0, 4, 4, None, "x", True]
    findings = Findings()
    file = read(findings, annotations=[{**OBJECT, "id": id_} for id_ in ids])
    assert [one.id for one in file.annotations[5]] == [5, 4, 6, 7, "x", 8]
    assert findings["renumbered"] == ["0 as 5", "4 as 6", "0 as 7", "0 as 8"]


@pytest.mark.parametrize("area", [None, "7", float("nan"), -1])
def test_a_missing_area_is_that_of_the_box(read: Read, area: Any) -> None:  # K11
    findings = Findings()
    crowdless = {key: value for key, value in OBJECT.items() if key != "iscrowd"}
    (one,) = read(findings, annotations=[{**crowdless, "area": area}]).annotations[5]
    assert (one.area, one.crowd) == (12, False)
    assert findings["no area"] == ["annotation 1"]


def test_a_stated_area_is_kept(read: Read) -> None:  # K11
    assert read().annotations[5][0].area == 5


def test_boxes_are_taken_from_polygons(read: Read) -> None:  # K17
    findings = Findings()
    outline = [[4, 5, 10, 5, 7, 9], [20, 6, 22, 6, 22, 8.5]]
    (one,) = read(findings, annotations=[{**NOWHERE, "segmentation": outline}]).annotations[5]
    assert one.box == (4, 5, 18, 4)
    assert findings["outline"] == ["annotation 1"]


@pytest.mark.parametrize("size", [{}, {"height": None}, {"height": "30"}, {"height": 0}])
def test_senseless_sizes_are_none(read: Read, size: Content) -> None:  # K14
    picture = {"id": 5, "file_name": "a.jpg", "width": 40}
    assert read(images=[{**picture, **size}]).pictures[5].size is None


def test_text_ids_of_pictures_are_kept(read: Read) -> None:  # K16
    file = read(
        images=[{**PICTURE, "id": "frame 1"}], annotations=[{**OBJECT, "image_id": "frame 1"}]
    )
    assert file.pictures["frame 1"].id == "frame 1"
    assert len(file.annotations["frame 1"]) == 1
