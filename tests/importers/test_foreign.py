import pytest

from rfcn.errors import WeightsError
from rfcn.importers.foreign import broken, read_bytes


def test_what_cannot_be_read_is_said(tmp_path):
    (tmp_path / "a").write_bytes(b"12")
    assert bytes(read_bytes(tmp_path / "a")) == b"12"
    with pytest.raises(WeightsError, match="No such file"):
        read_bytes(tmp_path / "b")
    assert "a.x cannot be read as an x (why)" in str(broken("a.x", "an x", ValueError("why")))
