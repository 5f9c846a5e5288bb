"""What was found, written down."""

import json
from pathlib import Path

import torch

from rfcn.inference.writers import as_json, name_outputs, write_json
from rfcn.structures import Detections

FOUND = Detections(
    boxes=torch.tensor([[1.0, 2.0, 30.125, 40.5], [0.0, 0.0, 5.0, 5.0]]),
    scores=torch.tensor([0.9, 0.25]),
    labels=torch.tensor([2, 1]),
)


def test_a_record_says_everything_in_words_and_pixels() -> None:
    record = as_json(FOUND, ("cat", "dog"), file=Path("in/a.jpg"), size=(48, 64))
    assert record == {
        "file": "in/a.jpg",
        "width": 64,
        "height": 48,
        "detections": [
            {"label": "dog", "label_id": 2, "score": 0.9, "box": [1.0, 2.0, 30.12, 40.5]},
            {"label": "cat", "label_id": 1, "score": 0.25, "box": [0.0, 0.0, 5.0, 5.0]},
        ],
    }


def test_the_file_is_json_with_a_record_a_line(tmp_path: Path) -> None:
    records = [as_json(FOUND, ("Käse", "猫"), file=Path(f"{n}.jpg"), size=(4, 4)) for n in "ab"]
    for count in (0, 1, 2):
        write_json(tmp_path / "x.json", records[:count])
        text = (tmp_path / "x.json").read_text(encoding="utf-8")
        assert json.loads(text) == records[:count]
        assert text.count("\n") == 2 + max(count, 1)
    assert "猫" in text


def test_copies_keep_the_stem_and_become_jpeg() -> None:
    named = name_outputs([Path("in/a.png"), Path("in/b.tar.jpg")], Path("out"))
    assert named == [Path("out/a.jpg"), Path("out/b.tar.jpg")]


def test_l8_equal_stems_get_numbers() -> None:
    pictures = [Path("in/a.jpg"), Path("in/a.png"), Path("else/a.jpg"), Path("in/a_2.jpg")]
    named = name_outputs(pictures, Path("out"))
    assert named[:3] == [Path("out/a.jpg"), Path("out/a_2.jpg"), Path("out/a_3.jpg")]
    assert len(set(named)) == 4


def test_l8_no_copy_leads_to_an_input(tmp_path: Path) -> None:
    pictures = [tmp_path / "a.png", tmp_path / "a.jpg", tmp_path / "sub" / ".." / "a_2.jpg"]
    (tmp_path / "sub").mkdir()
    named = name_outputs(pictures, tmp_path / "sub" / "..")
    resolved = [path.resolve() for path in named]
    assert len(set(resolved)) == 3
    assert not set(resolved) & {path.resolve() for path in pictures}
