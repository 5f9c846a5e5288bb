"""What CUDA runs for deform_psroi_pool, compiled for the host and held against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer, run_sanitized

from rfcn.ops.reference import deform_psroi_pool as reference

BLOCKS = """
#include "block_deform_gather.h"
#include "host_team.h"
using namespace rfcn;

struct Sizes { int64_t pictures, classes, k, height, width, rois, groups, samples, by_bin; };

static ScoreMaps maps_of(const Sizes& s) {
  const int64_t plane = s.height * s.width, bins = s.k * s.k;
  const ScoreMaps maps{s.pictures, s.classes, s.k, s.height, s.width,
                       {s.classes * bins * plane, bins * plane, s.k * plane, plane, s.width, 1}};
  return s.by_bin ? order_by_bin(maps) : maps;
}

template <class S>
static DeformCall<S> call_of(const Sizes& s, const S* rois, const S* offsets, double scale) {
  const int64_t bins = s.k * s.k;
  return {maps_of(s), rois, {offsets, offsets == nullptr ? 1 : s.groups,
                             {s.groups * 2 * bins, 2 * bins, bins, s.k, 1}},
          {S(scale), S(0.1), s.k, s.samples}};
}

static EitherCall either(const Sizes& s, const void* rois, const void* offsets, bool wide) {
  EitherCall call{};
  call.wide = wide;
  if (wide) {
    call.twice = call_of(s, (const double*)rois, (const double*)offsets, 1.0 / 16);
  } else {
    call.single = call_of(s, (const float*)rois, (const float*)offsets, 1.0 / 16);
  }
  return call;
}

// The three kernels, as csrc/cuda/deform_psroi_pool.cu launches them. run(kernel, plan).
template <class Run>
void deform(const Sizes& s, const double* features, const void* rois, const void* offsets,
            bool wide, const double* gradient, double* pooled, double* to_maps, void* to_offsets,
            const Run& run) {
  const EitherCall call = either(s, rois, offsets, wide);
  using Forward = DeformKernel<double>;
  const SlotPlan plan = Forward::plan_for(s.rois, call);
  run(Forward{features, call, plan, pooled}, plan);
  const PooledStrides stride{s.classes * s.k * s.k, s.k * s.k, s.k, 1};
  using Gather = DeformGatherKernel<double>;
  const DeformGatherPlan rows = Gather::plan_for(call);
  run(Gather{gradient, stride, call, s.rois, rows, to_maps}, rows);
  if (offsets == nullptr) return;
  using Moves = DeformOffsetsKernel<double>;
  const SlotPlan slots = Moves::plan_for(s.rois, call);
  run(Moves{gradient, stride, features, call, slots, to_offsets}, slots);
}
"""

ON_HOST = """
extern "C" void deform_on_host(const Sizes* sizes, const double* features, const void* rois,
                               const void* offsets, bool wide, const double* gradient,
                               double* pooled, double* to_maps, void* to_offsets, unsigned seed) {
  deform(*sizes, features, rois, offsets, wide, gradient, pooled, to_maps, to_offsets,
         [&](const auto& kernel, const auto& plan) {
           if (kernel.shared_bytes() > kMostShared) throw 1;
           run_on_host(kernel, plan.tiles, plan.threads, seed);
         });
}
"""

ON_THREADS = """
// Real threads, and whether they agree with threads that take turns.
int main() {
  std::mt19937 g(3);
  for (const int64_t groups : {1, 3}) {
    const Sizes s{1, 3, 2, 5, 4, 9, groups, 3, 1};
    std::vector<double> features(3 * 4 * 20), gradient(9 * 3 * 4), rois, offsets(9 * groups * 8);
    for (double& one : features) one = g() % 100;
    for (double& one : gradient) one = g() % 10;
    for (double& one : offsets) one = g() % 5 * 0.5 - 1;
    for (int r = 0; r < 9; ++r) {
      const double x = g() % 40, y = g() % 60;
      rois.insert(rois.end(), {r == 4 ? 7.0 : 0.0, x, y, x + g() % 40, y + g() % 40});
    }
    std::vector<double> results[2][3];
    for (int way = 0; way < 2; ++way) {
      auto& found = results[way];
      found[0].assign(gradient.size(), 5), found[1].assign(features.size(), 5);
      found[2].assign(offsets.size(), 5);
      deform(s, features.data(), rois.data(), offsets.data(), true, gradient.data(),
             found[0].data(), found[1].data(), found[2].data(),
             [&](const auto& kernel, const auto& plan) {
               if (way == 0) run_on_threads(kernel, plan.tiles, plan.threads);
               if (way == 1) run_on_host(kernel, plan.tiles, plan.threads, 1);
             });
    }
    for (int n = 0; n < 3; ++n) {
      if (results[0][n] != results[1][n]) return 1 + n;
    }
  }
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(BLOCKS + ON_HOST, tmp_path_factory.mktemp("host"))


def by_bin(maps, classes, k):
    """[N, C*k*k, H, W] laid out [N][y][x][i][j][class]."""
    return maps.unflatten(1, (classes, k, k)).permute(0, 4, 5, 2, 3, 1).contiguous()


def run(host, features, rois, offsets, gradient, *, k, samples=4, order="by bin", seed=1):
    """Pooled scores, the gradient of the maps and of the offsets."""
    count, classes, pictures = len(rois), gradient.shape[1], len(features)
    groups = 1 if offsets is None else offsets.shape[1]
    shape = pictures, classes, k, *features.shape[2:]
    sizes = torch.tensor([*shape, count, groups, samples, order == "by bin"])
    maps = by_bin(features, classes, k) if order == "by bin" else features.contiguous()
    pooled = torch.full((count, k, k, classes), torch.nan, dtype=torch.float64)
    to_maps = torch.full_like(maps, torch.nan)
    to_offsets = torch.full((count, k, k, groups, 2), torch.nan, dtype=rois.dtype)
    host.deform_on_host(
        *(pointer(sizes), pointer(maps), pointer(rois)),
        None if offsets is None else pointer(offsets),
        ctypes.c_bool(rois.dtype == torch.float64),
        *(pointer(one) for one in (gradient, pooled, to_maps, to_offsets)),
        ctypes.c_uint(seed),
    )
    if order == "by bin":
        to_maps = to_maps.permute(0, 5, 3, 4, 1, 2).reshape(features.shape)
    return pooled.permute(0, 3, 1, 2), to_maps, to_offsets.permute(0, 3, 4, 1, 2)


@pytest.mark.parametrize("order", ["by bin", "planes"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("k", "classes", "groups", "samples", "height", "width"),
    [
        (1, 3, None, 4, 9, 5),
        (2, 4, 1, 3, 1, 1),
        (2, 6, 3, 4, 7, 6),
        (3, 5, 5, 2, 4, 9),
        (2, 40, 40, 20, 3, 4),
        (1, 300, 1, 4, 3, 20),
        (1, 2, 2, 256, 6, 6),
    ],
)
def test_blocks(host, make_rois, order, dtype, k, classes, groups, samples, height, width):
    torch.manual_seed(k)
    features = torch.randn(2, classes * k * k, height, width, dtype=torch.float64)
    rois = make_rois(40, 2, 16 * height, 16 * width, seed=k, dtype=dtype)
    offsets = None if groups is None else torch.randn(40, groups, 2, k, k, dtype=dtype)
    gradient = torch.randn(40, classes, k, k, dtype=torch.float64)
    sampling = reference.Sampling(k, 1 / 16, samples)
    expected = reference.deform_psroi_pool(features, rois, offsets, sampling)
    expected_maps, expected_offsets = reference.deform_psroi_pool_backward(
        gradient, features, rois, offsets, sampling
    )
    found = run(
        host, features, rois, offsets, gradient, k=k, samples=samples, order=order, seed=classes
    )
    assert (found[0] - expected).abs().max() <= 1e-12
    assert (found[1] - expected_maps).abs().max() <= 1e-11
    if offsets is not None:
        tolerance = 1e-11 if dtype == torch.float64 else 1e-5 * expected_offsets.abs().max()
        assert (found[2] - expected_offsets).abs().max() <= tolerance


def test_many_rois_and_columns_go_in_pieces(host, make_rois):
    # More RoIs than are looked through at a time, and rows longer than a block holds.
    features = torch.randn(1, 60, 2, 150, dtype=torch.float64)
    rois = make_rois(1200, 1, 32, 2400, seed=5)
    gradient = torch.randn(1200, 60, 1, 1, dtype=torch.float64)
    sampling = reference.Sampling(1, 1 / 16)
    expected = reference.deform_psroi_pool(features, rois, None, sampling)
    maps, _ = reference.deform_psroi_pool_backward(gradient, features, rois, None, sampling)
    pooled, to_maps, _ = run(host, features, rois, None, gradient, k=1)
    assert (pooled - expected).abs().max() <= 1e-12
    assert (to_maps - maps).abs().max() <= 1e-11


def test_bad_rows_give_zeros(host):  # what a GPU does where the CPU raises
    nan, inf = float("nan"), float("inf")
    bad = [[2.0, 0, 0, 9, 9], [-1, 0, 0, 9, 9], [0.5, 0, 0, 9, 9], [nan, 0, 0, 9, 9]]
    bad += [[0, nan, 0, 9, 9], [1, 0, 0, inf, 9], [1, -inf, 0, inf, 9]]
    rois = torch.tensor([*bad, [0, 0, 0, 31, 31]])
    features = torch.ones(2, 4, 2, 2, dtype=torch.float64)
    gradient = torch.ones(8, 1, 2, 2, dtype=torch.float64)
    offsets = torch.zeros(8, 1, 2, 2, 2)
    offsets[0] = nan  # of a row that is zero anyway
    offsets[7, 0, 0, 1, 1] = nan
    pooled, maps, moves = run(host, features, rois, offsets, gradient, k=2)
    assert not pooled[:7].any()
    assert not moves[:7].any()
    assert pooled[7].flatten().tolist()[:3] == [1, 1, 1]
    assert pooled[7, 0, 1, 1].isnan()
    assert moves[7, 0, :, 1, 1].isnan().all()
    assert not maps[1].any()
    assert maps[0].sum() == pytest.approx(3)


@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
def test_threads_neither_race_nor_stray(tmp_path, sanitizers):
    run_sanitized(BLOCKS + ON_THREADS, tmp_path, sanitizers)
