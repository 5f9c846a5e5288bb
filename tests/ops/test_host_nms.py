"""What a CUDA thread of nms runs, compiled for the host and held against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer

from rfcn.ops.reference import nms as reference

SOURCE = """
#include "nms.h"
using namespace rfcn;

extern "C" void pairs(const float* boxes, int64_t count, float threshold, bool* found) {
  for (int64_t a = 0; a < count; ++a)
    for (int64_t b = 0; b < count; ++b)
      found[a * count + b] = suppresses(box_of(boxes + 4 * a), box_of(boxes + 4 * b), threshold);
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(SOURCE, tmp_path_factory.mktemp("host"))


def test_one_pair_of_boxes(host):
    g = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 8, (60, 2), generator=g)
    boxes = torch.cat([corners, corners + torch.randint(0, 8, (60, 2), generator=g)], 1).float()
    found = torch.zeros(60, 60, dtype=torch.bool)
    host.pairs(pointer(boxes), ctypes.c_int64(60), ctypes.c_float(0.5), pointer(found))
    expected = [[bool(reference._iou(a, b) > 0.5) for b in boxes.numpy()] for a in boxes.numpy()]
    assert found.tolist() == expected
    assert found.any()
