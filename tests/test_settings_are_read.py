"""C18: every setting of a config is read by the program, not only checked and stored."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import rfcn
from rfcn.build import build_detector, with_proposals
from rfcn.cli.main import main
from rfcn.config.loader import config_from_mapping
from rfcn.config.schema import Config
from rfcn.config.section import Section
from rfcn.errors import DataError
from rfcn.stages import plan_stages

PACKAGE = str(Path(rfcn.__file__).parent)
CONFIG = f"{PACKAGE}/config/"

Leaf = tuple[type[Section], str]

SMALL = {"type": "resnet", "depth": 18, "weights": "none"}
PARTS: tuple[dict[str, Any], ...] = (
    {"backbone": SMALL},
    {
        "backbone": {"type": "vgg16", "weights": "none"},
        "roi_head": {"type": "fc_frcnn"},
        "postprocess": {"suppression": {"type": "soft_nms"}, "box_voting": {}},
    },
    {"backbone": SMALL, "roi_head": {"type": "naive_frcnn"}, "roi_loss": {"type": "sampled"}},
    {"backbone": SMALL, "roi_head": {"type": "c4_frcnn"}},
    {"backbone": SMALL, "roi_head": {"type": "light_head"}},
    {"backbone": SMALL, "roi_head": {"type": "deformable_rfcn"}},
    {"backbone": SMALL, "type": "class_rpn"},
)
"""Models that together have every part."""
GIVEN = {
    "model": {"proposer": {"type": "given"}},
    "data": {
        "proposals": {
            "train": ["absent.npz"],
            "val": ["absent.npz"],
            "corners": "xywh",
            "pixels": "half_open",
        }
    },
}


@contextmanager
def recorded() -> Iterator[set[Leaf]]:
    """The settings that code of the package outside of rfcn/config reads while this lasts."""
    read: set[Leaf] = set()
    plain = Section.__getattribute__

    def note(self: Section, name: str) -> Any:
        if name in type(self).model_fields and _reader().startswith(PACKAGE):
            read.add((type(self), name))
        return plain(self, name)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Section, "__getattribute__", note)
        yield read


def _reader() -> str:
    """The file of the code that asks; where rfcn/config asks, whoever called that: pydantic, when
    a config is checked."""
    frame = sys._getframe(2)
    while frame.f_code.co_filename.startswith(CONFIG) and frame.f_back is not None:
        frame = frame.f_back
    return frame.f_code.co_filename


def leaves(section: type[Section]) -> Iterator[Leaf]:
    """Every setting below a section, in each member of each union; `type` names the member."""
    for name, field in section.model_fields.items():
        below = [part for part in _members(field.annotation) if issubclass(part, Section)]
        for part in below:
            yield from leaves(part)
        if not below and name != "type":
            yield section, name


def _members(annotation: Any) -> Iterator[type]:
    if isinstance(annotation, type):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _members(inner)


def test_the_recorder_tells_reading_from_checking() -> None:
    with recorded() as read:
        config = config_from_mapping({"train": {"lr": 0.5}})
        config.model_dump()
        assert config.train.lr == 0.5, "a test is not the program"
    assert read == set()
    assert (type(config.train), "lr") in set(leaves(Config))
    with recorded() as read:
        plan_stages(config.train)
    assert (type(config.train), "lr") in read


# C18
def test_c18_every_setting_is_read(trained_run, tmp_path: Path) -> None:
    words = ["train.iterations=2", "train.lr_steps=[]", "train.warmup_iterations=0"]
    output = tmp_path / "run"
    with recorded() as read:
        train = ["train", "-c", str(trained_run.config), "-o", str(output), "--set", *words]
        assert main([*train, "runtime.pictures=1"]) == 0
        measure = ["eval", "-w", str(output / "weights" / "last"), "-o", str(tmp_path), "--set"]
        assert main([*measure, "eval.metric=coco", "model.test_time.flip=true", "--no-report"]) == 0
        for part in PARTS:
            with torch.device("meta"):  # what is built matters, not its values
                build_detector(config_from_mapping({"model": part}).model, ["one"])
        given = config_from_mapping(GIVEN)
        for kind in ("train", "val"):
            with pytest.raises(DataError, match=r"absent\.npz"):
                with_proposals(given, [], kind)
        plan_stages(config_from_mapping({"train": {"scheme": {"type": "alternating"}}}).train)
    unread = {f"{section.__name__}.{name}" for section, name in set(leaves(Config)) - read}
    assert unread == set()
