"""The page beside the weights."""

from pathlib import Path

import yaml

from rfcn.config import schema
from rfcn.inference.detector import Detector
from rfcn.inference.model_card import write_model_card


def card(tmp_path: Path, **changes: object) -> str:
    facts = {
        "name": "foxes",
        "class_names": ("cat", "red_fox|grey"),
        "config": schema.Config(),
        "metrics": {"step": 400, "mAP@0.5": 0.81234, "mAP@0.5/11pt": 0.8, "AP@0.5/cat": 0.7},
        "parameters": 1234567,
    }
    write_model_card(tmp_path / "README.md", **{**facts, **changes})
    return (tmp_path / "README.md").read_text(encoding="utf-8")


def test_it_says_what_one_has_to_know(tmp_path: Path) -> None:
    text = card(tmp_path)
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front)["pipeline_tag"] == "object-detection"
    for words in (
        "# foxes",
        "| kind | two_stage, head rfcn |",
        "| backbone | resnet-101 |",
        "| parameters | 1,234,567 |",
        "| training steps | 400 |",
        "| mAP@0.5 | 0.8123 |",
        "| mAP@0.5/11pt | 0.8000 |",
        "| label | class | AP@0.5 |\n|---|---|---|\n| 1 | cat | 0.7000 |\n"
        "| 2 | red\\_fox\\|grey | - |\n",
        "600 (at most 1000) pixels",
        "[123.675, 116.28, 103.53]",
        'from_pretrained("foxes")',
    ):
        assert words in body
    assert "\n\n\n" not in text
    assert "| AP@0.5/cat |" not in text
    assert "{{" not in text


def test_without_figures_it_says_so(tmp_path: Path) -> None:
    text = card(tmp_path, metrics={})
    assert "Not measured" in text
    assert "| label | class |\n|---|---|\n| 1 | cat |\n" in text
    assert "training steps" not in text


def test_other_detectors(tmp_path: Path) -> None:
    one_stage = schema.Config(model=schema.ClassRPN(type="class_rpn"))
    assert "| kind | class_rpn |" in card(tmp_path, config=one_stage)
    as_stored = schema.Config(data=schema.Data(exif="ignore"))
    assert "not for this detector" in card(tmp_path, config=as_stored)


def test_a_saved_detector_is_whole(tiny: Detector, photo, tmp_path: Path) -> None:
    tiny.metrics = {"step": 3, "mAP@0.5": 0.5}
    folder = tiny.save_pretrained(tmp_path / "deep" / "foxes")
    back = Detector.from_pretrained(folder)
    assert (back.class_names, back.config, back.metrics) == (
        *(tiny.class_names, tiny.config, tiny.metrics),
    )
    assert back.predict(photo).boxes.equal(tiny.predict(photo).boxes)
    text = (folder / "README.md").read_text()
    assert "# foxes" in text
    assert "| mAP@0.5 | 0.5000 |" in text
