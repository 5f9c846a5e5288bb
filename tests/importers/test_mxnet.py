import struct

import numpy as np
import pytest
import torch

from rfcn.errors import WeightsError
from rfcn.importers import mxnet

TYPES = {"<f4": 0, "<f8": 1, "<f2": 2, "|u1": 3, "<i4": 4, "|i1": 5, "<i8": 6}


def array(values: np.ndarray, version: int = 2, storage: int = 0) -> bytes:
    """An NDArray as MXNet of that version saves it; 0: before there were versions."""
    values = np.asarray(values)
    if version == 0:
        head = struct.pack(f"<I{values.ndim}I", values.ndim, *values.shape)
    else:
        head = struct.pack("<I", 0xF993FAC7 + version)
        head += struct.pack("<i", storage) if version > 1 else b""
        head += struct.pack(
            f"<{'i' if version == 3 else 'I'}{values.ndim}q", values.ndim, *values.shape
        )
    return head + struct.pack("<iii", 1, 0, TYPES[values.dtype.str]) + values.tobytes()


def listed(arrays: dict[str, bytes]) -> bytes:
    names = b"".join(struct.pack("<Q", len(n.encode())) + n.encode() for n in arrays)
    count = struct.pack("<Q", len(arrays))
    return struct.pack("<QQ", 0x112, 0) + count + b"".join(arrays.values()) + count + names


def read(path, content: bytes):
    (path / "a.params").write_bytes(content)
    return mxnet.read(path / "a.params")


@pytest.mark.parametrize("version", [0, 1, 2, 3])
@pytest.mark.parametrize("form", ["<f4", "<f8", "<f2", "|u1", "<i8"])
def test_every_version_is_read_exactly(version, form, tmp_path):
    one = (np.arange(24).reshape(2, 3, 4, 1) / (4 if "f" in form else 1)).astype(form)
    two = np.array([7.5], "<f4")
    content = listed({"arg:conv1_weight": array(one, version), "aux:b": array(two, version)})
    found = read(tmp_path, content)
    assert set(found.tensors) == {"conv1.weight", "aux:b"}
    assert torch.equal(found.tensors["conv1.weight"], torch.from_numpy(one.astype("<f4")))
    assert found.tensors["aux:b"].tolist() == [7.5]
    assert found.origin["conv1.weight"] == ("arg:conv1_weight",)
    assert (found.program, found.bgr, found.style) == ("MXNet", False, "caffe")


def test_names_of_deformable_convnets():
    common = mxnet.common_name
    assert common("arg:bn3b1_branch2a_gamma") == "bn3b1_branch2a.weight"
    assert common("aux:bn_conv1_moving_var") == "bn_conv1.running_var"
    assert common("arg:rfcn_bbox_weight_test") == "rfcn_bbox_test.weight"
    assert common("arg:rpn_conv_3x3_bias") == "rpn_conv_3x3.bias"
    assert common("arg:res5a_branch2b_offset_weight") == "res5a_branch2b_offset.weight"


ONE = np.ones(1, "<f4")
WHOLE = listed({"arg:a_weight": array(np.ones((2, 2), "<f4"))})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "8 bytes are needed, 0 are left"),
        (struct.pack("<Q", 0x113) + WHOLE[8:], "does not begin as"),
        (WHOLE[:-1], "bytes are needed"),
        (WHOLE[:60], "bytes are needed"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 40), "more than 100000 arrays"),
        (listed({"a": array(np.ones(2, "<f4"), storage=1)}), "sparse"),
        (listed({"a": array(ONE)[:-8] + struct.pack("<i", 99) + b"\0" * 4}), "of type 99"),
        (listed({"a": struct.pack("<I", 99)}), "99 sides"),
        (listed({"a": struct.pack("<IiIq", 0xF993FAC9, 0, 1, -1)}), r"shape \[-1\]"),
        (listed({"arg:a_gamma": array(ONE), "arg:a_weight": array(ONE)}), "the same layer"),
    ],
)
def test_what_is_damaged_is_refused(content, words, tmp_path):
    with pytest.raises(WeightsError, match=words):
        read(tmp_path, content)
