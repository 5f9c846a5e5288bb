"""`rfcn COMMAND ...`: one table of commands, one way to run them and to end.

Each command lives in a module of its own with `add_arguments(parser)` and `run(args) -> int`,
imported only when it is called, so that `rfcn --help` answers at once. This module and what it
imports also load on an old Python, which then gets a sentence instead of a syntax error.
"""

from __future__ import annotations

import argparse
import difflib
import errno
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn

from rfcn.cli.environment import (
    check_python,
    check_torch,
    check_torchvision,
    installed_version,
    missing_module,
)
from rfcn.errors import ConfigError, MachineError, RFCNError

STOPPED = 130
"""Exit code after Ctrl-C, as of shells (128 + SIGINT)."""
PIPE_CLOSED = 141
"""Exit code when nobody reads the output any more, as of shells (128 + SIGPIPE)."""


@dataclass(frozen=True)
class Command:
    """A command: what it does, examples of its use, and whether it computes with torch."""

    summary: str
    examples: tuple[str, ...]
    needs_torch: bool = True


COMMANDS = {
    "train": Command(
        "train a detector",
        (
            "rfcn train -c rfcn/r50_voc_ohem.yaml -o runs/r50",
            "rfcn train -c mine.yaml --set train.batch_size=2 data.workers=4",
        ),
    ),
    "eval": Command(
        "measure a trained detector",
        ("rfcn eval --weights runs/r50/weights/best",),
    ),
    "infer": Command(
        "detect objects in pictures, videos and cameras",
        (
            "rfcn infer --weights runs/r50/weights/best --input pictures/ -o runs/seen",
            "rfcn infer -w runs/r50/weights/best -i clip.mp4 --score 0.3 --save video csv",
        ),
    ),
    "explain": Command(
        "show the votes behind a detection, as a picture and as a page to click through",
        (
            "rfcn explain --weights runs/r50/weights/best photo.jpg",
            "rfcn explain -w runs/r50/weights/best photo.jpg --class person --detection 1",
        ),
    ),
    "replay": Command(
        "take a training step that failed again, and say where its numbers were lost",
        (
            "rfcn replay runs/r50/failure/step_00000312",
            "rfcn replay runs/r50/failure/step_00000312 --device cpu --layers 20",
        ),
    ),
    "check-data": Command(
        "find wrong data before training does",
        (
            "rfcn check-data -c rfcn/r50_voc_ohem.yaml --html check.html",
            "rfcn check-data --data data/mine --sets train val --json check.json",
        ),
    ),
    "demo": Command(
        "draw a small data set, train on it, measure and show: minutes on a CPU",
        ("rfcn demo",),
    ),
    "reproduce": Command(
        "run a table of the paper and set both figures side by side",
        (
            "rfcn reproduce position",
            "rfcn reproduce table2 --scale toy",
            "rfcn reproduce table3 --scale paper --data data/VOCdevkit",
        ),
    ),
    "fetch-data": Command(
        "fetch PASCAL VOC or COCO, check the archives and lay them out",
        ("rfcn fetch-data", "rfcn fetch-data voc2007 voc2012"),
        needs_torch=False,
    ),
    "make-shapes": Command(
        "draw the data set of the demo",
        ("rfcn make-shapes -o data/shapes",),
    ),
    "make-proposals": Command(
        "search a data set for boxes that may hold objects, to do without an RPN",
        ("rfcn make-proposals -c rfcn/r50_voc_ohem.yaml -o data/proposals",),
    ),
    "import-weights": Command(
        "turn weights of Caffe, torchvision and others into weights of this program",
        (
            "rfcn import-weights resnet101_rfcn_final.caffemodel -o imported/voc",
            "rfcn import-weights ResNet-50-model.caffemodel -o imported/r50",
        ),
    ),
    "doctor": Command(
        "say what this machine has and what it lacks",
        ("rfcn doctor",),
        needs_torch=False,
    ),
    "show-config": Command(
        "print a config with everything it inherits",
        (
            "rfcn show-config -c rfcn/r101_voc_ohem.yaml",
            "rfcn show-config --published",
        ),
        needs_torch=False,
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """The console script `rfcn`. Returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words:
        _top_parser().print_help(sys.stderr)
        return 2
    name, *rest = words
    if name.startswith("-"):
        return _guarded(lambda: _top_options(words), debug=False)
    return run_command(name, rest)


def run_command(name: str, argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; faults of the user end in one paragraph.

    Args:
        name: a key of `COMMANDS`.
        argv: its arguments; by default those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    return _guarded(lambda: _run(name, words), debug="--debug" in words)


def _run(name: str, words: list[str]) -> int:
    check_python()
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"Did you mean 'rfcn {near[0]}'?" if near else f"Commands: {', '.join(COMMANDS)}."
        raise ConfigError(f"unknown command '{name}'. {hint}")
    if COMMANDS[name].needs_torch and not {"-h", "--help"} & set(words):
        check_torch()
        check_torchvision()
    module = importlib.import_module(f"rfcn.cli.{name.replace('-', '_')}")
    parser = _Parser(f"rfcn {name}", COMMANDS[name].summary, COMMANDS[name].examples)
    module.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    if not words and parser.needs_arguments():
        parser.print_help(sys.stderr)
        return 2
    return int(module.run(parser.parse_args(words)))


# --------------------------------------------------------------------------------------- parsing


class _Parser(argparse.ArgumentParser):
    """argparse whose complaints are `ConfigError`s that name the nearest option."""

    def __init__(self, prog: str, summary: str, examples: Sequence[str]) -> None:
        super().__init__(
            prog=prog,
            description=summary[0].upper() + summary[1:] + ".",
            epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def needs_arguments(self) -> bool:
        """Whether the command can do nothing without arguments."""
        return any(action.required for action in self._actions)

    def error(self, message: str) -> NoReturn:
        options = [option for action in self._actions for option in action.option_strings]
        _, _, words = message.partition("unrecognized arguments: ")
        unknown = [word.partition("=")[0] for word in words.split() if word.startswith("-")]
        near = difflib.get_close_matches(unknown[0], options, n=1) if unknown else []
        hint = f" Did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{message.rstrip('.')}.{hint} See: {self.prog} --help")


def _top_parser() -> _Parser:
    examples = [COMMANDS[name].examples[0] for name in ("demo", "train", "infer")]
    parser = _Parser("rfcn", "R-FCN object detection", examples)
    parser.usage = "rfcn COMMAND [options]"
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:{width}}  {item.summary}" for name, item in COMMANDS.items())
    parser.description = f"R-FCN object detection.\n\ncommands (rfcn COMMAND --help):\n{table}"
    parser.add_argument("--version", action="store_true", help="print the version")
    return parser


def _top_options(words: list[str]) -> int:
    check_python()
    if _top_parser().parse_args(words).version:
        print(f"rfcn {installed_version('rfcn') or 'from a source tree'}")
    return 0


# ---------------------------------------------------------------------------------------- ending


def _guarded(run: Callable[[], int], *, debug: bool) -> int:
    """Exit code of `run`, whose known ways to fail end without a traceback."""
    _prepare_streams()
    try:
        code = run()
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse after --help
        return end.code if isinstance(end.code, int) else 0
    except BrokenPipeError:
        _silence_stdout()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return STOPPED
    except RFCNError as error:
        fault: RFCNError = error
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "rfcn":
            raise
        fault = missing_module(error.name or "")
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        fault = MachineError(
            f"the disk is full or a quota is reached ({error}). Make room; a training goes on with "
            "--resume from its newest checkpoint."
        )
    if debug:
        traceback.print_exception(fault)
    print(f"error: {fault}", file=sys.stderr)
    return fault.exit_code


def _prepare_streams() -> None:
    """A closed or narrow terminal must not end a run: write to nowhere, or with `?`. NO_COLOR means
    plain text, bold letters included."""
    if os.environ.get("NO_COLOR"):
        os.environ["TERM"] = "dumb"
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - lives with the process
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def _silence_stdout() -> None:
    """Keep the interpreter from flushing into the closed pipe once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    raise SystemExit(main())
