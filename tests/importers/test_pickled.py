import pickle
from collections import OrderedDict

import numpy as np
import pytest

from rfcn.importers.pickled import PickleError, arrays_in, read_pickle


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_and_containers_are_read_exactly(protocol):
    written = {
        "model": OrderedDict(a=np.arange(6, dtype="<f4").reshape(2, 3)),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big": np.arange(4, dtype=">f4"),
        "half": np.ones((0, 2), "<f2"),
        "counts": np.array([1, -2], "i8"),
        "number": np.float32(0.5),
        "plain": [1, -5, 2**70, 0.25, "é", None, True, (1, (2, 3)), b"raw", {}],
    }
    read = read_pickle(pickle.dumps(written, protocol=protocol))
    assert np.array_equal(read["model"]["a"], written["model"]["a"])
    for name in ("fortran", "big", "half", "counts"):
        assert np.array_equal(read[name], written[name])
        assert read[name].shape == written[name].shape
    assert float(read["number"]) == 0.5
    assert read["plain"][:7] == written["plain"][:7]
    assert read["plain"][7] == [1, [2, 3]]
    assert [key for key, _ in arrays_in(read)] == ["fortran", "big", "half", "counts", "number"]


def test_one_array_twice_is_one_array():
    one = np.ones(3, "f4")
    read = read_pickle(pickle.dumps({"a": one, "b": one}, protocol=4))
    assert read["a"] is read["b"]


class Evil:
    def __init__(self, how):
        self.how = how

    def __reduce__(self):
        return self.how


@pytest.mark.parametrize(
    ("how", "named"),
    [
        ((print, ("it ran",)), "builtins.print"),
        ((eval, ("print('it ran')",)), "builtins.eval"),
        ((np.load, ("x",)), "numpy.load"),
        ((getattr, (np, "load")), "getattr"),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_whatever_else_a_pickle_names_is_refused_and_does_not_run(how, named, protocol, capsys):
    if how[0] is getattr:
        how = (getattr, ("text", "upper"))
    content = pickle.dumps({"a": Evil(how)}, protocol=protocol, fix_imports=False)
    with pytest.raises(PickleError, match="asks for") as caught:
        read_pickle(content)
    assert named.rpartition(".")[2] in str(caught.value)
    assert capsys.readouterr().out == ""


WHOLE = pickle.dumps({"a": np.ones(100, "f4")}, protocol=4)


@pytest.mark.parametrize(
    "content",
    [b"", b"text", WHOLE[:-3], WHOLE[:60], b"\x80\x02h\x05.", b"\x80\x02}(.", b"\x80\x02K\x01R.",
     pickle.dumps({"a": np.array([{}, 1], dtype=object)}, protocol=4),
     pickle.dumps({"a": np.zeros(2, "i4,f4")}, protocol=4),
     pickle.dumps({1, 2}, protocol=4)],
)  # fmt: skip
def test_what_is_damaged_or_no_array_is_refused(content):
    with pytest.raises(PickleError):
        read_pickle(content)
