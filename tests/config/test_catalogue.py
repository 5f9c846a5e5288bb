"""The schema as data, and in words."""

import pytest

from rfcn.config.catalogue import Catalogue, config_schema, describe


def test_a_file_may_hold_a_base_and_any_part_of_the_settings() -> None:
    found = config_schema()
    sections = ["model", "data", "train", "eval", "runtime"]
    assert list(found["properties"]) == ["base", "version", *sections]
    assert found["additionalProperties"] is False
    assert all("required" not in section for section in found["$defs"].values())
    assert "oneOf" not in str(found)
    assert found["$defs"]["Train"]["properties"]["lr"]["exclusiveMinimum"] == 0
    assert "paper" in found["$defs"]["Train"]["properties"]["lr"]["description"]


def test_looking_keys_up() -> None:
    catalogue = Catalogue()
    assert catalogue.at(("train", "lr"), {})["type"] == "number"
    assert catalogue.at(("train", "lr_steps", 3), {})["type"] == "integer"
    assert catalogue.at(("model", "box_std", 9), {})["type"] == "number"
    backbone = ("model", "backbone")
    assert "depth" in catalogue.section(backbone, {backbone: "resnet"})["properties"]
    assert "width" in catalogue.section(backbone, {backbone: "tiny"})["properties"]
    assert catalogue.at(("no", "such"), {}) == {}


def test_finding_the_places_of_a_name() -> None:
    catalogue = Catalogue()
    assert catalogue.places("momentum") == [("train.momentum", None)]
    assert catalogue.places("lr") == [("train.lr", None), ("train.scheme.lr", "alternating")]
    assert catalogue.places("foreground_iou") == [
        ("model.roi_loss.foreground_iou", "ohem"),
        ("model.roi_loss.foreground_iou", "sampled"),
    ]
    assert catalogue.places("absent") == []
    assert {"model", "backbone", "depth", "width"} <= catalogue.names()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("train", "lr"), "a number above 0"),
        (("train", "batch_size"), "an integer of at least 1"),
        (("train", "max_gradient_norm"), "a number above 0 or null"),
        (("train", "lr_steps"), "a list of integers of at least 1"),
        (("model", "box_std"), "a list of 4 numbers above 0"),
        (("model", "pixel_mean"), "a list of 3 numbers"),
        (("model", "backbone"), "a mapping"),
        (("model",), "a mapping"),
        (("model", "roi_head", "type"), "'rfcn'"),
        (("data", "bad_box"), "one of 'stop', 'drop', 'swap'"),
        (("data", "classes"), "a list of texts or a text or null"),
        (("data", "flip"), "true or false"),
        (("eval", "iou_thresholds"), "a list of numbers above 0 and up to 1, at least one"),
    ],
)
def test_describing_in_words(keys: tuple[str, ...], words: str) -> None:
    assert describe(Catalogue().at(keys, {})) == words
