"""The functions that a CUDA thread runs, compiled for the host and held against the definition.

csrc/psroi_pool.h, geometry.h and nms.h know nothing of torch. A small program walks over the
elements as the kernels in csrc/cuda/ do, so their arithmetic is tested where there is no GPU.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from rfcn.ops import reference

CSRC = Path(__file__).parents[2] / "csrc"
COMPILER = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
SOURCE = """
#include <vector>
#include "nms.h"
#include "psroi_pool.h"
using namespace rfcn;

static ScoreMaps plain(const int64_t* s) {  // pictures, classes, k, height, width
  const int64_t plane = s[3] * s[4], k = s[2];
  return {s[0], s[1], k, s[3], s[4],
          {s[1] * k * k * plane, k * k * plane, k * plane, plane, s[4], 1}};
}

extern "C" void pool(const double* features, const int64_t* sizes, const float* rois, int64_t count,
                     float scale, double* pooled) {
  const ScoreMaps maps = plain(sizes);
  for (int64_t n = 0; n < count * maps.classes * maps.k * maps.k; ++n) {
    const int64_t j = n % maps.k, i = n / maps.k % maps.k, c = n / maps.k / maps.k % maps.classes;
    const int64_t r = n / maps.k / maps.k / maps.classes;
    pooled[n] = pooled_score(features, maps, rois + r * kRoiColumns, scale, c, i, j);
  }
}

extern "C" void pool_backward(const double* gradient, const int64_t* sizes, const float* rois,
                              int64_t count, float scale, double* result) {
  const ScoreMaps maps = plain(sizes);
  const int64_t k = maps.k, bins = k * k;
  std::vector<Range> tables(count * 2 * k);
  for (int64_t r = 0; r < count; ++r) {
    const float* roi = rois + r * kRoiColumns;
    tabulate_cells(roi, is_valid(roi, maps.pictures), scale, k, maps.height, maps.width,
                   tables.data() + r * 2 * k);
  }
  int64_t n = 0;
  for (int64_t p = 0; p < maps.pictures; ++p)
    for (int64_t c = 0; c < maps.classes; ++c)
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < k; ++j)
          for (int64_t y = 0; y < maps.height; ++y)
            for (int64_t x = 0; x < maps.width; ++x)
              result[n++] = gradient_of_cell(gradient + c * bins + i * k + j, maps.classes * bins,
                                             rois, count, tables.data(), k, p, i, j, y, x);
}

extern "C" void pairs(const float* boxes, int64_t count, float threshold, bool* found) {
  for (int64_t a = 0; a < count; ++a)
    for (int64_t b = 0; b < count; ++b)
      found[a * count + b] = suppresses(box_of(boxes + 4 * a), box_of(boxes + 4 * b), threshold);
}
"""

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    folder = tmp_path_factory.mktemp("host")
    (folder / "host.cpp").write_text(SOURCE)
    command = [
        COMPILER,
        "-std=c++20",
        "-O2",
        "-Wall",
        "-Werror",
        "-ffp-contract=off",
        "-fPIC",
        "-shared",
        f"-I{CSRC}",
        str(folder / "host.cpp"),
        "-o",
        str(folder / "host.so"),
    ]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "host.so"))


def pointer(tensor):
    return ctypes.c_void_p(tensor.data_ptr())


@pytest.mark.parametrize(("k", "height", "width"), [(1, 4, 5), (3, 1, 1), (3, 9, 7), (7, 10, 12)])
def test_one_element_forward_and_backward(host, make_rois, k, height, width):
    features = torch.randn(2, 3 * k * k, height, width, dtype=torch.float64)
    rois = make_rois(150, 2, 16 * height, 16 * width, seed=k)
    sizes = torch.tensor([2, 3, k, height, width])
    pooled = torch.full((150, 3, k, k), torch.nan, dtype=torch.float64)
    scale, count = ctypes.c_float(1 / 16), ctypes.c_int64(150)
    host.pool(pointer(features), pointer(sizes), pointer(rois), count, scale, pointer(pooled))
    assert (pooled - reference.psroi_pool(features, rois, k, 1 / 16)).abs().max() <= 1e-12
    gradient = torch.randn_like(pooled)
    found = torch.full_like(features, torch.nan)
    host.pool_backward(
        pointer(gradient), pointer(sizes), pointer(rois), count, scale, pointer(found)
    )
    expected = reference.psroi_pool_backward(gradient, rois, k, 1 / 16, features.shape)
    assert (found - expected).abs().max() <= 1e-12


def test_bad_rows_give_zeros(host):  # what a GPU does where the CPU raises
    nan, inf = float("nan"), float("inf")
    rois = torch.tensor(
        [
            [2.0, 0, 0, 9, 9],
            [-1, 0, 0, 9, 9],
            [0.5, 0, 0, 9, 9],
            [nan, 0, 0, 9, 9],
            [0, nan, 0, 9, 9],
            [1, 0, 0, inf, 9],
            [1, -inf, 0, inf, 9],
            [0, 0, 0, 31, 31],
        ]
    )
    features = torch.ones(2, 4, 2, 2, dtype=torch.float64)
    sizes = torch.tensor([2, 1, 2, 2, 2])
    pooled = torch.full((8, 1, 2, 2), torch.nan, dtype=torch.float64)
    scale, count = ctypes.c_float(1 / 16), ctypes.c_int64(8)
    host.pool(pointer(features), pointer(sizes), pointer(rois), count, scale, pointer(pooled))
    assert pooled[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    found = torch.full_like(features, torch.nan)
    gradient = torch.ones_like(pooled)
    host.pool_backward(
        pointer(gradient), pointer(sizes), pointer(rois), count, scale, pointer(found)
    )
    assert not found[1].any()
    assert found[0].sum() == 4


def test_one_pair_of_boxes(host):
    g = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 8, (60, 2), generator=g)
    boxes = torch.cat([corners, corners + torch.randint(0, 8, (60, 2), generator=g)], 1).float()
    found = torch.zeros(60, 60, dtype=torch.bool)
    host.pairs(pointer(boxes), ctypes.c_int64(60), ctypes.c_float(0.5), pointer(found))
    expected = [[bool(reference._iou(a, b) > 0.5) for b in boxes.numpy()] for a in boxes.numpy()]
    assert found.tolist() == expected
    assert found.any()
