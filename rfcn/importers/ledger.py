"""The books of an import: which tensor went where, what was done to it, and what was left over."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from rfcn.importers.foreign import Foreign

AS_IT_IS = "as it is"


class Row(NamedTuple):
    """One tensor of ours: its name, what it was made from, its shape, and what was done."""

    target: str
    sources: tuple[str, ...]
    shape: tuple[int, ...]
    how: str


class Left(NamedTuple):
    """One tensor of the file that has no place here, and why."""

    source: str
    shape: tuple[int, ...]
    why: str


@dataclass
class Ledger:
    """Tensors are taken from a foreign file one by one; nothing is lost silently."""

    foreign: Foreign
    state: dict[str, Tensor] = field(default_factory=dict)
    """Ours, by our names."""
    rows: list[Row] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What was looked for and is not in the file."""
    notes: list[str] = field(default_factory=list)
    """What was folded, detected or assumed, a sentence each."""
    used: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.notes += self.foreign.notes

    def get(self, name: str) -> Tensor | None:
        """A tensor of the file by its common name, which is thereby used."""
        self.used.add(name)
        return self.foreign.tensors.get(name)

    def put(self, target: str, value: Tensor, *names: str, how: str = AS_IT_IS) -> None:
        """Keep a tensor of ours, made from those of the file with these common names."""
        self.used.update(names)
        sources = tuple(
            source for name in names for source in self.foreign.origin.get(name, (name,))
        )
        self.state[target] = value.detach().to(torch.float32, copy=True).contiguous()
        self.rows.append(Row(target, sources, tuple(value.shape), how))

    def move(
        self,
        name: str,
        target: str,
        change: Callable[[Tensor], Tensor] | None = None,
        how: str = "",
    ) -> bool:
        """Put a tensor where it belongs, changed where `change` is given; whether it is there."""
        found = self.get(name)
        if found is None:
            self.missing.append(name)
            return False
        self.put(target, found if change is None else change(found), name, how=how or AS_IT_IS)
        return True

    def left(self, why: Callable[[str], str]) -> list[Left]:
        """What nobody took, with the reason that `why` gives for its common name."""
        return [
            Left(" + ".join(self.foreign.origin.get(name, (name,))), tuple(tensor.shape), why(name))
            for name, tensor in self.foreign.tensors.items()
            if name not in self.used
        ]


def as_json(ledger: Ledger, left: list[Left], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The books as JSON values: `facts`, then notes, tensors, skipped, missing."""
    return {
        **facts,
        "notes": ledger.notes,
        "tensors": [{**row._asdict(), "shape": list(row.shape)} for row in ledger.rows],
        "skipped": [{**one._asdict(), "shape": list(one.shape)} for one in left],
        "missing": ledger.missing,
    }


def as_text(ledger: Ledger, left: list[Left]) -> str:
    """The books as a table: ours, theirs, shape, what was done; then what was skipped, and why."""
    table = [
        (row.target, " + ".join(row.sources), _shape(row.shape), row.how) for row in ledger.rows
    ]
    lines = _columns([("here", "in the file", "shape", "how"), *table])
    if left:
        skipped = [(one.source, _shape(one.shape), one.why) for one in left]
        lines += ["", *_columns([("skipped", "shape", "why"), *skipped])]
    if ledger.missing:
        lines += ["", "missing: " + ", ".join(ledger.missing)]
    return "\n".join(lines)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "number"


def _columns(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
