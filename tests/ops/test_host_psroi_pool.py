"""What a CUDA thread of psroi_pool runs, compiled for the host and held against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer

from rfcn.ops.checks import SEMANTICS
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

static Cutting<float> cut_like(int32_t semantics, float scale, int64_t k) {
  return {static_cast<Semantics>(semantics), scale, k};
}

extern "C" void pool(const double* features, const int64_t* sizes, const float* rois, int64_t count,
                     float scale, int32_t semantics, double* pooled) {
  const ScoreMaps maps = plain(sizes);
  const auto cutting = cut_like(semantics, scale, maps.k);
  for (int64_t n = 0; n < count * maps.classes * maps.k * maps.k; ++n) {
    const int64_t j = n % maps.k, i = n / maps.k % maps.k, c = n / maps.k / maps.k % maps.classes;
    const int64_t r = n / maps.k / maps.k / maps.classes;
    pooled[n] = pooled_score(features, maps, rois + r * kRoiColumns, cutting, c, i, j);
  }
}

extern "C" void vote(const double* features, const int64_t* sizes, const float* rois, int64_t count,
                     float scale, int32_t semantics, double* votes) {
  const ScoreMaps maps = plain(sizes);
  const auto cutting = cut_like(semantics, scale, maps.k);
  for (int64_t n = 0; n < count * maps.classes; ++n) {
    const float* roi = rois + n / maps.classes * kRoiColumns;
    votes[n] = voted_score(features, maps, roi, cutting, n % maps.classes);
  }
}

// voters: 1, of a gradient [rois, classes, k, k], or k * k, of one [rois, classes].
extern "C" void backward(const double* gradient, int64_t voters, const int64_t* sizes,
                         const float* rois, int64_t count, float scale, int32_t semantics,
                         double* result) {
  const ScoreMaps maps = plain(sizes);
  const int64_t k = maps.k, bins = voters == 1 ? k * k : 1, row = voters == 1 ? k : 0;
  const auto cutting = cut_like(semantics, scale, k);
  std::vector<Range> tables(count * 2 * k);
  for (int64_t r = 0; r < count; ++r) {
    const float* roi = rois + r * kRoiColumns;
    tabulate_cells(roi, is_valid(roi, maps.pictures), cutting, maps.height, maps.width,
                   tables.data() + r * 2 * k);
  }
  int64_t n = 0;
  for (int64_t p = 0; p < maps.pictures; ++p)
    for (int64_t c = 0; c < maps.classes; ++c)
      for (int64_t i = 0; i < k; ++i)
        for (int64_t j = 0; j < k; ++j)
          for (int64_t y = 0; y < maps.height; ++y)
            for (int64_t x = 0; x < maps.width; ++x)
              result[n++] = gradient_of_cell(gradient + c * bins + i * row + (row ? j : 0),
                                             maps.classes * bins, voters, rois, count,
                                             tables.data(), k, p, i, j, y, x);
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(SOURCE, tmp_path_factory.mktemp("host"))


def run(host, name, given, sizes, rois, semantics, result, *, voters=None):
    """Calls a function of the host program, scale 1/16."""
    begin = [pointer(given)] if voters is None else [pointer(given), ctypes.c_int64(voters)]
    numbers = ctypes.c_int64(len(rois)), ctypes.c_float(1 / 16), ctypes.c_int32(semantics)
    getattr(host, name)(*begin, pointer(sizes), pointer(rois), *numbers, pointer(result))
    return result


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize(("k", "height", "width"), [(1, 4, 5), (3, 1, 1), (3, 9, 7), (7, 10, 12)])
def test_one_element_forward_and_backward(host, make_rois, k, height, width, semantics):
    features = torch.randn(2, 3 * k * k, height, width, dtype=torch.float64)
    rois = make_rois(150, 2, 16 * height, 16 * width, seed=k)
    sizes, number = torch.tensor([2, 3, k, height, width]), SEMANTICS.index(semantics)
    nan = torch.full((150, 3, k, k), torch.nan, dtype=torch.float64)
    pooled = run(host, "pool", features, sizes, rois, number, nan)
    expected = reference.psroi_pool(features, rois, k, 1 / 16, semantics)
    assert (pooled - expected).abs().max() <= 1e-12
    votes = run(host, "vote", features, sizes, rois, number, torch.full_like(nan[..., 0, 0], 9))
    assert (votes - expected.mean((2, 3))).abs().max() <= 1e-12
    for gradient, voters in ((torch.randn_like(pooled), 1), (torch.randn_like(votes), k * k)):
        found = torch.full_like(features, torch.nan)
        run(host, "backward", gradient, sizes, rois, number, found, voters=voters)
        of_bins = gradient.view(150, 3, k if voters == 1 else 1, -1).expand(nan.shape) / voters
        args = (of_bins, rois, k, 1 / 16, features.shape, semantics)
        assert (found - reference.psroi_pool_backward(*args)).abs().max() <= 1e-12


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
    run(host, "pool", features, sizes, rois, 0, pooled)
    assert pooled[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    votes = run(host, "vote", features, sizes, rois, 0, torch.full((8, 1), 9, dtype=torch.float64))
    assert votes.flatten().tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    found = torch.full_like(features, torch.nan)
    run(host, "backward", torch.ones_like(pooled), sizes, rois, 0, found, voters=1)
    assert not found[1].any()
    assert found[0].sum() == 4
