"""What a CUDA thread of roi_average_pool runs, on the host, against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer

from rfcn.ops.checks import SEMANTICS
from rfcn.ops.reference import roi_average_pool as reference

SOURCE = """
#include <array>
#include <vector>
#include "roi_average_pool.h"
using namespace rfcn;

static ScoreMaps plain(const int64_t* s, int64_t k) {  // pictures, channels, height, width
  const std::array<int64_t, 4> size{s[0], s[1], s[2], s[3]};
  return shared_maps(size, std::array<int64_t, 4>{s[1] * s[2] * s[3], s[2] * s[3], s[3], 1}, k);
}

extern "C" void pool(const double* features, const int64_t* sizes, const float* rois, int64_t count,
                     int64_t k, int32_t semantics, double* pooled) {
  const ScoreMaps maps = plain(sizes, k);
  const Cutting<float> cutting{static_cast<Semantics>(semantics), 1.0f / 16, k};
  int64_t n = 0;
  for (int64_t r = 0; r < count; ++r)
    for (int64_t c = 0; c < maps.classes; ++c)
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < k; ++j)
          pooled[n++] = pooled_score(features, maps, rois + r * kRoiColumns, cutting, c, i, j);
}

extern "C" void backward(const double* gradient, const int64_t* sizes, const float* rois,
                         int64_t count, int64_t k, int32_t semantics, double* result) {
  const ScoreMaps maps = plain(sizes, k);
  const Cutting<float> cutting{static_cast<Semantics>(semantics), 1.0f / 16, k};
  const PooledStrides stride{maps.classes * k * k, k * k, k, 1};
  std::vector<Range> tables(count * 2 * k);
  for (int64_t r = 0; r < count; ++r) {
    const float* roi = rois + r * kRoiColumns;
    tabulate_cells(roi, is_valid(roi, maps.pictures), cutting, maps.height, maps.width,
                   tables.data() + r * 2 * k);
  }
  int64_t n = 0;
  for (int64_t p = 0; p < maps.pictures; ++p)
    for (int64_t c = 0; c < maps.classes; ++c)
      for (int64_t y = 0; y < maps.height; ++y)
        for (int64_t x = 0; x < maps.width; ++x)
          result[n++] = gradient_of_shared_cell(gradient + c * stride.klass, stride, rois, count,
                                                tables.data(), k, p, y, x);
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(SOURCE, tmp_path_factory.mktemp("host"))


def run(part, given, sizes, rois, k, semantics, result):
    number = ctypes.c_int32(SEMANTICS.index(semantics))
    counts = ctypes.c_int64(len(rois)), ctypes.c_int64(k)
    part(pointer(given), pointer(sizes), pointer(rois), *counts, number, pointer(result))
    return result


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize(("k", "height", "width"), [(1, 4, 5), (3, 1, 1), (3, 9, 7), (7, 10, 12)])
def test_one_element_forward_and_backward(host, make_rois, semantics, k, height, width):
    features = torch.randn(2, 3, height, width, dtype=torch.float64)
    rois = make_rois(150, 2, 16 * height, 16 * width, seed=k)
    sizes = torch.tensor(features.shape)
    pooled = torch.full((150, 3, k, k), torch.nan, dtype=torch.float64)
    run(host.pool, features, sizes, rois, k, semantics, pooled)
    expected = reference.roi_average_pool(features, rois, k, 1 / 16, semantics)
    assert (pooled - expected).abs().max() <= 1e-12
    gradient = torch.randn_like(pooled)
    found = torch.full_like(features, torch.nan)
    run(host.backward, gradient, sizes, rois, k, semantics, found)
    shape = tuple(features.shape)
    back = reference.roi_average_pool_backward(gradient, rois, k, 1 / 16, shape, semantics)
    assert (found - back).abs().max() <= 1e-12


def test_bad_rows_give_zeros(host):  # what a GPU does where the CPU raises
    nan, inf = float("nan"), float("inf")
    rois = torch.tensor(
        [[2.0, 0, 0, 9, 9], [-1, 0, 0, 9, 9], [nan, 0, 0, 9, 9], [1, -inf, 0, inf, 9]]
    )
    features = torch.ones(2, 1, 2, 2, dtype=torch.float64)
    sizes = torch.tensor(features.shape)
    pooled = torch.full((4, 1, 2, 2), torch.nan, dtype=torch.float64)
    assert not run(host.pool, features, sizes, rois, 2, "msra", pooled).any()
    found = torch.full_like(features, torch.nan)
    assert not run(host.backward, torch.ones_like(pooled), sizes, rois, 2, "msra", found).any()
