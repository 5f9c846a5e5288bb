"""Holds the operators against their slow definitions on random calls; see tests/ops/fuzz.py."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "ops"))

from fuzz import main

if __name__ == "__main__":
    raise SystemExit(main())
