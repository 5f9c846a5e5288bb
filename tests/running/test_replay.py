"""A run that failed, and its step taken again."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from rfcn.build import build_dataset
from rfcn.config.loader import load_config
from rfcn.engine.bundle import read_bundle
from rfcn.errors import NumericalError, WeightsError
from rfcn.experiment import run_experiment
from rfcn.models.alternating import HeadTraining
from rfcn.running.replay import facts_of, replay
from rfcn.structures import ImageBatch, Target

SETTINGS = (
    *("train.iterations=6", "train.lr_steps=[]", "train.warmup_iterations=0"),
    *("train.lr=1e6", "train.max_gradient_norm=null", "data.flip=false"),
    *("runtime.pictures=0", "runtime.tensorboard=false"),
)


@pytest.fixture(scope="module")
def failed(trained_run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run whose rate is far too high: the folder of the step that failed, and what was said."""
    output = tmp_path_factory.mktemp("failed") / "run"
    with pytest.raises(NumericalError) as error:
        run_experiment(load_config(trained_run.config, SETTINGS), output)
    (place,) = (output / "failure").iterdir()
    return place, str(error.value)


# T3
def test_t3_a_run_whose_rate_is_far_too_high_leaves_its_step(failed) -> None:
    place, said = failed
    assert sorted(each.name for each in place.iterdir()) == [
        *("failure.json", "pictures.jpg", "step.pt")
    ]
    assert f"rfcn replay {place}" in said
    assert "train.lr" in said
    report = json.loads((place / "failure.json").read_text())
    assert report["losses_before"]
    for picture in report["pictures"]:
        assert Path(picture["file"]).stem == picture["id"].rpartition("/")[2]
        assert len(picture["boxes"]) == len(picture["labels"]) > 0
    with Image.open(place / "pictures.jpg") as sheet:
        assert min(sheet.size) > 100
    assert not list((place.parents[1] / "weights").glob("*")), "no weights of such a run"


def as_number(value: float | str) -> float:
    return float(value)


def test_the_step_taken_again_gives_the_same_numbers(failed) -> None:
    found = replay(failed[0])
    assert not found.is_good
    report = found.bundle.report
    assert found.found is not None
    now = [value.item() for value in found.found.losses.values()]
    then = [as_number(value) for value in report["losses"].values()]
    np.testing.assert_allclose(now, then, rtol=1e-5)
    np.testing.assert_allclose(
        found.found.gradient_norm, as_number(report["gradient_norm"]), rtol=1e-5
    )
    again = found.trace.told()
    assert again == report["first_not_finite"], "the trace of the run saw the same step"


def poisoned(failed, folder: Path, name: str) -> Path:
    """A copy of the bundle with one weight lost."""
    copy = shutil.copytree(failed[0], folder / "copy")
    state = torch.load(copy / "step.pt", weights_only=True)
    torch.manual_seed(0)
    for key, tensor in state["weights"].items():
        if tensor.is_floating_point() and not key.startswith("normalize"):
            state["weights"][key] = torch.rand_like(tensor) * 0.01
    state["weights"][name][0] = float("nan")
    torch.save(state, copy / "step.pt")
    return copy


# T1
@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("backbone.conv3.conv1.weight", "backbone.conv3.conv1"),
        ("proposer.head.deltas.bias", "proposer.head.deltas"),
        ("roi_head.score_maps.bias", "roi_head.score_maps"),
    ],
)
def test_t1_a_poisoned_weight_is_named_with_its_layer(failed, tmp_path, name, module) -> None:
    found = replay(poisoned(failed, tmp_path, name))
    assert list(found.lost_weights) == [name]
    assert found.trace.output is not None
    assert found.trace.output.module == module


def test_a_config_that_does_not_fit_the_weights_is_refused(failed) -> None:
    with pytest.raises(WeightsError, match="do not fit"):
        replay(failed[0], overrides=["model.roi_head.k=5"])


def test_boxes_that_cannot_be_drawn_are_left_out(trained_run, tmp_path: Path) -> None:
    config = load_config(trained_run.config)
    facts = facts_of(config, build_dataset(config.data, "train"))
    batch = ImageBatch(torch.zeros(1, 3, 40, 60, dtype=torch.uint8), [(40, 60)], [(40, 60)], ["a"])
    boxes = torch.tensor([[1.0, 2, float("nan"), 4], [5.0, 5, 5, 20], [3.0, 3, 30, 30]])
    target = Target(boxes, torch.tensor([1, 1, 2]), torch.zeros(3, dtype=torch.bool))
    assert facts.draw is not None
    facts.draw(tmp_path / "pictures.jpg", [(batch, [target])] * 2)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["pictures.jpg", "pictures_2.jpg"]


def test_the_weights_of_each_stage_of_a_run_are_replayed(trained_run, tmp_path: Path) -> None:
    """A head that learns on the proposals of an earlier RPN has that one in its bundle."""
    stages = [*SETTINGS, "train.scheme={type: alternating, stages: 4}"]
    config = load_config(trained_run.config, [*stages, "train.lr=0.001", "train.iterations=2"])
    fine = HeadTraining.forward

    def forward(self: HeadTraining, *words: Any) -> Any:
        return {name: value * float("inf") for name, value in fine(self, *words).items()}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HeadTraining, "forward", forward)
        with pytest.raises(NumericalError):
            run_experiment(config, tmp_path)
    (place,) = (tmp_path / "failure").iterdir()
    assert any(name.startswith("earlier.") for name in read_bundle(place).failed.weights)
    assert replay(place).is_good, "the fault was not in the numbers"
