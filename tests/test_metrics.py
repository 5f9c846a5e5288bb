"""Which metric scores which data, and that the rest of the program knows only what they share."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from rfcn.assessment import rescore, write_submission
from rfcn.build import (
    build_coco_evaluator,
    build_dataset,
    build_evaluator,
    build_naming,
    build_voc_evaluator,
)
from rfcn.cli.main import main
from rfcn.config import schema
from rfcn.datasets.proposals import WithProposals
from rfcn.datasets.sample import Dataset, coco_annotations
from rfcn.evaluation.coco import COCOEvaluator, COCOTruth
from rfcn.evaluation.detections_file import save_detections
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.structures import Detections, Target


@dataclass
class Annotated:
    """Two pictures as COCO's files have them, the higher id first; label 1 has the higher id."""

    class_names: tuple[str, ...] = ("dog", "cat")
    category_ids: tuple[int, ...] = (18, 17)
    ids: list[str] = field(default_factory=lambda: ["90", "8"])
    original_ids: tuple[int, ...] = (90, 8)
    sizes: list[tuple[int, int]] = field(default_factory=lambda: [(100, 100)] * 2)
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return 2

    def annotations(self, index: int) -> COCOTruth:
        boxes = np.array([[0.5, 0, 20, 20], [40, 40, 40, 40]])
        labels, areas = np.array([1, 1]), np.array([100.0, 2000])
        return COCOTruth(boxes, labels, areas, np.array([False, index == 0]))

    def target(self, index: int) -> Target:
        boxes = torch.tensor([[0.5, 0, 20.5, 20], [40, 40, 80, 80]])
        return Target(boxes, torch.tensor([1, 1]), torch.tensor([False, index == 0]))


def found(*boxes: tuple[float, ...], score: float = 0.5) -> Detections:
    count = len(boxes)
    return Detections(
        torch.tensor(boxes), torch.full((count,), score), torch.ones(count, dtype=torch.int64)
    )


SMALL, LARGE, WRONG = (0.5, 0, 20.5, 20), (40, 40, 80, 80), (60, 0, 90, 30)


@pytest.mark.parametrize(
    ("metric", "kind"), [("auto", COCOEvaluator), ("coco", COCOEvaluator), ("voc", VOCEvaluator)]
)
def test_coco_data_are_scored_by_either_metric(metric: str, kind: type) -> None:
    evaluator = build_evaluator(schema.Eval(metric=metric), Annotated())
    assert isinstance(evaluator, kind)
    evaluator.update(["90", "8"], [found(SMALL, LARGE), found(SMALL, LARGE)])
    result = evaluator.compute()
    assert result.headline.value == pytest.approx(1)
    assert (result.classes[0].truths, result.classes[0].difficult) == (3, 1)


def test_the_areas_of_the_file_make_the_sizes() -> None:
    """By its box the larger object has 1600 square pixels, by the file 2000: both are medium; the
    smaller has 400 and 100."""
    evaluator = build_evaluator(schema.Eval(), Annotated())
    result = evaluator.compute()
    assert result.figures()["AP_medium"] == result.figures()["AP_small"] == 0
    assert result.figures()["AP_large"] is None


def test_ties_are_broken_by_the_rising_id() -> None:
    """Picture 8 comes before 90, though the file has it later."""
    evaluator = build_evaluator(schema.Eval(), Annotated())
    evaluator.update(["90", "8"], [found(WRONG), found(SMALL)])
    assert evaluator.compute().figures()["AP50"] == pytest.approx(34 / 101)
    evaluator.reset()
    evaluator.update(["90", "8"], [found(SMALL), found(WRONG)])
    assert evaluator.compute().figures()["AP50"] == pytest.approx(34 / 101 / 2)


def test_a_wrapped_data_set_is_still_cocos() -> None:
    dataset = Annotated()
    wrapped = WithProposals(dataset, [np.zeros((0, 4), np.float32)] * 2)
    assert coco_annotations(dataset) is coco_annotations(wrapped) is dataset
    assert isinstance(build_evaluator(schema.Eval(), wrapped), COCOEvaluator)


def test_voc_data_have_the_voc_metric_unless_told(trained_run) -> None:
    dataset = build_dataset(schema.Data(root=str(trained_run.data), train="train"), "val")
    assert coco_annotations(dataset) is None
    assert isinstance(build_evaluator(schema.Eval(), dataset), VOCEvaluator)
    evaluator = build_evaluator(schema.Eval(metric="coco", max_detections=(1, 2, 3)), dataset)
    for number, name in enumerate(dataset.ids):
        true = dataset.target(number)
        evaluator.update(
            [name], [Detections(true.boxes, torch.ones(len(true.labels)), true.labels)]
        )
    assert evaluator.compute().headline.value == pytest.approx(1, abs=1e-12)
    assert "AR3" in evaluator.compute().summary()


def test_the_commands_speak_of_ap(
    trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "-w", str(trained_run.weights), "-o", str(tmp_path)]
    coco = ["--set", "eval.metric=coco", "runtime.pictures=0"]
    assert main([*words, *coco, "eval.floor=1"]) == 1
    said = capsys.readouterr()
    assert " AP50" in said.out
    assert "AR1 " in said.out
    assert said.err.startswith("error: AP is 0.")
    metrics = json.loads((tmp_path / "eval" / "metrics.json").read_text())
    assert metrics["metric"] == "coco"
    assert {"AP", "AP50", "AR100", "AR_small"} < set(metrics["mean"])
    assert (tmp_path / "eval" / "pr_curves.png").is_file()
    file = str(tmp_path / "eval" / "detections.json")
    tools = {}
    for tool in ("rfcn", "pycocotools", "faster-coco-eval"):
        assert main([*words, "--detections", file, *coco, f"eval.coco_tool={tool}"]) == 0
        tools[tool] = capsys.readouterr().out
    assert tools["rfcn"] == tools["pycocotools"] == tools["faster-coco-eval"]


# ----------------------------------------------------------------------------------- submissions


def test_cocos_submission_has_the_ids_of_the_file(tmp_path: Path) -> None:
    dataset, config = Annotated(), schema.Config(data=schema.Data(format="coco", val="mini[:50%]"))
    saved = tmp_path / "detections.json"
    detections = {"90": found(SMALL), "8": found(LARGE, WRONG)}
    save_detections(detections, dataset.class_names, saved)
    (path,) = write_submission(dataset, config, saved, tmp_path / "new")
    assert path.name == "detections_mini_50_rfcn_results.json"
    assert json.loads(path.read_text())[0] == {
        "image_id": 90,
        "category_id": 18,
        "bbox": [0.5, 0.0, 20.0, 20.0],
        "score": 0.5,
    }
    figures = [rescore(dataset, config, one).figures() for one in (saved, path)]
    assert figures[0] == figures[1]
    assert 0 < figures[0]["AP"] < 1


def test_ids_that_two_sets_share_are_told_apart() -> None:
    dataset = Annotated(ids=["a/1", "b/1"], original_ids=(1, 1))
    assert dict(build_naming(dataset).pictures) == {"a/1": "a/1", "b/1": "b/1"}


@pytest.mark.parametrize(
    ("sets", "name"), [("voc_2007_test", "test"), ("trainval + test", "trainval_test")]
)
def test_vocs_submission_is_named_after_the_set(
    trained_run, tmp_path: Path, sets: str, name: str
) -> None:
    data = schema.Data(root=str(trained_run.data), train="train")
    names = build_dataset(data, "train").class_names
    dataset = build_dataset(data, "val", class_names=names)
    saved = trained_run.output / "eval" / "detections.json"
    config = schema.Config(data=schema.Data(val=sets))
    files = write_submission(dataset, config, saved, tmp_path)
    assert [file.name for file in files] == [
        f"comp4_det_{name}_{one}.txt" for one in dataset.class_names
    ]


# ---------------------------------------------------------------------------------- the real data

REAL = {
    "VOC 2007 trainval": ("voc", "voc/VOCdevkit", "voc_2007_trainval"),
    "VOC 2007 test": ("voc", "voc/VOCdevkit", "voc_2007_test"),
    "VOC 2012": ("voc", "voc/VOCdevkit", "voc_2012_trainval"),
    "BCCD": ("voc", "bccd/BCCD", "trainval+test"),
    "COCO train": ("coco", "coco", "train2017_mini"),
    "COCO val": ("coco", "coco", "val2017_mini"),
}


@pytest.fixture(scope="module", params=REAL)
def real(request: pytest.FixtureRequest, data_folder: Path) -> Dataset:
    kind, folder, sets = REAL[request.param]
    data = schema.Data(format=kind, root=str(data_folder / folder), train=sets)
    return build_dataset(data, sets)


@pytest.mark.parametrize("devkit", [False, True])
def test_e2_truth_as_predictions_is_one_on_real_data_by_vocs_metric(real, devkit) -> None:
    evaluator = build_voc_evaluator(schema.Eval(devkit=devkit), real)
    targets = map(real.target, range(len(real)))
    evaluator.update(
        real.ids,
        [Detections(one.boxes, torch.ones(len(one.labels)), one.labels) for one in targets],
    )
    result = evaluator.compute()
    assert result.classes_with_truth >= 3
    for name, value in result.figures().items():
        assert value == pytest.approx(1, abs=1e-12), name


def test_e2_truth_as_predictions_is_one_on_real_data_by_cocos_metric(real) -> None:
    evaluator = build_coco_evaluator(schema.Eval(max_detections=(1, 10, 100)), real)
    source = coco_annotations(real)
    for number, name in enumerate(real.ids):
        one = real.target(number)
        boxes, labels = one.boxes, one.labels
        if source is not None:  # as written, not cut to the picture
            written = source.annotations(number)
            ends = written.boxes[:, :2] + written.boxes[:, 2:]
            corners = np.concatenate([written.boxes[:, :2], ends], axis=1)
            boxes, labels = torch.from_numpy(corners), torch.from_numpy(written.labels)
        evaluator.update([name], [Detections(boxes, torch.ones(len(labels)), labels)])
    for name, value in evaluator.compute().figures().items():
        if name not in ("AR1", "AR10"):
            assert value == pytest.approx(1, abs=1e-12), name
