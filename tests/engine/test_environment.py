import json
import os
import platform
import shutil
import socket
from pathlib import Path

import pytest
import torch

from rfcn.engine.environment import create_run_folder, describe_environment
from rfcn.engine.lock import only_run_in
from rfcn.errors import ConfigError, MachineError


def create(output, **words):
    return create_run_folder(output, config_text="a: 1\n", environment={"python": "3"}, **words)


def finished_run(output):
    create(output)
    (output / "checkpoints").mkdir()
    (output / "checkpoints" / "step_00000001.pt").write_bytes(b"x")
    (output / "metrics.jsonl").write_text("{}\n")
    return output


def test_the_environment_is_json_and_tells_what_matters():
    found = json.loads(json.dumps(describe_environment(device="cpu", ops_backend="cpp")))
    assert found["packages"]["torch"] == torch.__version__.partition("+")[0]
    assert found["python"] == platform.python_version()
    assert (found["device"], found["cuda"], found["ops_backend"]) == ("cpu", None, "cpp")
    assert found["torch_threads"] == torch.get_num_threads()


def test_the_environment_does_not_name_the_machine_or_its_user():
    text = json.dumps(describe_environment(device="cpu", ops_backend="cpp"))
    assert f'"{socket.gethostname()}"' not in text
    assert os.path.expanduser("~") not in text


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_folder_is_taken(tmp_path, exists):
    output = tmp_path / "runs" / "first"
    if exists:
        output.mkdir(parents=True)
    assert create(output) == output
    assert (output / "config.yaml").read_text() == "a: 1\n"
    assert json.loads((output / "environment.json").read_text()) == {"python": "3"}


def test_a_lock_alone_does_not_make_a_folder_occupied(tmp_path):
    (tmp_path / ".lock").touch()
    create(tmp_path)


def test_l4_an_occupied_folder_is_refused_with_the_two_ways_on(tmp_path):
    output = finished_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"not empty.*--resume.*--overwrite"):
        create(output)
    assert (output / "metrics.jsonl").exists()


def test_l4_resume_keeps_what_is_there(tmp_path):
    output = finished_run(tmp_path / "run")
    create_run_folder(output, config_text="b: 2\n", environment={"python": "4"}, resume=True)
    assert (output / "config.yaml").read_text() == "a: 1\n"
    assert json.loads((output / "environment.json").read_text()) == {"python": "4"}
    assert (output / "metrics.jsonl").exists()
    assert (output / "checkpoints" / "step_00000001.pt").exists()


@pytest.mark.parametrize("exists", [False, True])
def test_l4_resume_without_a_checkpoint_is_an_error(tmp_path, exists):
    output = tmp_path / "run"
    if exists:
        create(output)
    with pytest.raises(ConfigError, match="holds no checkpoint"):
        create(output, resume=True)
    assert output.exists() == exists


@pytest.mark.parametrize("word", ["resume", "overwrite"])
def test_w15_a_folder_in_use_is_left_alone(tmp_path, word):
    output = finished_run(tmp_path / "run")
    with only_run_in(output), pytest.raises(ConfigError, match="in use by another run"):
        create(output, **{word: True})
    assert (output / "checkpoints" / "step_00000001.pt").exists()


def test_l4_overwrite_empties_a_run_and_leaves_other_files(tmp_path):
    output = finished_run(tmp_path / "run")
    (output / "notes.txt").write_text("mine")
    create(output, overwrite=True)
    expected = [".lock", "config.yaml", "environment.json", "notes.txt"]
    assert sorted(os.listdir(output)) == expected


def test_l4_overwrite_never_touches_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "precious").write_text("mine")
    with pytest.raises(ConfigError, match="was not written by a run"):
        create(tmp_path, overwrite=True)
    assert (tmp_path / "weights" / "precious").exists()


def test_l4_overwrite_follows_no_link_out_of_the_folder(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "precious").write_text("mine")
    output = finished_run(tmp_path / "run")
    (output / "weights").symlink_to(tmp_path / "elsewhere")
    create(output, overwrite=True)
    assert not (output / "weights").exists()
    assert (tmp_path / "elsewhere" / "precious").exists()


def test_l4_both_words_contradict_each_other(tmp_path):
    with pytest.raises(ConfigError, match="give one"):
        create(tmp_path, resume=True, overwrite=True)


def test_l5_a_file_is_no_folder(tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(ConfigError, match="is a file"):
        create(tmp_path / "run")


def test_l5_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises((MachineError, ConfigError), match="cannot be made"):
        create(tmp_path / "file" / "run")


def test_w13_unfinished_files_are_removed_at_the_start(tmp_path):
    output = finished_run(tmp_path / "run")
    (output / "config.yaml.tmp").write_text("half")
    create(output, resume=True)
    assert not (output / "config.yaml.tmp").exists()


def test_w13_a_folder_whose_run_was_killed_before_it_wrote_anything_is_taken(tmp_path):
    for name in (".lock", "config.yaml.tmp"):
        (tmp_path / name).touch()
    create_run_folder(tmp_path, config_text="a: 1\n", environment={})
    assert (tmp_path / "config.yaml").read_text() == "a: 1\n"
    assert not (tmp_path / "config.yaml.tmp").exists()


def test_w13_an_overwriting_that_was_killed_can_be_done_again(tmp_path, monkeypatch):
    create_run_folder(tmp_path, config_text="a: 1\n", environment={})
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "a.tmp").touch()

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            create_run_folder(tmp_path, config_text="a: 2\n", environment={}, overwrite=True)
    create_run_folder(tmp_path, config_text="a: 3\n", environment={}, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".lock") == [
        "config.yaml",
        "environment.json",
    ]
