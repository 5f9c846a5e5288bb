"""What was found, as text: JSON, JSON lines and CSV, written as it comes."""

import csv
import json
from pathlib import Path
from typing import Any, Protocol

from rfcn.inference.frames import Frame
from rfcn.inference.results import NamedDetections


class Writer(Protocol):
    """Keeps what was found in one form. What was written when the run is stopped, is whole."""

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """Keep what was found in one picture."""
        ...

    def close(self) -> None:
        """Complete what was written."""
        ...


def record_of(frame: Frame, found: NamedDetections) -> dict[str, Any]:
    """JSON values: where the picture comes from, and `found.to_dict()`."""
    return {**frame.place, **found.to_dict()}


class JSONWriter:
    """One list of records, a line each."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._file.write("[")
        self._separator = "\n"

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """Append a record."""
        self._file.write(self._separator + json.dumps(record_of(frame, found), ensure_ascii=False))
        self._separator = ",\n"

    def close(self) -> None:
        """End the list."""
        self._file.write("\n]\n")
        self._file.close()


class JSONLinesWriter:
    """A record a line, to be read while the run goes on."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """Append a record."""
        self._file.write(json.dumps(record_of(frame, found), ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CSVWriter:
    """A row a detection; a picture in which nothing was found has none."""

    COLUMNS = (
        *("file", "frame", "time", "width", "height"),
        *("label", "label_id", "score", "x1", "y1", "x2", "y2"),
    )

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(self.COLUMNS)

    def write(self, frame: Frame, found: NamedDetections) -> None:
        """Append the rows of a picture."""
        told = record_of(frame, found)
        where = [told.get(name, "") for name in self.COLUMNS[:5]]
        for one in told["detections"]:
            self._rows.writerow([*where, one["label"], one["label_id"], one["score"], *one["box"]])

    def close(self) -> None:
        """Close the file."""
        self._file.close()
