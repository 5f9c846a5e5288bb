import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rfcn.engine.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_away_from_a_terminal_every_line_is_plain(capsys):
    console = Console(10)
    console.advance(1)
    console.progress("step 1/10 loss 0.5", "loss 0.5")
    console.say("saved")
    console.close()
    captured = capsys.readouterr()
    assert captured.out == "step 1/10 loss 0.5\nsaved\n"
    assert captured.err == ""


def test_on_a_terminal_a_bar_moves_and_lines_are_occasional(monkeypatch):
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    console = Console(10, done=4, unit="picture")
    console.progress("step 5/10 loss 0.5", "loss 0.500 eta 0:00:05")
    console.advance(10)
    console.say("saved")
    console.close()
    assert out.getvalue().strip() == "saved"
    assert "10/10" in err.getvalue()
    assert "picture/s" in err.getvalue() or "s/picture" in err.getvalue()
    assert "loss 0.500 eta 0:00:05" in err.getvalue()


def test_a_bar_without_an_end(monkeypatch):
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    console = Console(None, unit="picture")
    console.advance(7)
    console.close()
    assert "7picture" in err.getvalue()


def test_l9_a_terminal_without_the_letters_still_gets_the_line(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    Console(1).say("class aéroplane")
    assert stream.buffer.getvalue() == b"class a?roplane\n"


def test_l9_without_stdout_nothing_is_said(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    Console(1).say("hello")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_l9_a_reader_that_left_ends_the_talk_and_not_the_run():
    text = (
        "from rfcn.engine.console import Console\n"
        "import sys\n"
        "console = Console(1)\n"
        "for _ in range(3): console.say('hello')\n"
        "sys.stderr.write('alive')\n"
    )
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-c", text],
            cwd=Path(__file__).parents[2],
            stdout=full,
            stderr=subprocess.PIPE,
            env=os.environ | {"LANG": "C"},
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (0, b"alive")
