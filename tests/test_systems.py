"""Every system that the paper compares runs from a config: real networks, tiny pictures, CPU.

Configs that make the same model (they differ in data, schedule or counts of proposals) share one
run; `SYSTEMS` says which config is which row of the paper's systems.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from rfcn.build import build_detector, build_optimizer, build_tester
from rfcn.config import schema
from rfcn.config.loader import config_from_mapping, load_config
from rfcn.engine.weights import load_into, load_weights, save_weights
from rfcn.models.transfer import SYNONYMS, transfer
from rfcn.parts.postprocess import build_postprocess
from rfcn.structures import ImageBatch, Pyramid, Target

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
COMPLETE = [
    file.relative_to(CONFIGS).as_posix()
    for file in sorted(CONFIGS.rglob("*.yaml"))
    if file.parent.name not in ("_base_", "scales")
]
CLASSES = [f"class{number}" for number in range(1, 21)]


def tiny_pictures(name: str) -> schema.Config:
    """A config for pictures of 96 pixels: small anchors, few RoIs, random weights that all learn.

    The networks stay as they are.
    """
    config = load_config(CONFIGS / name).model_dump()
    config["train"].update(start_from=None, lr=1e-4)
    config["runtime"].update(device="cpu")
    model = config["model"]
    model["backbone"].update({"weights": "none"} if "weights" in model["backbone"] else {})
    test = model.get("test_time", {"short_sides": ()})
    test["short_sides"] = test["short_sides"][:2]  # several are as good as five
    model["postprocess"].update(max_detections=50)
    proposer = model["proposer"]
    if "anchors" in proposer:
        proposer["anchors"]["scales"] = (1, 2, 4)
    for key, most in (("train_proposals", 20), ("test_proposals", 10), ("candidates", 50)):
        if key in proposer:
            proposer[key] = most
    return config_from_mapping(config)


def same_model(config: schema.Config) -> str:
    """Equal for configs that build the same detector, train it and test it in the same way."""
    return config.model.model_dump_json()


def distinct() -> dict[str, list[str]]:
    """The first config of each detector -> one for each way to test it, itself the first."""
    groups: dict[str, dict[str, str]] = {}
    for name in COMPLETE:
        config = tiny_pictures(name)
        trained = config.model.model_dump_json(exclude={"test_time", "postprocess"})
        groups.setdefault(trained, {}).setdefault(same_model(config), name)
    return {next(iter(names.values())): list(names.values()) for names in groups.values()}


GROUPS = distinct()


def a_batch() -> tuple[ImageBatch, list[Target]]:
    """One picture of noise with two objects, and proposals around them."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8, generator=generator)
    boxes = torch.tensor([[8.0, 8, 56, 72], [40, 30, 88, 90]])
    target = Target(boxes, torch.tensor([3, 20]), torch.zeros(2, dtype=torch.bool))
    shifts = torch.rand(15, 2, 4, generator=generator) * 12 - 6
    proposals = (boxes + shifts).flatten(0, 1)
    return ImageBatch(pixels, [(96, 96)], [(96, 96)], ["noise"], [proposals]), [target]


@pytest.mark.parametrize("name", GROUPS)
def test_it_trains_is_saved_loaded_and_detects(name: str, tmp_path: Path) -> None:
    config = tiny_pictures(name)
    torch.manual_seed(0)
    detector = build_detector(config.model, CLASSES)
    batch, targets = a_batch()
    before = {name: one.clone() for name, one in new_layers(detector).items()}
    optimizer = build_optimizer(config.train, detector.train())
    for _ in range(2):
        optimizer.zero_grad()
        losses = detector(batch, targets)
        assert all(one.isfinite() for one in losses.values())
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    still = [name for name, one in new_layers(detector).items() if torch.equal(one, before[name])]
    assert still == [], "layers that learn nothing"
    metadata = {"classes": CLASSES, "config": config.model_dump(mode="json"), "metrics": {}}
    save_weights(tmp_path, detector.state_dict(), metadata)
    found = detect(detector, config, batch)
    del detector, optimizer
    state, facts = load_weights(tmp_path)
    stored = config_from_mapping(facts["config"])
    assert stored == config
    loaded = build_detector(stored.model, facts["classes"], pretrained=False)
    load_into(loaded, state)
    again = detect(loaded, stored, batch)
    assert torch.equal(found.boxes, again.boxes)
    assert torch.equal(found.scores, again.scores)
    assert set(again.labels.tolist()) <= set(range(1, 21))
    for other in map(tiny_pictures, GROUPS[name][1:]):  # tested in another way
        assert isinstance(other.model, schema.Model)
        assert isinstance(stored.model, schema.Model)
        loaded.postprocess = build_postprocess(other.model.postprocess, other.model.box_std)
        found = detect(loaded, other, batch)
        assert len(found) > 0
        assert found.scores.isfinite().all()
        same_looks = other.model.test_time == stored.model.test_time
        assert torch.equal(found.scores, again.scores[: len(found)]) == same_looks


def new_layers(detector: torch.nn.Module) -> dict[str, Tensor]:
    """The weights of the layers that a detector adds to its backbone."""
    parts = ("proposer.", "roi_head.")
    return {
        name: one
        for name, one in detector.state_dict().items()
        if name.startswith(parts) and name.endswith(".weight") and ".body." not in name
    }


def detect(detector: Any, config: schema.Config, batch: ImageBatch) -> Any:
    """What it finds, as a test finds it, where there are several sizes at 96 and 64 pixels."""
    several = bool(getattr(getattr(config.model, "test_time", None), "short_sides", ()))
    small = replace(batch, tensor=batch.tensor[:, :, ::3, ::3].repeat(1, 1, 2, 2), sizes=[(64, 64)])
    levels = (batch, small) if several else (batch,)
    with torch.inference_mode():
        [found] = build_tester(detector, config.model).eval()(Pyramid(levels))
    return found


# ----------------------------------------------------------------------------- the list of systems

Fact = Callable[[schema.Config], bool]


def head(kind: str, **settings: object) -> Fact:
    """A two-stage detector with such a head."""
    return lambda config: holds(config, {"roi_head": {"type": kind, **settings}})


def holds(config: schema.Config, wanted: dict[str, Any]) -> bool:
    """Whether the model of a config has these settings."""

    def inside(part: Any, whole: Any) -> bool:
        if isinstance(part, dict):
            return isinstance(whole, dict) and all(
                key in whole and inside(value, whole[key]) for key, value in part.items()
            )
        return json.dumps(part) == json.dumps(whole)

    return inside(wanted, config.model.model_dump(mode="json"))


def model(**wanted: object) -> Fact:
    """A model with these settings."""
    return lambda config: holds(config, wanted)


def alternating(*, stages: int, rpn: tuple[int, int], head: tuple[int, int]) -> Fact:
    """RPN and head in turn; (pictures before the rate drops, all pictures) of both as published."""

    def fact(config: schema.Config) -> bool:
        found = [
            tuple(steps * one.schedule_batch_size for steps in (*one.lr_steps, one.iterations))
            for one in config.train.stages()
        ]
        return found == [(rpn, head)[number % 2] for number in range(stages)]

    return fact


SYSTEMS: dict[str, dict[str, Fact]] = {
    "1 RoI max pooling, VGG-16": {
        "systems/vgg16_frcnn.yaml": lambda config: (
            config.model.backbone.type == "vgg16" and head("fc_frcnn", pooler="max")(config)
        )
    },
    "3 RoI Align and its position-sensitive counterpart": {
        "systems/naive_frcnn_align.yaml": head("naive_frcnn", pooler="align"),
        "systems/c4_frcnn_align.yaml": head("c4_frcnn", pooler="align"),
        "systems/rfcn_psroi_align.yaml": head("rfcn", pooler="psroi_align"),
    },
    "4 R-FCN, ResNet-101": {
        "rfcn/r101_voc_ohem.yaml": model(
            backbone={"type": "resnet", "depth": 101}, roi_head={"type": "rfcn", "k": 7}
        )
    },
    "5 k = 1, 3, 7": {
        "paper/table2/rfcn_1x1.yaml": head("rfcn", k=1),
        "paper/table2/rfcn_3x3.yaml": head("rfcn", k=3),
        "paper/table2/rfcn_7x7.yaml": head("rfcn", k=7),
    },
    "6 naive Faster R-CNN, à trous": {
        "paper/table2/naive_frcnn_1x1.yaml": head("naive_frcnn", pool=1, features="conv5"),
        "paper/table2/naive_frcnn_7x7.yaml": head("naive_frcnn", pool=7, features="conv5"),
    },
    "7 Faster R-CNN, conv5 per RoI": {"paper/table3/frcnn.yaml": head("c4_frcnn", pool=14)},
    "8 class-specific RPN": {
        "paper/table2/class_rpn.yaml": model(
            type="class_rpn", proposer={"type": "class_rpn", "features": "conv5"}
        )
    },
    "9 Faster R-CNN +++: global context, boxes again, five scales, box voting": {
        name: lambda config: (
            head("c4_frcnn", global_context=True)(config)
            and model(
                test_time={
                    "short_sides": [200, 400, 600, 800, 1000],
                    "assignment": "adjacent",
                    "box_iterations": 1,
                },
                postprocess={"box_voting": {"threshold": 0.5, "scoring": "keep"}},
            )(config)
        )
        for name in (
            "systems/frcnn_plus_plus_plus.yaml",
            "paper/table4/frcnn_plus_plus_plus.yaml",
            "paper/table5/frcnn_plus_plus_plus.yaml",
        )
    },
    "9 the same of R-FCN, with soft-NMS and the mirror": {
        "systems/rfcn_plus_plus_plus.yaml": model(
            roi_head={"type": "rfcn"},
            test_time={"box_iterations": 1, "flip": True},
            postprocess={"suppression": {"type": "soft_nms", "method": "linear"}},
        )
    },
    "12 box maps: one set, two, one a class": {
        "systems/rfcn_agnostic_boxes.yaml": head("rfcn", box_sets="agnostic"),
        "rfcn/r101_voc_ohem.yaml": head("rfcn", box_sets="background_foreground"),
        "systems/rfcn_class_boxes.yaml": head("rfcn", box_sets="class_aware"),
    },
    "13 cross entropy and smooth L1, lambda = 1, foreground from IoU 0.5": {
        "paper/table3/rfcn.yaml": model(
            box_loss_weight=1.0, roi_loss={"type": "sampled", "foreground_iou": 0.5}
        )
    },
    "14 OHEM: off, 300, 2000": {
        "paper/table3/rfcn.yaml": model(roi_loss={"type": "sampled", "rois": 128}),
        "paper/table3/rfcn_ohem_300.yaml": model(
            roi_loss={"type": "ohem", "keep": 128}, proposer={"train_proposals": 300}
        ),
        "paper/table3/rfcn_ohem_2000.yaml": model(
            roi_loss={"type": "ohem", "keep": 128}, proposer={"train_proposals": 2000}
        ),
        "paper/table3/frcnn_ohem_2000.yaml": model(
            roi_loss={"type": "ohem", "keep": 128, "passes": 2},
            proposer={"train_proposals": 2000},
        ),
    },
    "15 multi-scale training and test": {
        "systems/rfcn_multi_scale.yaml": lambda config: (
            config.data.train_short_sides == (400, 500, 600, 700, 800)
            and model(test_time={"short_sides": [200, 400, 600, 800, 1000]})(config)
        ),
        "paper/table6/rfcn_ms_trainval_ms_test.yaml": lambda config: (
            config.data.train_short_sides == (400, 500, 600, 700, 800)
            and model(test_time={"short_sides": [200, 400, 600, 800, 1000]})(config)
        ),
        "paper/table4/rfcn_ms.yaml": lambda config: (
            config.data.train_short_sides == (400, 500, 600, 700, 800)
        ),
    },
    "16 COCO, then VOC": {
        "rfcn/r101_coco_ohem_ms.yaml": lambda config: config.data.format == "coco",
        "systems/frcnn_plus_plus_plus_coco.yaml": lambda config: config.data.format == "coco",
        "paper/table4/rfcn_ms_coco.yaml": lambda config: config.train.start_from is not None,
        "paper/table4/frcnn_plus_plus_plus.yaml": (
            lambda config: config.train.start_from is not None
        ),
        "paper/table5/rfcn_ms_coco.yaml": lambda config: "voc_2007_test" in config.data.train,
    },
    "17 depth": {
        f"paper/depth/r{depth}.yaml": model(backbone={"depth": depth}) for depth in (50, 101, 152)
    },
    "17 depth, beyond the paper": {
        f"rfcn/r{depth}_voc_ohem.yaml": model(backbone={"depth": depth}) for depth in (18, 34)
    },
    "18 proposals: RPN, Selective Search, Edge Boxes": {
        "paper/proposals/rpn.yaml": model(proposer={"type": "rpn"}),
        "paper/proposals/selective_search.yaml": model(proposer={"type": "given"}),
        "paper/proposals/edge_boxes.yaml": lambda config: (
            config.data.proposals is not None and config.data.proposals.corners == "xywh"
        ),
        "systems/fast_rcnn.yaml": model(proposer={"type": "given"}, roi_head={"type": "c4_frcnn"}),
    },
    "20 approximate joint training": {
        "rfcn/r101_voc_ohem.yaml": lambda config: config.train.scheme == schema.Joint()
    },
    "20 alternating training, 4 and 5 steps": {
        "systems/rfcn_alternating_4step.yaml": alternating(
            stages=4, rpn=(60_000, 80_000), head=(160_000, 240_000)
        ),
        "systems/rfcn_alternating_5step.yaml": alternating(
            stages=5, rpn=(360_000, 480_000), head=(720_000, 960_000)
        ),
    },
    "a trous: conv4, conv5 of stride 32, conv5 of stride 16": {
        "paper/a_trous/conv4.yaml": head("rfcn", features="conv4"),
        "paper/a_trous/conv5_stride_32.yaml": head("rfcn", features="conv5_stride_32"),
        "paper/a_trous/conv5_a_trous.yaml": head("rfcn", features="conv5"),
    },
    "descendants": {
        "systems/light_head.yaml": head("light_head", channels=10, hidden=2048),
        "systems/deformable_rfcn.yaml": head("deformable_rfcn", features="conv5_deformable"),
    },
}
"""Each system that the paper names or compares with, by its number in the project's list, and the
configs that are it."""


@pytest.mark.parametrize(
    ("system", "name"), [(system, name) for system, names in SYSTEMS.items() for name in names]
)
def test_every_system_is_a_config(system: str, name: str) -> None:
    assert SYSTEMS[system][name](load_config(CONFIGS / name)), f"{name} is not: {system}"


def test_every_config_of_the_paper_is_some_system() -> None:
    """Or the same as one but for data: then it inherits from it."""
    named = {name for names in SYSTEMS.values() for name in names}
    models = {same_model(tiny_pictures(name)) for name in named}
    for name in COMPLETE:
        if name.startswith(("paper/", "systems/")):
            assert same_model(tiny_pictures(name)) in models, name


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("rfcn/r101_coco_ohem_ms.yaml", "paper/table4/rfcn_ms_coco.yaml"),
        ("rfcn/r101_coco_ohem_ms.yaml", "paper/table5/rfcn_ms_coco.yaml"),
        ("systems/frcnn_plus_plus_plus_coco.yaml", "paper/table4/frcnn_plus_plus_plus.yaml"),
        ("systems/frcnn_plus_plus_plus_coco.yaml", "paper/table5/frcnn_plus_plus_plus.yaml"),
    ],
)
def test_voc_goes_on_from_all_that_coco_trained(first: str, then: str) -> None:
    """The weights lie where the first command leaves them, and no tensor starts anew."""
    old, new = (load_config(CONFIGS / name) for name in (first, then))
    assert new.train.start_from == f"runs/{Path(first).stem}/weights/best"
    names = list(new.data.classes or ())
    coco = [*(f"thing{number}" for number in range(60)), *(SYNONYMS.get(one, one) for one in names)]
    with torch.device("meta"):
        theirs = build_detector(old.model, coco, pretrained=False)
        ours = build_detector(new.model, names, pretrained=False)
    report = transfer(ours, names, theirs, theirs.state_dict(), coco)
    assert report.fresh == []
    assert len(report.shared) == 20
    assert any("score" in name for name in report.remapped)


def test_no_row_of_the_list_is_left_out() -> None:
    """Rows 2, 10 and 11 are what an operator and R-FCN itself do; 19 and from 21 on are tools."""
    rows = {int(system.split()[0]) for system in SYSTEMS if system[0].isdigit()}
    assert {1, *range(3, 10), *range(12, 19), 20} <= rows
