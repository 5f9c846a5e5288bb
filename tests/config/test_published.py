"""The table of published settings is complete, and true of the full-scale config."""

import pytest

from rfcn.config.catalogue import Catalogue
from rfcn.config.loader import config_from_mapping, load_config
from rfcn.config.published import COLUMNS, DIFFERS, SOURCES, compare, leaves

FULL_SCALE = "rfcn/r101_voc_ohem.yaml"


def test_every_setting_has_a_row_and_every_row_a_setting() -> None:
    catalogue = Catalogue()
    keys = {key for name in catalogue.names() for key, _ in catalogue.places(name)}
    sections = {key.rpartition(".")[0] for key in keys}
    may_be_null = {"data.proposals", "model.postprocess.box_voting"}
    assert (keys - sections) | may_be_null == set(SOURCES)


@pytest.mark.parametrize("name", [FULL_SCALE, "rfcn/r101_voc.yaml", "rfcn/r101_voc_ohem_ms.yaml"])
def test_every_row_of_the_papers_configs_is_equal_or_explained(name: str) -> None:
    rows = list(compare(load_config(name)))
    assert len(rows) > 60
    assert [row.key for row in rows if row.verdict in ("", DIFFERS)] == []


def test_the_full_scale_config_holds_the_published_values() -> None:
    """Typed here anew from the sources, so that neither table nor schema can drift alone."""
    values = dict(leaves(load_config(FULL_SCALE).model_dump()))
    published = {
        "model.backbone.depth": 101,
        "model.backbone.frozen_stages": 2,
        "model.roi_head.k": 7,
        "model.roi_head.reduction": 1024,
        "model.roi_head.box_sets": "background_foreground",
        "model.roi_loss.type": "ohem",
        "model.roi_loss.keep": 128,
        "model.proposer.train_proposals": 300,
        "model.proposer.candidates": 6000,
        "model.proposer.anchors.scales": (8, 16, 32),
        "model.box_std": (0.1, 0.1, 0.2, 0.2),
        "model.postprocess.nms_threshold": 0.3,
        "model.postprocess.score_threshold": 1e-3,
        "data.train": "voc_2007_trainval+voc_2012_trainval",
        "data.val": "voc_2007_test",
        "data.train_short_sides": (600,),
        "data.max_long_side": 1000,
        "data.flip": True,
        "data.use_difficult": False,
        "train.lr": 1e-3,
        "train.iterations": 30_000,
        "train.lr_steps": (20_000,),
        "train.batch_size": 8,
        "train.momentum": 0.9,
        "train.weight_decay": 5e-4,
        "train.bias_lr_factor": 2,
    }
    assert {key: values[key] for key in published} == published
    assert len(values["data.classes"]) == 20


def test_the_config_of_coco_holds_the_published_values() -> None:
    """Table 6 is of the sets of 2014; the metric is another than VOC's, and a table of its own."""
    config = load_config("paper/table6/rfcn.yaml")
    values = dict(leaves(config.model_dump()))
    published = {
        "model.roi_head.k": 7,
        "model.roi_loss.type": "ohem",
        "model.roi_loss.keep": 128,
        "model.proposer.anchors.scales": (4, 8, 16, 32),  # with 3 ratios: 12 anchors
        "model.proposer.anchors.ratios": (0.5, 1, 2),
        "model.proposer.train_proposals": 300,
        "model.postprocess.max_detections": 100,
        "data.format": "coco",
        "data.train": "train2014",
        "data.val": "val2014",
        "data.classes": None,
        "data.train_short_sides": (600,),
        "train.lr": 1e-3,
        "train.iterations": 120_000,
        "train.lr_steps": (90_000,),
        "train.batch_size": 8,
    }
    assert {key: values[key] for key in published} == published
    odd = [row.key for row in compare(config) if row.verdict in ("", DIFFERS)]
    assert [key for key in odd if not key.startswith("eval.")] == []


def verdicts(*overrides: str) -> dict[str, str]:
    return {row.key: row.verdict for row in compare(config_from_mapping({}, overrides))}


def test_verdicts() -> None:
    said = verdicts()
    assert said["train.momentum"] == "equal: all"
    assert said["train.lr"] == f"equal: {COLUMNS[0]}, {COLUMNS[1]}"
    assert said["model.proposer.min_size"] == f"equal: {COLUMNS[2]}"
    assert "torchvision" in said["model.pixel_mean"]


def test_a_note_explains_our_default_only() -> None:
    assert verdicts("train.max_gradient_norm=10")["train.max_gradient_norm"] == DIFFERS
    assert verdicts("model.pixel_mean=[1, 2, 3]")["model.pixel_mean"] == DIFFERS
    assert verdicts("train.lr=0.25")["train.lr"] == DIFFERS
    assert verdicts("data.workers=9")["data.workers"] != DIFFERS, "nobody published one"


def test_equal_to_one_of_several_published_values() -> None:
    assert verdicts("model.roi_head.k=3")["model.roi_head.k"] == f"equal: {COLUMNS[0]}"
    assert verdicts("model.roi_head.k=5")["model.roi_head.k"] == DIFFERS
