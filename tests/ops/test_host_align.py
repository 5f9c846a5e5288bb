"""What a CUDA thread of roi_align and psroi_align runs, compiled for the host and held against the
definitions."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer

from rfcn.ops.reference import psroi_align, roi_align

SOURCE = """
#include <vector>
#include "align.h"
using namespace rfcn;

struct Call {  // pictures, channels of a group, groups of a side, height, width, bins h and w
  ScoreMaps maps;
  AlignBins bins;
  Sampling<float> sampling;

  Call(const int64_t* s, float scale, int64_t ratio, bool aligned)
      : bins{s[5], s[6], s[2]}, sampling{scale, ratio, aligned} {
    const int64_t plane = s[3] * s[4], k = s[2];
    maps = {s[0], s[1], k, s[3], s[4],
            {s[1] * k * k * plane, k * k * plane, k * plane, plane, s[4], 1}};
  }
};

struct Bins1 {
  std::vector<Line> lines;
  std::vector<Tap<double>> taps;
  BinTable<double> table;
  Bins1(const Call& call, const float* rois, int64_t count, Axis axis, int64_t bins, int64_t limit)
      : lines(count * bins),
        taps(count * bins * BinTable<double>::most_taps(call.sampling.ratio, limit)),
        table{lines.data(), taps.data(), bins,
              BinTable<double>::most_taps(call.sampling.ratio, limit), limit} {
    for (int64_t n = 0; n < count * bins; ++n) {
      tabulate_bin(rois, call.maps.pictures, axis, call.sampling, table, n);
    }
  }
};

struct Cells1 {
  std::vector<double> weights;
  std::vector<Range> ranges;
  CellTable<double> table;
  Cells1(const Call& call, const float* rois, int64_t count, Axis axis, int64_t bins, int64_t limit)
      : weights(count * bins * limit), ranges(count * limit),
        table{weights.data(), ranges.data(), bins, limit} {
    for (int64_t n = 0; n < count * limit; ++n) {
      tabulate_cell(rois, call.maps.pictures, axis, call.sampling, table, n);
    }
  }
};

extern "C" void forward(const double* features, const int64_t* sizes, const float* rois,
                        int64_t count, float scale, int64_t ratio, bool aligned, double* pooled) {
  const Call call(sizes, scale, ratio, aligned);
  const AlignBins& bins = call.bins;
  const ScoreMaps& maps = call.maps;
  const Bins1 y(call, rois, count, Axis::y, bins.height, maps.height);
  const Bins1 x(call, rois, count, Axis::x, bins.width, maps.width);
  for (int64_t r = 0; r < count; ++r)
    for (int64_t c = 0; c < maps.classes; ++c)
      for (int64_t i = 0; i < bins.height; ++i)
        for (int64_t j = 0; j < bins.width; ++j) {
          const bool valid = is_valid(rois + 5 * r, maps.pictures);
          const double* map = features + maps.offset(valid ? int64_t(rois[5 * r]) : 0, c,
                                                     i / bins.rows(), j / bins.columns());
          *pooled++ = mean_of_samples(map, maps.stride.y, maps.stride.x,
                                      y.table.lines[r * bins.height + i],
                                      x.table.lines[r * bins.width + j], y.table.taps,
                                      x.table.taps);
        }
}

extern "C" void backward(const double* gradient, const int64_t* sizes, const float* rois,
                         int64_t count, float scale, int64_t ratio, bool aligned, double* result) {
  const Call call(sizes, scale, ratio, aligned);
  const AlignBins& bins = call.bins;
  const ScoreMaps& maps = call.maps;
  const Cells1 y(call, rois, count, Axis::y, bins.height, maps.height);
  const Cells1 x(call, rois, count, Axis::x, bins.width, maps.width);
  const int64_t area = bins.height * bins.width;
  const PooledStrides stride{maps.classes * area, area, bins.width, 1};
  const auto group = [](int64_t g, int64_t bins) {
    return Range{int32_t(g * bins), int32_t((g + 1) * bins)};
  };
  for (int64_t p = 0; p < maps.pictures; ++p)
    for (int64_t c = 0; c < maps.classes; ++c)
      for (int64_t i = 0; i < maps.k; ++i)
        for (int64_t j = 0; j < maps.k; ++j)
          for (int64_t cell_y = 0; cell_y < maps.height; ++cell_y)
            for (int64_t cell_x = 0; cell_x < maps.width; ++cell_x)
              *result++ = gradient_of_samples(gradient + c * area, stride, rois, count, y.table,
                                              x.table, group(i, bins.rows()),
                                              group(j, bins.columns()), p, cell_y, cell_x);
}

// Whether the weights of cells are those of the bins, bit for bit.
extern "C" bool tables_agree(const int64_t* sizes, const float* rois, int64_t count, float scale,
                             int64_t ratio, bool aligned) {
  const Call call(sizes, scale, ratio, aligned);
  const int64_t bins = call.bins.height, limit = call.maps.height;
  const Bins1 by_bin(call, rois, count, Axis::y, bins, limit);
  const Cells1 by_cell(call, rois, count, Axis::y, bins, limit);
  for (int64_t n = 0; n < count * bins; ++n) {
    std::vector<double> weights(limit, 0.0);
    const Line& line = by_bin.lines[n];
    for (int64_t t = line.first; t < line.first + line.taps; ++t) {
      weights[by_bin.taps[t].cell] = by_bin.taps[t].weight;
    }
    for (int64_t cell = 0; cell < limit; ++cell) {
      const int64_t at = n / bins * limit + cell;
      if (!is_valid(rois + n / bins * 5, call.maps.pictures)) {
        if (size(by_cell.ranges[at]) != 0) return false;
        continue;
      }
      if (by_cell.weights[at * bins + n % bins] != weights[cell]) return false;
      const Range range = by_cell.ranges[at];
      if (weights[cell] != 0 && (n % bins < range.begin || n % bins >= range.end)) return false;
    }
  }
  return true;
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    program = compile_host_program(SOURCE, tmp_path_factory.mktemp("host"))
    program.tables_agree.restype = ctypes.c_bool
    return program


def numbers(rois, scale, ratio, aligned):
    return (
        pointer(rois),
        ctypes.c_int64(len(rois)),
        ctypes.c_float(scale),
        ctypes.c_int64(ratio),
        ctypes.c_bool(aligned),
    )


@pytest.mark.parametrize(("ratio", "aligned"), [(0, True), (2, True), (3, False), (0, False)])
@pytest.mark.parametrize(("size", "bins"), [((9, 7), (3, 2)), ((4, 1), (1, 4)), ((10, 12), (7, 7))])
def test_one_element_of_roi_align(host, make_rois, ratio, aligned, size, bins):
    features = torch.randn(2, 3, *size, dtype=torch.float64)
    rois = make_rois(100, 2, 16 * size[0], 16 * size[1], seed=ratio)
    call = numbers(rois, 1 / 16, ratio, aligned)
    sizes = torch.tensor([2, 3, 1, *size, *bins])
    pooled = torch.full((100, 3, *bins), torch.nan, dtype=torch.float64)
    host.forward(pointer(features), pointer(sizes), *call, pointer(pooled))
    expected = roi_align.roi_align(features, rois, bins, 1 / 16, ratio, aligned)
    assert (pooled - expected).abs().max() <= 1e-12
    gradient, found = torch.randn_like(pooled), torch.full_like(features, torch.nan)
    host.backward(pointer(gradient), pointer(sizes), *call, pointer(found))
    expected = roi_align.roi_align_backward(gradient, rois, 1 / 16, ratio, aligned, features.shape)
    assert (found - expected).abs().max() <= 1e-12
    assert host.tables_agree(pointer(sizes), *call)


@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("k", [1, 3])
def test_one_element_of_psroi_align(host, make_rois, ratio, k):
    features = torch.randn(2, 2 * k * k, 9, 7, dtype=torch.float64)
    rois = make_rois(100, 2, 144, 112, seed=k)
    call, sizes = numbers(rois, 1 / 16, ratio, True), torch.tensor([2, 2, k, 9, 7, k, k])
    pooled = torch.full((100, 2, k, k), torch.nan, dtype=torch.float64)
    host.forward(pointer(features), pointer(sizes), *call, pointer(pooled))
    expected = psroi_align.psroi_align(features, rois, k, 1 / 16, ratio)
    assert (pooled - expected).abs().max() <= 1e-12
    gradient, found = torch.randn_like(pooled), torch.full_like(features, torch.nan)
    host.backward(pointer(gradient), pointer(sizes), *call, pointer(found))
    expected = psroi_align.psroi_align_backward(gradient, rois, 1 / 16, ratio, features.shape)
    assert (found - expected).abs().max() <= 1e-12


def test_bad_rows_give_zeros(host):  # what a GPU does where the CPU raises
    nan, inf = float("nan"), float("inf")
    bad = [[2.0, 0, 0, 9, 9], [-1, 0, 0, 9, 9], [0.5, 0, 0, 9, 9], [nan, 0, 0, 9, 9]]
    bad += [[0, nan, 0, 9, 9], [1, 0, 0, inf, 9], [1, -inf, 0, inf, 9]]
    rois = torch.tensor([*bad, [0, 0, 0, 2, 2], [0, -3e38, -3e38, 3e38, 3e38]])
    features = torch.ones(2, 1, 3, 3, dtype=torch.float64)
    sizes, pooled = torch.tensor([2, 1, 1, 3, 3, 1, 1]), torch.full((9,), torch.nan).double()
    for ratio in (0, 2):
        call = numbers(rois, 1.0, ratio, True)
        host.forward(pointer(features), pointer(sizes), *call, pointer(pooled))
        assert pooled.tolist() == [0] * 7 + [1, 0]
        gradient, found = torch.ones_like(pooled), torch.full_like(features, torch.nan)
        host.backward(pointer(gradient), pointer(sizes), *call, pointer(found))
        assert not found[1].any()
        assert found[0].sum() == 1
        assert host.tables_agree(pointer(sizes), *call)
