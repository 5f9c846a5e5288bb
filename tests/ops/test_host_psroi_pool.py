"""What a CUDA thread of psroi_pool runs, compiled for the host and held against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer

from rfcn.ops.reference import psroi_pool as reference

SOURCE = """
#include <vector>
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
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(SOURCE, tmp_path_factory.mktemp("host"))


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
