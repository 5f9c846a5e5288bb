"""The command-line shell: parsing, ending, streams. Rows L and S of the table of faults."""

import ast
import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from rfcn.cli import main as shell
from rfcn.cli.environment import INSTALL_PAIR
from rfcn.cli.main import COMMANDS, PIPE_CLOSED, STOPPED, Command, main, run_command
from rfcn.errors import DataError

ROOT = Path(__file__).resolve().parents[2]
SHELL = (
    *("rfcn/cli/__init__.py", "rfcn/cli/main.py", "rfcn/cli/environment.py"),
    *(f"tools/{file.name}" for file in sorted((ROOT / "tools").glob("*.py"))),
)
"""What runs before the versions of Python and torch are looked at."""


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A command named `probe` whose `run` a test may replace."""
    module = ModuleType("rfcn.cli.probe")
    module.add_arguments = lambda parser: parser.add_argument("--score")  # type: ignore[attr-defined]
    module.run = lambda args: 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rfcn.cli.probe", module)
    monkeypatch.setitem(COMMANDS, "probe", Command("probe it", ("rfcn probe",), needs_torch=False))
    return module


def imported_nothing(name: str, package: str | None = None) -> ModuleType:
    raise AssertionError(f"{name} is imported before the versions are looked at")


def raising(error: BaseException) -> object:
    def run(args: object) -> int:
        raise error

    return run


# L1
def test_l1_no_arguments_show_help_with_three_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    shown = capsys.readouterr().err
    examples = shown.partition("examples:")[2].strip().splitlines()
    assert len(examples) == 3
    assert all(line.split()[:2] == ["rfcn", line.split()[1]] for line in examples)
    assert all(name in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "usage: rfcn " + name in shown
    assert COMMANDS[name].examples[0] in shown
    assert "--debug" in shown


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_parses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"rfcn.cli.{name.replace('-', '_')}")
    seen: list[object] = []
    monkeypatch.setattr(module, "run", lambda args: seen.append(args) or 0)
    for check in ("check_torch", "check_torchvision"):
        monkeypatch.setattr(shell, check, lambda: None)
    for example in COMMANDS[name].examples:
        assert main(example.split()[1:]) == 0
    assert len(seen) == len(COMMANDS[name].examples)


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys; from rfcn.cli.main import main; assert main(['--help']) == 0;"
        "assert main(['--version']) == 0;"
        "print([m for m in ('torch', 'torchvision', 'pydantic', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


# L1
def test_l1_a_command_that_needs_arguments_shows_its_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for check in ("check_torch", "check_torchvision"):
        monkeypatch.setattr(shell, check, lambda: None)
    assert main(["train"]) == 2
    assert "usage: rfcn train" in capsys.readouterr().err


# L2
@pytest.mark.parametrize(
    ("words", "near"),
    [
        (["tran"], "Did you mean 'rfcn train'?"),
        (["zzz"], "Commands: train, eval"),
        (["show-config", "--publishd"], "Did you mean --published?"),
        (["show-config", "--conifg=x"], "Did you mean --config?"),
        (["show-config", "--publ"], "Did you mean --published?"),
        (["show-config", "extra"], "unrecognized arguments: extra."),
        (["--vresion"], "Did you mean --version?"),
        (["show-config", "--set"], "expected at least one argument"),
    ],
)
def test_l2_unknown_words_name_the_nearest(
    words: list[str], near: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: ")
    assert near in message
    assert message.count("\n") == 1, "one paragraph"


def test_faults_of_the_user_end_in_one_paragraph(
    command: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    command.run = raising(DataError("no pictures in x"))  # type: ignore[attr-defined]
    assert run_command("probe", []) == 3
    assert capsys.readouterr().err == "error: no pictures in x\n"


def test_debug_shows_the_traceback(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    command.run = raising(DataError("no pictures in x"))  # type: ignore[attr-defined]
    assert run_command("probe", ["--debug"]) == 3
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert shown.endswith("error: no pictures in x\n")


def test_faults_of_ours_keep_their_traceback(command: ModuleType) -> None:
    command.run = raising(ZeroDivisionError())  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        run_command("probe", [])


def test_arguments_and_exit_code_pass_through(command: ModuleType) -> None:
    command.run = lambda args: int(args.score)  # type: ignore[attr-defined]
    assert main(["probe", "--score", "7"]) == 7


# L11
def test_l11_interrupted(command: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    command.run = raising(KeyboardInterrupt())  # type: ignore[attr-defined]
    assert run_command("probe", []) == STOPPED == 130
    assert "Traceback" not in capsys.readouterr().err


# S2
def test_s2_a_missing_module_names_the_package(
    command: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    command.run = raising(ModuleNotFoundError("No module named 'cv2'", name="cv2"))  # type: ignore[attr-defined]
    assert run_command("probe", []) == 6
    assert "pip install opencv-python-headless" in capsys.readouterr().err
    command.run = raising(ModuleNotFoundError("no", name="rfcn.absent"))  # type: ignore[attr-defined]
    with pytest.raises(ModuleNotFoundError):
        run_command("probe", [])


# S1
def test_s1_a_broken_torchvision_ends_in_one_paragraph(
    command: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.import_module

    def broken(name: str, package: str | None = None) -> ModuleType:
        if name == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", broken)
    monkeypatch.setitem(COMMANDS, "probe", Command("probe it", ("rfcn probe",)))
    assert run_command("probe", []) == 6
    message = capsys.readouterr().err
    assert "operator torchvision::nms does not exist" in message
    assert INSTALL_PAIR in message
    assert message.count("\n") == 1


# L12
def test_l12_an_old_python_gets_one_line_before_anything_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib, "import_module", imported_nothing)
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    assert main(["train", "-c", "x"]) == 6
    said = capsys.readouterr().err
    assert said.startswith("error: Python 3.9 is too old: 3.11 or newer")
    assert said.count("\n") == 1


# L12
@pytest.mark.parametrize("name", ["rfcn/__init__.py", "rfcn/errors.py", *SHELL])
def test_l12_what_says_so_is_read_by_an_old_python(name: str) -> None:
    ast.parse((ROOT / name).read_text(encoding="utf-8"), feature_version=(3, 8))


# L12
def test_l12_an_old_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rfcn.cli.environment.version", lambda package: "2.3.1+cpu")
    monkeypatch.setattr(importlib, "import_module", imported_nothing)
    assert main(["train", "-c", "x"]) == 6
    said = capsys.readouterr().err
    assert said.startswith("error: torch 2.3.1+cpu is too old: 2.11 or newer")
    assert said.count("\n") == 1


# ------------------------------------------------------------------------- in a process of its own


PLAIN = {
    "LC_ALL": "C",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONIOENCODING": "",
    "COLUMNS": "20",
    "FORCE_COLOR": "",
}
"""The variables of a narrow terminal of ASCII."""


def run_tool(
    words: list[str], *, shell_tail: str = "", cwd: Path = ROOT, **variables: str
) -> subprocess.CompletedProcess[str]:
    line = " ".join([sys.executable, str(ROOT / "tools" / "show_config.py"), *words, shell_tail])
    return subprocess.run(
        ["bash", "-c", f'{line}; echo "code ${{PIPESTATUS[0]}}" >&2'],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, **variables},
        check=False,
    )


# L9
def test_l9_the_reader_went_away() -> None:
    done = run_tool(["--schema"], shell_tail="| true")
    assert done.stderr.strip() == f"code {PIPE_CLOSED}"


# L9
def test_l9_stdout_is_closed() -> None:
    assert run_tool([], shell_tail=">&-").stderr.strip() == "code 0"


# L9, S7, C8: the file is UTF-8, whatever the terminal is
def test_l9_s7_a_narrow_ascii_terminal_gets_ascii_and_no_escape_codes(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("data: {classes: [café, İstanbul]}", encoding="utf-8")
    done = run_tool(["--published", "-c", str(file)], **PLAIN)
    assert done.stderr.strip() == "code 0"
    assert done.stdout.isascii()
    assert "\x1b" not in done.stdout
    assert "caf?, ?stanbul" in done.stdout


# L10
def test_l10_from_another_folder(tmp_path: Path) -> None:
    done = run_tool(["-c", "rfcn/r101_voc.yaml"], cwd=tmp_path)
    assert done.stderr.strip() == "code 0"
    assert "type: sampled" in done.stdout


# S2
def test_s2_without_opencv_the_rest_works(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cv2'] = None\nfrom rfcn.cli.main import main\n"
        "print(main(['show-config']), main(['train', '-c', 'demo.yaml']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 6"
    remedy = "Type: pip install opencv-python-headless"
    assert done.stderr == f"error: the Python module 'cv2' is missing. {remedy}\n"
    assert list(tmp_path.iterdir()) == []


# L11
def test_l11_a_real_interrupt_leaves_no_traceback() -> None:
    code = (
        "import time, sys\nfrom rfcn.cli import main as m, show_config\n"
        "def wait(args):\n print('ready', flush=True)\n time.sleep(60)\n"
        "show_config.run = wait\nsys.exit(m.main(['show-config']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell starts its background jobs, these tests perhaps among them, deaf to SIGINT.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == STOPPED
    assert "Traceback" not in errors
