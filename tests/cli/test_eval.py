"""`rfcn eval`: the figures of training again, from the weights or from the saved detections."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from rfcn.cli.eval import _recall
from rfcn.cli.main import main
from rfcn.config import schema
from rfcn.engine.signals import StopRequest
from rfcn.errors import ConfigError


def metrics(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "eval" / "metrics.json").read_text())


@pytest.fixture(scope="module")
def evaluated(trained_run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("eval")
    assert main(["eval", "-w", str(trained_run.weights), "-o", str(output)]) == 0
    return output


def test_the_weights_give_exactly_the_figures_of_training(trained_run, evaluated: Path) -> None:
    assert metrics(evaluated)["pictures"] == 3
    assert metrics(evaluated) == metrics(trained_run.output)
    ours, theirs = (
        (folder / "eval" / "detections.json").read_bytes()
        for folder in (evaluated, trained_run.output)
    )
    assert ours == theirs


def test_it_leaves_files_and_pictures(evaluated: Path) -> None:
    names = {path.name for path in (evaluated / "eval").iterdir()}
    assert names >= {"metrics.json", "per_class.csv", "pr_curves.png", "detections.json"}
    assert names >= {"report.html", "analysis.json", "confusion.png", "errors.csv"}
    assert len(list((evaluated / "pictures" / "detections").iterdir())) == 2


def test_e8_saved_detections_give_the_same_table(
    trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shutil.copy(trained_run.output / "eval" / "detections.json", tmp_path)
    assert main(["eval", "-w", str(trained_run.weights), "--detections", str(file)]) == 0
    table = trained_run.said.partition(" class ")[2].partition("weights:")[0]
    assert table in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["detections.json"]


def test_e8_the_submission_scores_the_same(
    trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["eval", "-w", str(trained_run.weights), "--detections"]
    file = trained_run.output / "eval" / "detections.json"
    assert main([*words, str(file), "--submission", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    table = said.partition(" class ")[2]
    assert f"submission: 8 files in {tmp_path}\n" in said
    assert (tmp_path / "comp4_det_val_star.txt").is_file()
    assert main([*words, str(tmp_path)]) == 0
    assert table.partition("weights:")[0] in capsys.readouterr().out


def test_the_folder_is_named_after_the_run(
    trained_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = trained_run.weights / "model.safetensors"
    assert main(["eval", "-w", str(file), "--set", "data.val=train", "runtime.pictures=1"]) == 0
    assert metrics(tmp_path / "runs" / "eval_run")["pictures"] == 6
    assert len(list((tmp_path / "runs/eval_run/pictures/detections").iterdir())) == 1


def test_what_a_test_does_can_be_overridden(trained_run, tmp_path: Path) -> None:
    words = ["eval", "-w", str(trained_run.weights), "-o", str(tmp_path), "--set"]
    assert main([*words, "model.postprocess.max_detections=1", "runtime.pictures=0"]) == 0
    file = tmp_path / "eval" / "detections.json"
    found = json.loads(file.read_text())["pictures"]
    assert [len(one["scores"]) for one in found] == [1, 1, 1]


def test_the_report_can_be_left_out(trained_run, evaluated: Path, tmp_path: Path) -> None:
    output = shutil.copytree(evaluated, tmp_path / "again")
    words = ["eval", "-w", str(trained_run.weights), "-o", str(output), "--no-report"]
    assert main(words) == 0
    assert not (output / "eval" / "report.html").exists()  # it would be of other detections
    assert not (output / "eval" / "analysis.json").exists()


def test_saved_detections_are_analysed_where_a_folder_is_named(
    trained_run, evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = evaluated / "eval" / "detections.json"
    words = ["eval", "-w", str(trained_run.weights), "--detections", str(file)]
    assert main([*words, "-o", str(tmp_path), "--proposals", "5"]) == 0
    said = capsys.readouterr().out
    assert f"report:   {tmp_path / 'eval' / 'report.html'}" in said
    assert "mAP@0.5" in said
    content, before = (
        json.loads((folder / "eval" / "analysis.json").read_text())
        for folder in (tmp_path, evaluated)
    )
    assert content.pop("proposals")["counts"] == [1, 2, 5]
    assert before.pop("proposals") is None
    assert content == before


def test_training_ends_with_the_same_analysis(trained_run, evaluated: Path) -> None:
    ours, theirs = (
        (folder / "eval" / "analysis.json").read_bytes()
        for folder in (evaluated, trained_run.output)
    )
    assert ours == theirs
    assert "95 % interval" in trained_run.said


def test_a_map_below_the_floor_ends_with_1(trained_run, capsys: pytest.CaptureFixture[str]) -> None:
    file = trained_run.output / "eval" / "detections.json"
    words = ["eval", "-w", str(trained_run.weights), "--detections", str(file)]
    assert main([*words, "--set", "eval.floor=1"]) == 1
    assert capsys.readouterr().err.endswith("below eval.floor, 1.\n")
    assert main([*words, "--set", "eval.floor=0"]) == 0


# ------------------------------------------------------------------------------------------ faults


# L11
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_l11_stopped_on_the_way(
    trained_run,
    tmp_path: Path,
    number: signal.Signals,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    check = StopRequest.check

    def after_the_first_picture(self: StopRequest) -> None:
        os.kill(os.getpid(), number)
        check(self)

    monkeypatch.setattr(StopRequest, "check", after_the_first_picture)
    words = ["eval", "-w", str(trained_run.weights), "-o", str(tmp_path)]
    assert main(words) == code
    partial = tmp_path / "eval" / "detections_partial.json"
    said = capsys.readouterr().out
    assert f"1 of 3 pictures are in {partial}" in said
    assert "give the command again" in said
    assert len(json.loads(partial.read_text())["pictures"]) == 1
    assert [file.name for file in partial.parent.iterdir()] == [partial.name]

    monkeypatch.undo()
    assert main([*words, "--no-report"]) == 0
    assert not partial.exists()


# L6
def test_l6_no_weights_are_ever_made_up(fault, tmp_path: Path, trained_run) -> None:
    assert "-w/--weights" in fault("eval", "-o", tmp_path / "out", code=2)
    message = fault("eval", "-w", tmp_path / "absent", code=4)
    assert f"{tmp_path / 'absent'} holds no weights but is missing. Check the path." in message
    message = fault("eval", "-w", trained_run.output, code=4)
    assert "is a folder without model.safetensors" in message
    assert "RUN/weights/best" in message


def test_a_checkpoint_is_not_weights(fault, trained_run) -> None:
    (checkpoint,) = (trained_run.output / "checkpoints").glob("*.pt")
    message = fault("eval", "-w", checkpoint, code=4)
    assert "not safetensors" in message
    assert "checkpoints are for --resume" in message


def test_w6_other_classes_on_the_command_line(fault, trained_run, tmp_path: Path) -> None:
    words = ("eval", "-w", trained_run.weights, "-o", tmp_path / "out", "--set")
    message = fault(*words, "data.classes=[card_high, zebra]", code=4)
    assert "2  zebra      card_low  <- differs" in message
    assert not (tmp_path / "out").exists()


def test_w6_other_classes_in_the_data(fault, trained_run, tmp_path: Path) -> None:
    data = shutil.copytree(trained_run.data, tmp_path / "data")
    for file in (data / "Annotations").iterdir():
        file.write_text(file.read_text().replace("<name>", "<name>my_"))
    message = fault("eval", "-w", trained_run.weights, "--set", f"data.root={data}", code=3)
    assert "not among the 8 known ones: 'my_" in message
    assert str(data / "Annotations") in message


def test_a_detector_of_one_stage_has_no_proposals() -> None:
    config = schema.Config(model=schema.ClassRPN(type="class_rpn"))
    with pytest.raises(ConfigError, match="of one stage has no proposals to measure"):
        _recall(None, config, None, 10, None)  # type: ignore[arg-type]


def test_broken_detections(fault, trained_run, tmp_path: Path) -> None:
    file = tmp_path / "detections.json"
    words = ("eval", "-w", trained_run.weights, "--detections", file)
    assert f"{file}: cannot be read" in fault(*words, code=3)
    file.write_text("{}")
    assert f"{file}: is not a file of detections" in fault(*words, code=3)


# S2
@pytest.mark.parametrize("tool", ["pycocotools", "faster-coco-eval"])
def test_s2_a_tool_of_coco_that_is_missing(
    fault, trained_run, monkeypatch: pytest.MonkeyPatch, tool: str
) -> None:
    package = tool.replace("-", "_")
    # what another test has imported of it would be found without its package
    for name in [package, *(one for one in sys.modules if one.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    file = trained_run.output / "eval" / "detections.json"
    words = ("eval", "-w", trained_run.weights, "--detections", file, "--set", "eval.metric=coco")
    message = fault(*words, f"eval.coco_tool={tool}", code=6)
    assert f"eval.coco_tool: {tool} is not installed" in message


# L3
def test_l3_no_such_device(fault, trained_run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    message = fault("eval", "-w", trained_run.weights, "--device", "cuda:1", code=6)
    assert message.startswith("device cuda:1: this machine has 1 CUDA devices")
