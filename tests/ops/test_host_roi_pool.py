"""What CUDA runs for roi_pool, compiled for the host and held against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer, run_sanitized
from roi_op_contract import channels_last

from rfcn.ops.reference import roi_pool as reference

BLOCKS = """
#include "block_roi_pool.h"
#include "host_team.h"
using namespace rfcn;

// What csrc/cuda/roi_pool.cu launches. Sizes: pictures, channels, height, width, bin rows, columns.
struct Call {
  ScoreMaps maps;
  Bins bins;
  int64_t count;
  PooledStrides stride;

  Call(const int64_t* s, int64_t rois, bool last)
      : maps{s[0], s[1], 1, s[2], s[3], {}}, bins{s[4], s[5]}, count(rois) {
    const int64_t plane = s[2] * s[3], all = bins.count();
    maps.stride = last ? ScoreMaps::Strides{s[1] * plane, 1, 0, 0, s[3] * s[1], s[1]}
                       : ScoreMaps::Strides{s[1] * plane, plane, 0, 0, s[3], 1};
    stride = last ? PooledStrides{s[1] * all, 1, s[5] * s[1], s[1]}
                  : PooledStrides{s[1] * all, all, s[5], 1};
  }

  template <class T, class Run>
  void forward(const T* features, const float* rois, float scale, T* pooled, int32_t* cells,
               const Run& run) const {
    const MaxPoolKernel<T, float> kernel{features, maps, rois, count, scale, bins, pooled, cells};
    run(kernel, kernel.tiles(), kMostThreads);
  }

  template <class T, class Run>
  void backward(const T* gradient, const int32_t* cells, const float* rois, float scale, T* result,
                const Run& run) const {
    const int64_t k = longer_side(bins), words = RoiTables::words(count, k);
    std::vector<int64_t> memory(words);
    for (int64_t n = 0; n < words; ++n) {
      tabulate_max_pool(n, rois, count, scale, bins, maps, memory.data());
    }
    const MaxGather<T> kernel{{gradient, stride, tables_in(memory.data(), count, k), maps,
                               MaxGather<T>::plan_for(maps), result},
                              bins, cells, stride};
    run(kernel, kernel.plan.tiles, kernel.plan.threads);
  }
};
"""

ON_HOST = """
extern "C" void pool(const double* features, const int64_t* sizes, const float* rois, int64_t count,
                     bool last, unsigned seed, double* pooled, int32_t* cells) {
  Call(sizes, count, last)
      .forward(features, rois, 1.0f / 16, pooled, cells,
               [&](const auto& kernel, int64_t tiles, int threads) {
                 run_on_host(kernel, tiles, threads, seed);
               });
}

extern "C" void pool_backward(const double* gradient, const int32_t* cells, const int64_t* sizes,
                              const float* rois, int64_t count, bool last, unsigned seed,
                              double* result) {
  Call(sizes, count, last)
      .backward(gradient, cells, rois, 1.0f / 16, result,
                [&](const auto& kernel, int64_t tiles, int threads) {
                  run_on_host(kernel, tiles, threads, seed);
                });
}
"""

ON_THREADS = """
// Real threads, and whether they agree with threads that take turns.
int main() {
  std::mt19937 g(7);
  for (const bool last : {false, true}) {
    const int64_t sizes[] = {2, 40, 5, 6, 2, 3};
    const int64_t count = 12;
    const Call call(sizes, count, last);
    std::vector<float> features(2 * 40 * 5 * 6), rois;
    for (float& one : features) one = g() % 7;
    for (int64_t r = 0; r < count; ++r) {
      const float x = g() % 90, y = g() % 70;
      rois.insert(rois.end(), {float(r % 3), x, y, x + g() % 60, y + g() % 60});  // 2: no picture
    }
    const size_t made = count * 40 * 6;
    std::vector<float> pooled[2], back[2];
    std::vector<int32_t> cells[2];
    for (int way = 0; way < 2; ++way) {
      const auto run = [&](const auto& kernel, int64_t tiles, int threads) {
        if (way == 0) run_on_host(kernel, tiles, threads, 1);
        if (way == 1) run_on_threads(kernel, tiles, threads);
      };
      pooled[way].resize(made), cells[way].resize(made), back[way].resize(features.size());
      call.forward(features.data(), rois.data(), 1.0f / 16, pooled[way].data(), cells[way].data(),
                   run);
      call.backward(pooled[way].data(), cells[way].data(), rois.data(), 1.0f / 16,
                    back[way].data(), run);
    }
    if (pooled[0] != pooled[1] || cells[0] != cells[1] || back[0] != back[1]) return 1;
  }
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(BLOCKS + ON_HOST, tmp_path_factory.mktemp("host"))


def call(host, features, rois, size, seed=0):
    """Maxima, cells, and a gradient sent back, in the memory order of the features."""
    last = features.stride(1) == 1
    order = channels_last if last else torch.Tensor.contiguous
    shape = (len(rois), features.shape[1], *size)
    pooled = order(torch.full(shape, torch.nan, dtype=torch.float64))
    cells = order(torch.full(shape, -7, dtype=torch.int32))
    sizes, count = torch.tensor([*features.shape, *size]), ctypes.c_int64(len(rois))
    to = [pointer(one) for one in (features, sizes, rois)]
    host.pool(*to, count, last, seed, pointer(pooled), pointer(cells))
    g = torch.Generator().manual_seed(1)
    gradient = order(torch.randint(-9, 9, shape, generator=g).double())
    found = torch.full_like(features, torch.nan)
    to = [pointer(one) for one in (gradient, cells, sizes, rois)]
    host.pool_backward(*to, count, last, seed, pointer(found))
    return pooled, cells, gradient, found


@pytest.mark.parametrize("order", [torch.Tensor.contiguous, channels_last])
@pytest.mark.parametrize(
    ("size", "channels", "height", "width", "count"),
    [
        ((1, 1), 3, 4, 5, 150),
        ((3, 2), 3, 1, 1, 150),
        ((3, 2), 3, 9, 7, 150),
        ((2, 5), 40, 9, 7, 50),
        ((7, 7), 2, 10, 12, 150),
        ((2, 2), 300, 3, 90, 9),
        ((40, 2), 1, 3, 3000, 9),
        ((1, 2), 1, 3, 4, 4500),
        ((2, 2), 3, 4, 5, 0),
    ],
)
def test_whole_blocks(host, make_rois, order, size, channels, height, width, count):
    g = torch.Generator().manual_seed(width)
    features = torch.randn(2, channels, height, width, generator=g, dtype=torch.float64)
    features = order(features.mul(3).round())
    rois = make_rois(count, 2, 16 * height, 16 * width, seed=height)
    expected, expected_cells = reference.roi_pool(features, rois, size, 1 / 16)
    for seed in (0, 3):  # neither threads nor blocks have an order
        pooled, cells, gradient, found = call(host, features, rois, size, seed)
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


@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
def test_threads_neither_race_nor_stray(tmp_path, sanitizers):
    run_sanitized(BLOCKS + ON_THREADS, tmp_path, sanitizers)
