"""`rfcn reproduce`: run a table of the paper and set both figures side by side."""

import argparse
import sys
from pathlib import Path

from rfcn.cli.options import add_override_option, count_or_zero, output_folder
from rfcn.errors import ConfigError
from rfcn.reproduction.tables import SCALES, TABLES

UNMET = 1
"""Exit code when a margin that the table promises is not there."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("table", choices=sorted(TABLES), help="which comparison")
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="toy",
        help="; ".join(f"{name}: {one.summary}" for name, one in SCALES.items()),
    )
    parser.add_argument("--data", metavar="DIR", help="folder of the data, instead of the config's")
    parser.add_argument("--rows", metavar="NAME", nargs="+", help="only these rows")
    parser.add_argument("--seeds", type=count_or_zero, help="runs a row (default: the table's)")
    parser.add_argument(
        "-o",
        "--output",
        metavar="DIR",
        type=output_folder,
        help="default: runs/reproduce/TABLE-SCALE",
    )
    add_override_option(parser)


def run(args: argparse.Namespace) -> int:
    """Every row and seed in turn; the table is written anew after each. Give the same command again
    to go on."""
    from rfcn.engine.distributed import first_process
    from rfcn.reproduction.report import table_cells, unmet_margins, write_table
    from rfcn.reproduction.run import prepare_data, read_outcomes, row_config, run_row

    table = TABLES[args.table]
    if args.scale not in table.scales:
        raise ConfigError(
            f"--scale {args.scale}: {args.table} is run at {', '.join(table.scales)} only."
        )
    output = Path(args.output or f"runs/reproduce/{args.table}-{args.scale}")
    offered = table.rows_at(args.scale)
    rows = [row for row in offered if not args.rows or row.name in args.rows]
    unknown = set(args.rows or ()) - {row.name for row in offered}
    if unknown:
        names = ", ".join(row.name for row in offered)
        raise ConfigError(
            f"--rows: no row {', '.join(sorted(unknown))}; at this scale the table has {names}."
        )
    measured = {(one.row, one.seed): one for one in read_outcomes(table, output)}
    for seed in range(args.seeds or table.seeds):
        for row in rows:
            config = row_config(
                row, table, args.scale, seed=seed, data=args.data, overrides=args.overrides
            )
            prepare_data(config, table.scales[args.scale])
            outcome = run_row(row, config, output / row.name / f"seed{seed}")
            if outcome is None:  # another process of the run writes the table
                continue
            if isinstance(outcome, int):
                print("stopped: give the same command again to go on")
                return 128 + outcome
            measured[row.name, seed] = outcome
            write_table(table, list(measured.values()), output)
    if not first_process():
        return 0
    outcomes = list(measured.values())
    _print(table_cells(table, outcomes))
    print(f"table:    {output / 'table.md'}, .csv, .json, .png")
    unmet = unmet_margins(table, outcomes)
    for sentence in unmet:
        print(f"error: {sentence}", file=sys.stderr)
    return UNMET if unmet else 0


def _print(lines: list[tuple[str, ...]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    from rfcn.reproduction.report import HEADER

    shown = Table(box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in HEADER:
        shown.add_column(name, overflow="fold")
    for cells in lines:
        shown.add_row(*cells)
    Console(width=None if sys.stdout.isatty() else 160, markup=False).print(shown)
