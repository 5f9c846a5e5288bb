"""What holds of every format: parts of sets, classes, areas, and the config that names it all."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rfcn.build import build_dataset, listed_classes
from rfcn.config import schema
from rfcn.errors import ConfigError, DataError

Write = Callable[..., Path]
NAMES = [f"{number:012d}" for number in range(40)]


@pytest.fixture
def data(
    request: pytest.FixtureRequest, write_voc: Write, write_coco: Write, write_yolo: Write
) -> schema.Data:
    """Forty pictures with a cat, in the format that the test is given."""
    roots = {
        "voc": lambda: write_voc({name: [("cat", 2, 3, 11, 22)] for name in NAMES}),
        "coco": lambda: write_coco(
            {int(name): [(3, 1, 2, 10, 20)] for name in NAMES}, name="train", categories=CATEGORIES
        ),
        "yolo": lambda: write_yolo(dict.fromkeys(NAMES, "0 0.15 0.4 0.25 0.6666667")),
    }
    return schema.Data(format=request.param, root=str(roots[request.param]()), train="train")


CATEGORIES = [{"id": 3, "name": "cat"}]
every_format = pytest.mark.parametrize("data", ["voc", "coco", "yolo"], indirect=True)


def names(data: schema.Data, sets: str) -> list[str]:
    return [Path(path).stem for path in build_dataset(data, sets).paths]


@every_format
def test_shares_are_disjoint_complete_and_the_same_in_every_format(data: schema.Data) -> None:
    first, second = names(data, "train[:80%]"), names(data, "train[80%:]")
    assert not set(first) & set(second)
    assert sorted(first + second) == NAMES == names(data, "train")
    assert [int(name) for name in second] == [0, 7, 9, 11, 24, 27, 28, 30, 35]
    assert names(data, "train[:3]+train[3:5]") == names(data, "train[:3]") + names(
        data, "train[3:5]"
    )


@every_format
def test_no_set_to_evaluate_on(data: schema.Data) -> None:
    with pytest.raises(DataError, match=r"data\.train: NAME\[:80%\] with data\.val: NAME\[80%:\]"):
        build_dataset(data, "")
    with pytest.raises(DataError, match=r"Sets in .*: train\. .* data\.val: NAME\[80%:\]"):
        build_dataset(data, "val")


@every_format
def test_classes_of_a_text_file(data: schema.Data, tmp_path: Path) -> None:
    file = tmp_path / "classes of mine.txt"
    file.write_text("# mine\ndog\n\n cat\n")
    named = data.model_copy(update={"classes": str(file), "unknown_class": "skip"})
    assert listed_classes(named) == ("dog", "cat")
    dataset = build_dataset(named, "train[:2]")
    assert dataset.class_names == ("dog", "cat")
    assert dataset.target(0).labels.tolist() == [2]
    missing = data.model_copy(update={"classes": str(tmp_path / "gone.txt")})
    with pytest.raises(ConfigError, match="cannot read the text file"):
        build_dataset(missing, "train")


@every_format
def test_one_box_is_the_same_in_every_format(data: schema.Data) -> None:
    dataset = build_dataset(data, "train[:1]")
    assert dataset.target(0).boxes.round(decimals=4).tolist() == [[1, 2, 11, 22]]
    assert dataset.area(0).round(decimals=3).tolist() == [200]
    assert dataset.class_names[0] == "cat"
