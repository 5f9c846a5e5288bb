"""`rfcn check-data`: options, exit codes, files, and being stopped on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rfcn.cli.main import main
from rfcn.datasets.shapes import make_shapes

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean generated set of 4 + 2 pictures."""
    folder = tmp_path_factory.mktemp("check") / "shapes"
    make_shapes(folder, train=4, val=2)
    return folder


def test_a_folder_without_a_config(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check-data", "--data", str(shapes), "--sets", "train", "val", "--workers", "0"]
    skip = ["--set", "data.unknown_class=skip"]  # so few pictures do not show every class
    code = main([*words, *skip, "--json", str(tmp_path / "new" / "check.json")])
    told = json.loads((tmp_path / "new" / "check.json").read_text())
    assert code == 0
    assert told["counts"]["fault"] == 0
    assert [part["pictures"] for part in told["parts"]] == [4, 2]
    assert "6 pictures looked at: " in capsys.readouterr().out


def test_one_set_alone_and_strictly(shapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["check-data", "--data", str(shapes), "--workers", "0", "--sets"]
    assert main([*words, "train"]) == 0
    assert "4 pictures looked at" in capsys.readouterr().out
    assert main([*words, "train", "train"]) == 0  # a leak is a warning
    assert "pictures of val that are in train too: 4" in capsys.readouterr().out
    assert main([*words, "train", "train", "--strict"]) == 1


def test_a_fault_ends_with_3(
    shapes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["check-data", "-c", "demo.yaml", "--workers", "0", "--set", f"data.root={shapes}"]
    assert main([*words, "data.train=train", "data.val=absent"]) == 3
    assert "fault: val: cannot be read: 1 (training stops)" in capsys.readouterr().out


def test_wrong_options(fault, shapes: Path, tmp_path: Path) -> None:
    assert "name either a config" in fault("check-data", "--strict", code=2)
    assert "name either" in fault("check-data", "-c", "demo.yaml", "--data", shapes, code=2)
    assert "--sets TRAIN [VAL]" in fault("check-data", "--data", shapes, code=2)
    assert "go with --data" in fault("check-data", "-c", "demo.yaml", "--format", "voc", code=2)
    words = ("check-data", "--data", shapes, "--sets", "train")
    assert "is a folder" in fault(*words, "--json", tmp_path, code=2)
    assert "whole number" in fault(*words, "--workers", "-1", code=2)


def test_the_layout_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "annotations").mkdir()
    assert main(["check-data", "--data", str(tmp_path), "--sets", "val2017"]) == 3
    assert "instances_val2017.json" in capsys.readouterr().out


def test_l11_ctrl_c_leaves_the_report_of_what_was_seen(shapes: Path, tmp_path: Path) -> None:
    names = sorted(path.stem for path in (shapes / "JPEGImages").iterdir())
    many = tmp_path / "many"
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (many / part).mkdir(parents=True)
    for number in range(300):
        name = names[number % len(names)]
        for part, suffix in (("Annotations", "xml"), ("JPEGImages", "jpg")):
            (source,) = (shapes / part).glob(f"{name}.*")
            (many / part / f"{number}.{suffix}").hardlink_to(source)
    (many / "ImageSets/Main/train.txt").write_text("\n".join(map(str, range(300))))
    words = ["check-data", "--data", str(many), "--sets", "train", "--json", str(tmp_path / "j")]
    # The report of the first look is written by a marker file, so that nothing depends on time.
    program = (
        "import sys, rfcn.datasets.survey as s, rfcn.inspection.check as c\n"
        "def survey(*a, **k):\n"
        "    for n, look in enumerate(s.survey(*a, **k)):\n"
        "        yield look\n"
        "        if n == 40: print('looking', flush=True); __import__('time').sleep(0.5)\n"
        "c.survey = survey\n"
        "from rfcn.cli.main import main\n"
        "if __name__ == '__main__': sys.exit(main(sys.argv[1:]))\n"
    )
    script = tmp_path / "run.py"
    script.write_text(program)
    done = subprocess.Popen(
        [sys.executable, str(script), *words, "--workers", "2"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout is not None
    assert done.stdout.readline() == "looking\n"
    os.killpg(done.pid, signal.SIGINT)  # as a terminal does: to the workers, too
    began = time.monotonic()
    said, faults = done.communicate(timeout=120)
    assert done.returncode == 130, said + faults
    assert time.monotonic() - began < 60
    assert "Stopped after 4" in said
    assert "Traceback" not in faults
    told = json.loads((tmp_path / "j").read_text())
    assert told["complete"] is False
    assert told["parts"][0]["looked_at"] < 300
