"""The checks themselves; each operator's own tests ask what it refuses (roi_op_faults.py)."""

import pytest
import torch

from rfcn.ops import checks

ROIS = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])


def test_check_rois_passes_good_rows_and_names_the_first_bad_one():
    checks.check_rois(ROIS, 2)
    checks.check_rois(ROIS[:0], 0)
    with pytest.raises(RuntimeError, match="row 0"):
        checks.check_rois(ROIS, 0)
    changed = ROIS.clone()
    changed[0, 3] = torch.nan
    assert checks.valid_rows(changed, 2).tolist() == [False, True]


def test_semantics_have_numbers():
    assert [checks.semantics_number(one) for one in checks.SEMANTICS] == [0, 1, 2]
    with pytest.raises(ValueError, match="must be msra, paper or torchvision, not 'MSRA'"):
        checks.semantics_number("MSRA")
