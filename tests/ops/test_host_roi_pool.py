"""What a CUDA thread of roi_pool runs, compiled for the host and held against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer

from rfcn.ops.reference import roi_pool as reference

SOURCE = """
#include <vector>
#include "roi_pool.h"
using namespace rfcn;

static ScoreMaps plain(const int64_t* s) {  // pictures, channels, height, width
  const int64_t plane = s[2] * s[3];
  return {s[0], s[1], 1, s[2], s[3], {s[1] * plane, plane, 0, 0, s[3], 1}};
}

extern "C" void pool(const double* features, const int64_t* sizes, const float* rois, int64_t count,
                     float scale, double* pooled, int32_t* cells) {
  const ScoreMaps maps = plain(sizes);
  const Bins bins{sizes[4], sizes[5]};
  for (int64_t n = 0; n < count * maps.classes * bins.count(); ++n) {
    const int64_t j = n % bins.columns, i = n / bins.columns % bins.rows;
    const int64_t d = n / bins.count() % maps.classes, r = n / bins.count() / maps.classes;
    const auto best = pooled_best(features, maps, bins, rois + r * kRoiColumns, scale, d, i, j);
    pooled[n] = best.value;
    cells[n] = best.cell;
  }
}

extern "C" void pool_backward(const double* gradient, const int32_t* cells, const int64_t* sizes,
                              const float* rois, int64_t count, float scale, double* result) {
  const ScoreMaps maps = plain(sizes);
  const Bins bins{sizes[4], sizes[5]};
  const int64_t all = bins.count();
  const PooledStrides stride{maps.classes * all, all, bins.columns, 1};
  std::vector<Range> tables(count * bins.ranges());
  for (int64_t r = 0; r < count; ++r) {
    const float* roi = rois + r * kRoiColumns;
    tabulate_max_pool(roi, is_valid(roi, maps.pictures), scale, bins, maps.height, maps.width,
                      tables.data() + r * bins.ranges());
  }
  for (int64_t p = 0; p < maps.pictures; ++p)
    for (int32_t y = 0; y < maps.height; ++y) {
      std::vector<int32_t> list;
      for (int64_t r = 0; r < count; ++r)
        if (reads_row(tables.data() + r * bins.ranges(), bins, y) &&
            static_cast<int64_t>(rois[r * kRoiColumns]) == p)
          list.push_back(static_cast<int32_t>(r));
      for (int64_t d = 0; d < maps.classes; ++d)
        for (int32_t x = 0; x < maps.width; ++x)
          result[maps.offset(p, d, 0, 0) + y * maps.width + x] = gradient_of_winner(
              gradient + d * all, stride, cells + d * all, stride, list.data(), list.size(),
              tables.data(), bins, y, x, static_cast<int32_t>(y * maps.width + x));
    }
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(SOURCE, tmp_path_factory.mktemp("host"))


def call(host, features, rois, size):
    """Maxima, cells, and a gradient sent back."""
    sizes = torch.tensor([*features.shape, *size])
    pooled = torch.full((len(rois), features.shape[1], *size), torch.nan, dtype=torch.float64)
    cells = torch.full(pooled.shape, -7, dtype=torch.int32)
    scale, count = ctypes.c_float(1 / 16), ctypes.c_int64(len(rois))
    to = [pointer(one) for one in (features, sizes, rois)]
    host.pool(*to, count, scale, pointer(pooled), pointer(cells))
    gradient = torch.randint(-9, 9, pooled.shape).double()
    found = torch.full_like(features, torch.nan)
    to = [pointer(one) for one in (gradient, cells, sizes, rois)]
    host.pool_backward(*to, count, scale, pointer(found))
    return pooled, cells, gradient, found


@pytest.mark.parametrize(
    ("size", "height", "width"), [((1, 1), 4, 5), ((3, 2), 1, 1), ((3, 2), 9, 7), ((7, 7), 10, 12)]
)
def test_one_element_forward_and_backward(host, make_rois, size, height, width):
    features = torch.randn(2, 3, height, width, dtype=torch.float64).mul(3).round()
    rois = make_rois(150, 2, 16 * height, 16 * width, seed=height)
    pooled, cells, gradient, found = call(host, features, rois, size)
    expected, expected_cells = reference.roi_pool(features, rois, size, 1 / 16)
    assert torch.equal(pooled, expected)
    assert torch.equal(cells.long(), expected_cells)
    by_definition = reference.roi_pool_backward(gradient, expected_cells, rois, features.shape)
    assert torch.equal(found, by_definition)


def test_bad_rows_give_zeros_and_nan_is_kept(host):  # what a GPU does where the CPU raises
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
    features = torch.tensor([[1.0, nan], [nan, inf]], dtype=torch.float64).expand(2, 1, 2, 2)
    pooled, cells, gradient, found = call(host, features.contiguous(), rois, (1, 1))
    assert not pooled[:7].any()
    assert pooled[7].isnan().all()
    assert cells.flatten().tolist() == [-1] * 7 + [1]
    assert not found[1].any()
    assert found[0].flatten().tolist() == [0, gradient[7], 0, 0]
