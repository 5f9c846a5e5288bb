"""`rfcn train`: what it leaves, how it goes on, how it refuses. Rows L, W, V and I of faults."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rfcn.cli.main import main

SHORT = (
    *("train.iterations=2", "train.lr_steps=[]", "train.warmup_iterations=0"),
    *("runtime.pictures=0", "runtime.tensorboard=false"),
)


@pytest.fixture
def data(trained_run, tmp_path: Path) -> Path:
    """A copy of the data set, to be broken."""
    return shutil.copytree(trained_run.data, tmp_path / "data")


@pytest.fixture
def refused(trained_run, fault, tmp_path: Path) -> Callable[..., str]:
    """`rfcn train` with the tiny config and these overrides, which must fail."""

    def run(*overrides: str, code: int, words: tuple[str | Path, ...] = ()) -> str:
        output = () if "-o" in words else ("-o", tmp_path / "out")
        config = ("train", "-c", trained_run.config, *output, *words)
        return fault(*config, *(("--set", *overrides) if overrides else ()), code=code)

    return run


def first(data: Path, folder: str) -> Path:
    return sorted((data / folder).iterdir())[0]


def test_the_table_and_the_next_step_are_printed(trained_run) -> None:
    said = trained_run.said
    for name in ("card_high", "star", "AP@0.5", "mean", "training on 6 pictures, evaluating on 3"):
        assert name in said
    assert "step 40/40" in said
    best = trained_run.output / "weights" / "best"
    assert f"next:     rfcn infer --weights {best} --input your.jpg --output seen" in said


def test_the_folder_is_named_after_the_config(
    trained_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "-c", str(trained_run.config), "--set", *SHORT]) == 0
    assert (tmp_path / "runs" / "tiny" / "weights" / "last" / "model.safetensors").is_file()


def test_a_map_below_the_floor_ends_with_1(
    trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "-c", str(trained_run.config), "-o", str(tmp_path / "out"), "--set", *SHORT]
    assert main([*words, "eval.floor=0.99"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: mAP@0.5 is 0.")
    assert message.endswith("below eval.floor, 0.99.\n")


def test_w17_a_finished_run_shows_its_table_again(
    trained_run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = shutil.copytree(trained_run.output, tmp_path / "run")
    weights = (output / "weights/last/model.safetensors").read_bytes()
    assert main(["train", "-c", str(trained_run.config), "-o", str(output), "--resume"]) == 0
    said = capsys.readouterr().out
    assert f"{output}: already complete, 40 steps." in said
    table = trained_run.said.partition(" class ")[2].partition("weights:")[0]
    assert table in said
    assert (output / "weights/last/model.safetensors").read_bytes() == weights


# S2, T15
def test_s2_training_needs_neither_tensorboard_nor_the_tools_of_coco(
    trained_run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("tensorboard", "torch.utils.tensorboard", "pycocotools", "faster_coco_eval"):
        monkeypatch.setitem(sys.modules, name, None)
    words = ["train", "-c", str(trained_run.config), "-o", str(tmp_path / "out"), "--set"]
    assert main([*words, *SHORT, "runtime.tensorboard=true", "eval.metric=coco"]) == 0
    assert capsys.readouterr().out.count("TensorBoard is off") == 1
    assert not (tmp_path / "out" / "tensorboard").exists()


# ------------------------------------------------------------------------------- faults: the words


# C1
def test_c1_a_wrong_key_names_the_nearest(refused) -> None:
    message = refused("train.learnig_rate=1", code=2)
    assert "train.learnig_rate: unknown key." in message
    message = refused("train.iteration=1", code=2)
    assert "Did you mean 'train.iterations'?" in message


# L3
def test_l3_no_such_device(refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    message = refused(code=6, words=("--device", "cuda"))
    assert "device cuda: this machine has 0 CUDA devices" in message
    assert "--device cpu" in message
    assert not (tmp_path / "out").exists()
    assert "expected auto, cpu, cuda or cuda:N" in refused(code=2, words=("--device", "gpu"))


# L4
def test_l4_a_folder_in_use(refused, trained_run) -> None:
    before = (trained_run.output / "config.yaml").read_bytes()
    message = refused(code=2, words=("-o", trained_run.output))
    assert str(trained_run.output) in message
    assert "--resume" in message
    assert "--overwrite" in message
    assert (trained_run.output / "config.yaml").read_bytes() == before


# L4
def test_l4_overwrite_leaves_the_files_of_others_alone(refused, tmp_path: Path) -> None:
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "a.jpg").touch()
    message = refused(code=2, words=("-o", tmp_path / "holiday", "--overwrite"))
    assert "was not written by a run" in message
    assert (tmp_path / "holiday" / "a.jpg").exists()


# L5
def test_l5_a_file_for_a_folder(refused, trained_run) -> None:
    assert "is a file" in refused(code=2, words=("-o", trained_run.config))


def test_nothing_to_resume(refused) -> None:
    assert "holds no checkpoint" in refused(code=2, words=("--resume",))


# -------------------------------------------------------------------------------- faults: the data


def test_v1_no_data_folder(refused, tmp_path: Path) -> None:
    message = refused(f"data.root={tmp_path / 'absent'}", code=3)
    assert f"The folder {tmp_path / 'absent'} does not exist." in message
    assert "Set `data.root` to a folder with\n  Annotations/NAME.xml" in message
    assert not (tmp_path / "out").exists(), "nothing is made before the data is read"


def test_v1_no_such_set(refused) -> None:
    message = refused("data.train=trian", code=3)
    assert "ImageSets/Main/trian.txt" in message
    assert "train, val" in message


def test_v6_a_broken_annotation(refused, data: Path) -> None:
    file = first(data, "Annotations")
    file.write_text(file.read_text()[:-20])
    message = refused(f"data.root={data}", code=3)
    assert str(file) in message
    assert message.count("\n") == 1


def test_i2_a_truncated_picture(refused, data: Path) -> None:
    file = first(data, "JPEGImages")
    file.write_bytes(file.read_bytes()[:-2000])
    message = refused(f"data.root={data}", "data.workers=1", *SHORT, code=3)
    assert f"{file}: the picture is damaged" in message
    assert "Copy it anew" in message
    assert message.count("\n") == 1


def test_data_without_any_object(refused, data: Path) -> None:
    for file in (data / "Annotations").iterdir():
        file.write_text("<annotation/>")
    message = refused(f"data.root={data}", "data.classes=[a]", code=3)
    assert message == "data.train (train): no picture has an object to learn from.\n"


def test_v18_a_class_that_training_did_not_see(refused, data: Path) -> None:
    file = data / "Annotations" / f"{(data / 'ImageSets/Main/val.txt').read_text().split()[0]}.xml"
    text = file.read_text()
    start = text.index("<name>") + len("<name>")
    file.write_text(text[:start] + "zebra" + text[text.index("</name>") :])
    message = refused(f"data.root={data}", code=3)
    assert "'zebra' (1 objects" in message
    assert str(file) in message
    assert "unknown_class: skip" in message


# ---------------------------------------------------------------------------- faults: going on


def test_w6_resume_with_other_classes(refused, trained_run, tmp_path: Path) -> None:
    output = shutil.copytree(trained_run.output, tmp_path / "run")
    names = "card_low, card_high, cross, lamp_bottom, lamp_middle, lamp_top, ring, star"
    message = refused(f"data.classes=[{names}]", code=4, words=("-o", output, "--resume"))
    assert "trained for other classes, or for the same in another order" in message
    assert "1  card_low     card_high  <- differs" in message
    assert "Use the class list of the weights" in message


def test_w16_resume_with_another_config(refused, trained_run, tmp_path: Path) -> None:
    output = shutil.copytree(trained_run.output, tmp_path / "run")
    message = refused("train.lr=0.5", code=2, words=("-o", output, "--resume"))
    assert "train.lr: 0.02 -> 0.5" in message


def test_w2_every_checkpoint_is_damaged(refused, trained_run, tmp_path: Path) -> None:
    output = shutil.copytree(trained_run.output, tmp_path / "run")
    for file in (output / "checkpoints").glob("*.pt"):
        file.write_bytes(file.read_bytes()[:1000])
    message = refused(code=4, words=("-o", output, "--resume"))
    assert "none of the 1 checkpoints" in message
