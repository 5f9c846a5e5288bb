"""The page of a detector beside its weights: what it finds, how well, and how it is called."""

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rfcn.build import test_sizes
from rfcn.config.schema import Config
from rfcn.engine.atomic import write_atomically

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "model_card.md.j2"


def write_model_card(
    path: Path,
    *,
    name: str,
    class_names: Sequence[str],
    config: Config,
    metrics: Mapping[str, Any],
    parameters: int,
) -> None:
    """Write the page. metrics: figures 0..1 by their names, those of a class as NAME/CLASS, and the
    `step` they were reached at."""
    shown = {key: f"{value:.4f}" for key, value in metrics.items() if isinstance(value, float)}
    of_class = {key: key.partition("/") for key in shown if key.partition("/")[2] in class_names}
    columns = list(dict.fromkeys(name for name, _, _ in of_class.values()))
    text = _template().render(
        name=name,
        columns=columns,
        classes=[
            (_cell(one), [shown.get(f"{column}/{one}", "-") for column in columns])
            for one in class_names
        ],
        model=config.model,
        data=config.data,
        sizes=[f"{short} (at most {longest})" for short, longest in test_sizes(config)],
        figures={key: value for key, value in shown.items() if key not in of_class},
        step=metrics.get("step"),
        parameters=f"{parameters:,}",
    )
    write_atomically(path, lambda file: file.write(text.encode()))


def _cell(text: str) -> str:
    """A class name that cannot end its cell of a table or start anything else."""
    return "".join(f"\\{sign}" if sign in r"\|`*_<>[]#" else sign for sign in text)


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    text = files("rfcn.inference").joinpath(TEMPLATE).read_text(encoding="utf-8")
    # Markdown has its own signs to guard against (`_cell`), not those of HTML
    environment = Environment(
        autoescape=False, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)
