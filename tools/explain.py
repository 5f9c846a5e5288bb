"""`rfcn explain`, from a source tree."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rfcn.cli.main import run_command

if __name__ == "__main__":
    raise SystemExit(run_command("explain"))
