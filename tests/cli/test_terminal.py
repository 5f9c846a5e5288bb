"""What a terminal is sent. Row L9 of the table of faults, within this process."""

import contextlib
import io

import pytest

from rfcn.cli.doctor import Finding
from rfcn.cli.main import COMMANDS, main

FINDINGS = [Finding("torch", "2.15"), Finding("g++", "missing", "note", "apt-get install g++")]


class Terminal(io.StringIO):
    """A stdout that somebody watches."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of many colours, and a doctor who looks at nothing."""
    monkeypatch.setattr("rfcn.cli.doctor.examine", lambda: iter(FINDINGS))
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return Terminal()


def run(terminal: Terminal, columns: int, *commands: str) -> str:
    """What is shown of the commands, none of which fails, in a terminal of so many columns."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(terminal):
        patch.setenv("COLUMNS", str(columns))
        assert [main(command.split()) for command in commands] == [0] * len(commands)
    return terminal.getvalue()


TABLES = ("doctor", "show-config --published")


def test_colours_where_they_can_be_seen(watched: Terminal) -> None:
    shown = run(watched, 120, *TABLES)
    assert "\x1b[33m" in shown
    assert "apt-get install g++" in shown


# L9
def test_l9_no_color_means_plain_text(watched: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shown = run(watched, 120, *TABLES)
    assert "\x1b" not in shown
    assert "apt-get install g++" in shown


# L9
@pytest.mark.parametrize("columns", [1, 7, 20])
def test_l9_a_narrow_terminal(watched: Terminal, columns: int) -> None:
    shown = run(watched, columns, *TABLES, *(f"{name} --help" for name in COMMANDS))
    assert "usable: every command can run" in shown
    assert "--threshold" in shown
