"""What CUDA runs for psroi_pool and psroi_vote, on the host and held against the definition."""

import pytest
import torch
from host_pooling import DTYPES, ORDERS, HostPooling, lay_out, shared
from host_program import run_sanitized

from rfcn.ops.checks import SEMANTICS
from rfcn.ops.plain import psroi_pool as plain
from rfcn.ops.reference import psroi_pool as reference

SCALE = 1 / 16


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return HostPooling(tmp_path_factory.mktemp("host"))


def maps_of(pictures, classes, k, height, width, dtype=torch.float64):
    """Score maps [N, C, k, k, H, W]."""
    g = torch.Generator().manual_seed(classes + k)
    shape = (pictures, classes, k, k, height, width)
    return torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)


def rois_of(make_rois, maps, count, dtype=torch.float32):
    height, width = maps.shape[4:]
    return make_rois(count, len(maps), 16 * height, 16 * width, seed=count, dtype=dtype)


@pytest.mark.parametrize("semantics", SEMANTICS)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("classes", "k", "height", "width", "dtype"),
    [(3, 1, 4, 5, torch.float32), (2, 3, 1, 1, torch.float32), (4, 3, 9, 7, torch.float64),
     (1, 7, 10, 12, torch.float32)],
)  # fmt: skip
def test_forward_and_backward(host, make_rois, classes, k, height, width, dtype, order, semantics):
    maps = lay_out(maps_of(2, classes, k, height, width), order)
    rois = rois_of(make_rois, maps, 70, dtype)
    flat = maps.flatten(1, 3)
    expected = reference.psroi_pool(flat, rois, k, SCALE, semantics)
    for seed in (0, 1):
        pooled, votes = host.forward(maps, rois, SCALE, semantics, seed=seed)
        assert (pooled - expected).abs().max() <= 1e-12
        assert (votes - expected.mean((2, 3))).abs().max() <= 1e-12
    of_bins, of_votes = torch.randn_like(pooled), torch.randn_like(votes)
    for gradient in (of_bins, of_bins.contiguous(), of_votes):
        whole = gradient if gradient.dim() == 4 else gradient[:, :, None, None] / k**2
        args = (whole.expand(expected.shape), rois, k, SCALE, flat.shape, semantics)
        gradient_of_maps = reference.psroi_pool_backward(*args)
        for seed in (0, 1):
            found = host.psroi_backward(gradient, maps, rois, SCALE, semantics, seed=seed)
            assert found.stride() == maps.stride()
            assert (found.flatten(1, 3) - gradient_of_maps).abs().max() <= 1e-12


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("classes", "k", "height", "width", "count"),
    [(300, 2, 3, 5, 30), (70, 3, 6, 40, 60), (21, 7, 12, 90, 20), (2, 2, 2, 3000, 90),
     (1, 1, 3, 4, 9000), (8, 5, 7, 9, 0)],
    ids=["many classes", "some classes", "usual", "wide", "many RoIs", "no RoIs"],
)  # fmt: skip
def test_every_way_to_share_the_work(host, make_rois, classes, k, height, width, count, order):
    maps = lay_out(maps_of(2, classes, k, height, width), order).requires_grad_()
    rois = rois_of(make_rois, maps, count)
    expected = plain.psroi_pool(maps, rois, SCALE)
    given = torch.randn_like(expected)
    (gradient_of_maps,) = torch.autograd.grad(expected, maps, given)
    results = []
    for seed in (0, 3):
        pooled, votes = host.forward(maps.detach(), rois, SCALE, seed=seed)
        found = host.psroi_backward(given, maps.detach(), rois, SCALE, seed=seed)
        results.append((pooled, votes, found))
    assert torch.allclose(pooled, expected, rtol=0, atol=1e-11)
    assert torch.allclose(votes, expected.mean((2, 3)), rtol=0, atol=1e-11)
    assert torch.allclose(found, gradient_of_maps, rtol=0, atol=1e-11)
    for a, b in zip(*results, strict=True):  # neither threads nor blocks have an order
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("classes", [8, 16])
def test_packs_of_classes(host, make_rois, classes, dtype):
    maps = lay_out(maps_of(2, classes, 3, 6, 9, dtype), "by bin")
    rois = rois_of(make_rois, maps, 80)
    for seed in (0, 1):  # offsets of 32 and of 64 bits
        one = host.forward(maps, rois, SCALE, seed=seed)
        packs = host.forward(maps, rois, SCALE, packs=True, seed=seed)
        for a, b in zip(one, packs, strict=True):
            assert torch.equal(a, b)
    assert host.forward(lay_out(maps, "planes"), rois, SCALE, packs=True) is None
    assert host.forward(maps[:, :7], rois, SCALE, packs=True) is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_rounds_once(host, make_rois, dtype):
    maps = lay_out(maps_of(2, 5, 3, 8, 9, dtype), "by bin")
    rois = rois_of(make_rois, maps, 80)
    for a, b in zip(
        host.forward(maps, rois, SCALE), host.forward(maps.float(), rois, SCALE), strict=True
    ):
        assert torch.equal(a, b.to(dtype))
    given = torch.randn(80, 5, 3, 3).to(dtype)
    found = host.psroi_backward(given, maps, rois, SCALE)
    wide = host.psroi_backward(given.float(), maps.float(), rois, SCALE)
    assert torch.equal(found, wide.to(dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("shape", [(2, 5, 3, 7, 9), (1, 40, 2, 33, 1), (3, 1, 7, 1, 40)])
def test_copies_in_order(host, shape, order, dtype):
    maps = lay_out(maps_of(*shape, dtype), order)
    expected = maps.permute(0, 4, 5, 2, 3, 1).flatten()
    assert torch.equal(host.order(maps), expected)
    assert torch.equal(
        host.order(maps[..., ::2]), maps[..., ::2].permute(0, 4, 5, 2, 3, 1).flatten()
    )
    features = maps[:, :, 0, 0]  # one map for all bins
    assert torch.equal(host.order(shared(features, 4)), features.permute(0, 2, 3, 1).flatten())


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
    maps = torch.ones(2, 1, 2, 2, 2, 2, dtype=torch.float64)
    pooled, votes = host.forward(maps, rois, SCALE)
    assert pooled[:, 0, 0, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    assert votes[:, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1]
    found = host.psroi_backward(torch.ones_like(pooled), maps, rois, SCALE)
    assert not found[1].any()
    assert found[0].sum() == 4


SANITIZED = """
#include "host_pooling.h"
using namespace rfcn;

// Every plan stays within what a block may have.
static bool plans_fit() {
  for (const int64_t classes : {0, 1, 3, 8, 21, 63, 64, 81, 255, 256, 257, 1204, 5000}) {
    for (const int64_t k : {1, 3, 7, 14, 31}) {
      for (const int64_t width : {0, 1, 38, 63, 1000, 100000}) {
        const ScoreMaps maps = order_by_bin({2, classes, k, 4, width, {}});
        const auto fits = [](const auto& kernel) {
          const auto& plan = kernel.plan;
          return plan.threads >= kWarp && plan.threads <= kMostThreads &&
                 plan.threads % kWarp == 0 && kernel.shared_bytes() <= kMostShared;
        };
        for (const int64_t rois : {0, 1, 300, 2000, 100000}) {
          const PoolSource<double, 1> source{nullptr, maps, true, {nullptr, false, rois, 1.0, {}}};
          using Pool = PoolKernel<double, 1>;
          using Vote = VoteKernel<double, 1>;
          if (!fits(Pool{source, Pool::plan_for(rois, maps), nullptr})) return false;
          if (!fits(Vote{source, Vote::plan_for(rois, maps), nullptr})) return false;
        }
        using Gather = PsroiGather<double>;
        const RoiTables none{nullptr, nullptr, 0, k};
        const Gather gather{{nullptr, {}, none, maps, Gather::plan_for(maps), nullptr}, 1};
        if (!fits(gather)) return false;
      }
    }
  }
  return true;
}

static std::vector<float> numbers(int64_t count, std::mt19937& g, int most, int least) {
  std::vector<float> made(count);
  for (float& one : made) one = static_cast<int>(g() % (most - least)) + least;
  return made;
}

// Real threads agree with threads that take turns.
static bool agree(ScoreMaps maps, int64_t count, bool forth, bool back, std::mt19937& g) {
  const int64_t plane = maps.height * maps.width, bins = maps.k * maps.k;
  const int64_t channels = maps.classes * bins, cells = maps.pictures * channels * plane;
  const auto features = numbers(cells, g, 9, -9), gradient = numbers(count * channels, g, 9, -9);
  auto rois = numbers(count * 5, g, 96, -20);
  for (int64_t r = 0; r < count; ++r) rois[5 * r] = r % (maps.pictures + 1);  // one is none
  const auto& s = maps.stride;
  Call call{{maps.pictures, maps.classes, maps.k, maps.height, maps.width},
            {s.picture, s.klass, s.i, s.j, s.y, s.x}, rois.data(), count, 0, 0, 0, 1.0 / 16};
  const int64_t stride[] = {channels, 1, maps.k * maps.classes, maps.classes};
  std::vector<float> results[2];
  for (int way = 0; way < 2; ++way) {
    call.seed = way - 1;
    results[way].assign(count * (channels + maps.classes) + 4 * cells, 77.f);
    float* at = results[way].data();
    const bool packs = s.klass == 1 && maps.classes % 4 == 0;
    if (forth) forward(call, features.data(), packs, at, at + count * channels);
    if (!back) continue;
    at += count * (channels + maps.classes);
    backward<PsroiGather>(call, gradient.data(), stride, at, int64_t(1));
    order(call, features.data(), at + cells);
    call.strides[2] = call.strides[3] = 0;  // one map for all bins
    backward<AverageGather>(call, gradient.data(), stride, at + 2 * cells);
    order(call, features.data(), at + 3 * cells);
    call.strides[2] = s.i, call.strides[3] = s.j;
  }
  return results[0] == results[1];
}

int main() {
  std::mt19937 g(5);
  if (!plans_fit()) return 2;
  const ScoreMaps planes{2, 8, 2, 2, 5, {320, 40, 20, 10, 5, 1}};
  if (!agree(planes, 9, true, true, g)) return 1;
  if (!agree(order_by_bin(planes), 9, true, true, g)) return 1;
  // More bins than a vote holds at a time, more RoIs than a gather looks through at a time.
  if (!agree(order_by_bin({1, 8, 24, 1, 1, {}}), 1, true, false, g)) return 3;
  if (!agree(order_by_bin({1, 40, 1, 1, 1, {}}), GatherPlan::kRois + 9, false, true, g)) return 4;
}
"""


@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
def test_threads_neither_race_nor_stray(tmp_path, sanitizers):
    run_sanitized(SANITIZED, tmp_path, sanitizers)
