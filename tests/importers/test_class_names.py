import pytest

from rfcn.errors import ConfigError
from rfcn.importers.class_names import COCO, VOC, names_for


def test_published_sets_are_known_by_their_count():
    assert names_for(20) == VOC
    assert names_for(80) == COCO
    assert len(set(VOC)) == 20
    assert len(set(COCO)) == 80
    assert names_for(2, ["one", "two"]) == ("one", "two")


@pytest.mark.parametrize(
    ("count", "given", "words"),
    [
        (3, (), "3 classes and no names"),
        (20, ("a",), "1 names for the 20"),
        (2, ("a", "a"), "once"),
    ],
)
def test_what_fits_no_file(count, given, words):
    with pytest.raises(ConfigError, match=words):
        names_for(count, given)
