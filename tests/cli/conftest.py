"""What tests of commands share."""

from collections.abc import Callable
from pathlib import Path

import pytest

from rfcn.cli.main import main


@pytest.fixture
def fault(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must end with exit code `code` and one error; -> its words."""

    def run(*words: str | Path, code: int) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert message.count("error: ") == 1
        assert "Traceback" not in message
        return message.removeprefix("error: ")

    return run
