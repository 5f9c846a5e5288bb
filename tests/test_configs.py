"""The configs that come with the project."""

import json
from pathlib import Path

import pytest

from rfcn.config.catalogue import config_schema
from rfcn.config.loader import dump_config, load_config

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
FILES = sorted(CONFIGS.rglob("*.yaml"))
NAMES = [file.relative_to(CONFIGS).as_posix() for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_loads_and_dumps_back_equal(file: Path, tmp_path: Path) -> None:
    config = load_config(file)
    (tmp_path / "dump.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "dump.yaml") == config


@pytest.mark.parametrize("file", FILES, ids=NAMES)
def test_it_says_what_it_is_and_where_its_schema_is(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert lines[0].startswith("# ")
    marks = [line for line in lines if line.startswith("# yaml-language-server: $schema=")]
    assert len(marks) == 1
    assert (file.parent / marks[0].partition("=")[2]).resolve() == CONFIGS / "schema.json"


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("_base_")])
def test_it_is_a_difference_of_a_few_lines(name: str) -> None:
    lines = (CONFIGS / name).read_text().splitlines()
    assert len([line for line in lines if line.strip() and not line.startswith("#")]) <= 40


def test_the_schema_for_editors_is_current() -> None:
    written = json.loads((CONFIGS / "schema.json").read_text())
    assert written == config_schema(), "run: rfcn show-config --schema > configs/schema.json"


@pytest.mark.parametrize(
    ("name", "depth", "loss", "k", "scales"),
    [
        ("r50_voc_ohem", 50, "ohem", 7, 1),
        ("r101_voc", 101, "sampled", 7, 1),
        ("r101_voc_ohem", 101, "ohem", 7, 1),
        ("r101_voc_ohem_ms", 101, "ohem", 7, 5),
        ("r101_voc_k3", 101, "sampled", 3, 1),
        ("r152_voc_ohem", 152, "ohem", 7, 1),
    ],
)
def test_the_papers_experiments(name: str, depth: int, loss: str, k: int, scales: int) -> None:
    config = load_config(CONFIGS / "rfcn" / f"{name}.yaml")
    assert config.model.backbone.type == "resnet"
    assert config.model.backbone.depth == depth
    assert config.model.roi_loss.type == loss
    assert config.model.roi_head.k == k
    assert len(config.data.train_short_sides) == scales
    assert config.data.classes is not None
    assert len(config.data.classes) == 20
