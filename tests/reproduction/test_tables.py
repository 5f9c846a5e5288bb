"""The recipes as data: every row leads to a config, at every scale."""

import pytest

from rfcn.reproduction.run import row_config
from rfcn.reproduction.tables import SCALES, TABLES

ROWS = [(name, row) for name, table in TABLES.items() for row in table.rows]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(("table", "row"), ROWS, ids=[f"{name}-{row.name}" for name, row in ROWS])
def test_every_row_is_a_config_at_every_scale(table, row, scale):
    config = row_config(row, scale, seed=3)
    assert config.runtime.seed == 3


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_rows_have_names_of_their_own_and_margins_name_rows(table):
    names = [row.name for row in table.rows]
    assert len(set(names)) == len(names)
    assert {name for margin in table.margins for name in margin[:2]} <= set(names)
    assert all(row.paper is not None or row.remark for row in table.rows)
