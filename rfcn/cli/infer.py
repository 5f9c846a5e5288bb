"""`rfcn infer`: detect objects in pictures, videos and cameras, and write down what was found."""

import argparse
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rfcn.cli.options import (
    add_device_option,
    add_output_option,
    add_override_option,
    count,
    count_or_zero,
    fraction,
)
from rfcn.errors import ConfigError, DataError
from rfcn.inference.augmentation import NAMES
from rfcn.inference.formats import BY_DEFAULT, FORMATS

if TYPE_CHECKING:
    from rfcn.engine.console import Console
    from rfcn.inference.detector import Detector
    from rfcn.inference.frames import Frame, FrameReader
    from rfcn.inference.results import NamedDetections
    from rfcn.inference.session import Summary
    from rfcn.inference.writers import Writer

SHOWN_FAULTS = 3
"""Pictures that cannot be read are counted; so many are explained."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument(
        "-w", "--weights", required=True, help="weights folder of a run, or OWNER/NAME of the hub"
    )
    _add_input_options(parser)
    _add_output_options(parser)
    _add_test_options(parser)
    add_override_option(parser)
    add_device_option(parser)


def _add_input_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-i",
        "--input",
        required=True,
        nargs="+",
        metavar="PATH",
        help="pictures, videos, folders of them, patterns such as 'photos/*.jpg', .txt files that "
        "list them, or the number of a camera",
    )
    parser.add_argument("--recursive", action="store_true", help="look into folders of folders too")
    parser.add_argument(
        "--every", type=count, default=1, metavar="N", help="of videos one frame in N"
    )
    parser.add_argument("--limit", type=count, metavar="N", help="stop after N pictures or frames")


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    add_output_option(parser, default="runs/infer")
    parser.add_argument(
        "--save",
        nargs="+",
        metavar="FORMAT",
        choices=FORMATS,
        help=f"what to write: {' '.join(FORMATS)} (default: {' '.join(BY_DEFAULT)}, but no frames "
        "of videos as pictures)",
    )
    parser.add_argument(
        "--score-maps",
        type=count_or_zero,
        metavar="N",
        help="also draw the score maps behind detection N of each picture (0 is the surest)",
    )


def _add_test_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--score",
        "--threshold",
        type=fraction,
        default=0.5,
        metavar="S",
        help="lowest score kept (default: 0.5)",
    )
    parser.add_argument("--classes", nargs="+", metavar="NAME", help="classes kept (default: all)")
    parser.add_argument(
        "--max-detections", type=count, metavar="N", help="keep the N best of a picture"
    )
    parser.add_argument(
        "--tta",
        nargs="+",
        choices=NAMES,
        default=[],
        metavar="NAME",
        help=f"test-time augmentation, for more time: {' '.join(NAMES)}",
    )
    parser.add_argument(
        "--batch-size",
        type=count,
        metavar="N",
        help="pictures of one size that pass together (default: 1, on a GPU 8)",
    )


def run(args: argparse.Namespace) -> int:
    """Detect on all that can be read; what was done stays, also when stopped on the way."""
    from rfcn.build import file_rules, find_device
    from rfcn.engine.atomic import make_folder
    from rfcn.engine.signals import stop_on_signals
    from rfcn.inference.detector import Detector
    from rfcn.inference.frames import FrameReader, Stems
    from rfcn.inference.session import check_folder, write_facts
    from rfcn.inference.sources import find_sources, is_film

    sources, passed_over = find_sources(args.input, recursive=args.recursive)
    if passed_over:
        print(f"note: no pictures by their extension, passed over: {_some(passed_over)}")
    formats = list(args.save or BY_DEFAULT)
    if args.save and "video" in args.save and not any(map(is_film, sources)):
        raise ConfigError("--save video: there is no video among the inputs.")
    output = Path(args.output)
    check_folder(output, formats)
    detector = Detector.from_pretrained(args.weights, device=find_device(args.device or "auto"))
    detector = _as_asked(detector, args)
    reader = FrameReader(
        sources,
        Stems(output, sources),
        rules=file_rules(detector.config.data),
        every=args.every,
        limit=args.limit,
    )
    make_folder(output)
    with stop_on_signals() as stop:
        summary = _detect(detector, reader, formats, args, stopping=lambda: bool(stop))
    names = ("weights", "input", "save", "score", "classes", "max_detections", "tta", "overrides")
    asked = {name: getattr(args, name) for name in names}
    stopped_by = None if stop.signal is None else stop.signal.name
    write_facts(output, asked, summary, reader.faults, stopped_by)
    print(_said(summary, output))
    if stop:
        return stop.exit_code
    if reader.faults:
        raise DataError(
            f"{len(reader.faults)} of {len(sources)} inputs could not be read, or not to their "
            "end: " + " ".join(str(fault.error) for fault in reader.faults[:SHOWN_FAULTS])
        )
    return 0


def _as_asked(detector: "Detector", args: argparse.Namespace) -> "Detector":
    """The detector with the settings of --tta, --max-detections and --set, the last the strongest.

    Raises:
        ConfigError: there is no such setting, or no such class.
    """
    from rfcn.config.loader import override_config
    from rfcn.inference.augmentation import overrides_of
    from rfcn.inference.results import labels_of

    labels_of(args.classes or (), detector.class_names)
    if args.classes and args.score_maps is not None:
        raise ConfigError("--score-maps counts the detections of all classes: leave --classes out.")
    overrides = overrides_of(args.tta, detector.config)
    if (args.max_detections or 0) > detector.config.model.postprocess.max_detections:
        overrides.append(f"model.postprocess.max_detections={args.max_detections}")
    overrides += args.overrides
    if not overrides:
        return detector
    return detector.with_config(override_config(detector.config, overrides))


def _detect(
    detector: "Detector",
    reader: "FrameReader",
    formats: list[str],
    args: argparse.Namespace,
    *,
    stopping: Callable[[], bool],
) -> "Summary":
    """Detect and write, with news on the terminal."""
    from rfcn.engine.console import Console
    from rfcn.inference.session import Wish, detect_all, make_writers

    output = Path(args.output)
    frames = bool(args.save)  # asked for by name, annotated pictures are of films too
    writers: list[Writer] = make_writers(formats, output, detector.class_names, frames=frames)
    if args.score_maps is not None:
        from rfcn.inference.picture_writers import ScoreMapWriter

        writers.append(ScoreMapWriter(output, detector, args.score_maps))
    console = Console(reader.expected(), unit="picture")
    talk = _Talk(console, reader)
    classes = tuple(args.classes) if args.classes else None
    try:
        return detect_all(
            detector,
            reader,
            writers,
            wish=Wish(args.score, classes, args.max_detections),
            batch_size=args.batch_size or (1 if detector.device.type == "cpu" else 8),
            after=talk.tell,
            stopping=stopping,
        )
    finally:
        talk.end()


class _Talk:
    """A line a picture, a line a film, and a line for what could not be read."""

    def __init__(self, console: "Console", reader: "FrameReader") -> None:
        self._console = console
        self._reader = reader
        self._done = 0
        self._faults = 0
        self._film: tuple[str, str] | None = None
        self._frames = 0
        self._found: Counter[str] = Counter()

    def tell(self, frame: "Frame", found: "NamedDetections") -> None:
        """Say what was found in a picture; of frames, once their film is over."""
        self._done += 1
        self._console.advance(self._done)
        film = (str(frame.source), frame.film.stem) if frame.film else None
        if film != self._film:
            self._end_film()
        self._tell_faults()
        self._film = film
        if film is None:
            self._console.progress(
                f"{frame.source}: {_counted(Counter(found.names))}", str(frame.source)
            )
        else:
            self._frames += 1
            self._found.update(found.names)

    def end(self) -> None:
        """The last news."""
        self._end_film()
        self._tell_faults()
        self._console.close()

    def _tell_faults(self) -> None:
        for fault in self._reader.faults[self._faults :]:
            self._console.say(f"{fault.source}: not read, or not to its end")
        self._faults = len(self._reader.faults)

    def _end_film(self) -> None:
        if self._film is not None:
            self._console.say(f"{self._film[0]}: {self._frames} frames, {_counted(self._found)}")
        self._film, self._frames, self._found = None, 0, Counter()


def _said(summary: "Summary", output: Path) -> str:
    """How many pictures, how fast, and where the rest is."""
    return (
        f"{summary.pictures} pictures in {summary.seconds:.1f} s, {summary.rate:.1f} a second "
        f"({summary.detecting:.1f} s of it detecting): {_counted(summary.found)}; see {output}"
    )


def _counted(found: Mapping[str, int]) -> str:
    """What was found, counted: `2 dog, 1 person`."""
    return ", ".join(f"{count} {name}" for name, count in found.items()) or "nothing"


def _some(paths: list[Path], shown: int = 5) -> str:
    """The first few, and how many more."""
    more = f", and {len(paths) - shown} more" if len(paths) > shown else ""
    return ", ".join(map(str, paths[:shown])) + more
