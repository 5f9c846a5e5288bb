"""Kills trainings at random moments and resumes them; see tests/killed_runs.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.killed_runs import main

if __name__ == "__main__":
    raise SystemExit(main())
