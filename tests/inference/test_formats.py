"""The forms in which what was found can be written."""

from pathlib import Path

import pytest

from rfcn.inference.formats import BY_DEFAULT, FOLDERS, FORMATS
from rfcn.inference.session import make_writers


@pytest.mark.parametrize("name", FORMATS)
def test_each_has_a_writer_and_fills_the_folder_it_should(name: str, tmp_path: Path) -> None:
    writers = make_writers([name, name], tmp_path, ("cat", "dog"), frames=False)
    assert len(writers) == 1
    writers[0].close()
    folders = {path.name for path in tmp_path.iterdir() if path.is_dir()}
    assert folders <= {name}
    assert name in FOLDERS or not folders


def test_the_choices() -> None:
    assert set(BY_DEFAULT) | set(FOLDERS) <= set(FORMATS)
