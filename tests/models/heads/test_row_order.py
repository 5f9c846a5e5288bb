import pytest
import torch

from rfcn.models.heads.row_order import convert_rows


def test_by_hand():
    # k = 2, two classes: a row is named 100 c + 10 i + j.
    released = torch.tensor([0, 1, 10, 11, 100, 101, 110, 111])
    here = torch.tensor([0, 100, 1, 101, 10, 110, 11, 111])
    assert torch.equal(convert_rows(released, 2, to="bin_major"), here)
    assert torch.equal(convert_rows(here, 2, to="class_major"), released)


@pytest.mark.parametrize("shape", [(63,), (63, 5), (63, 5, 1, 1), (0, 4)])
@pytest.mark.parametrize("k", [1, 3])
def test_there_and_back(shape, k):
    rows = torch.randn(shape)
    there = convert_rows(rows, k, to="bin_major")
    assert there.shape == rows.shape
    assert there.is_contiguous()
    assert torch.equal(convert_rows(there, k, to="class_major"), rows)


@pytest.mark.parametrize(("shape", "k"), [((10,), 3), ((), 1), ((9,), 0)])
def test_rows_that_do_not_fit(shape, k):
    with pytest.raises(ValueError, match=r"does not begin with a multiple of k\*k"):
        convert_rows(torch.zeros(shape), k, to="bin_major")
