import os

import pytest

from rfcn.engine.lock import only_run_in
from rfcn.errors import ConfigError


def test_w15_a_second_run_is_refused_and_told_by_whom(tmp_path):
    with (
        only_run_in(tmp_path),
        pytest.raises(ConfigError, match=f"process {os.getpid()}"),
        only_run_in(tmp_path),
    ):
        pass


def test_w15_the_folder_is_free_again_and_a_stale_file_does_not_matter(tmp_path):
    (tmp_path / ".lock").write_text("999999\n")
    for _ in range(2):
        with only_run_in(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
