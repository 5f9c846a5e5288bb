"""What CUDA runs for soft_nms, compiled for the host and held against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer, run_sanitized

from rfcn.ops.reference import soft_nms as reference

OVERLAPS = """
#include "soft_nms.h"
using namespace rfcn;

extern "C" void overlaps(const float* boxes, int64_t count, float* found) {
  for (int64_t a = 0; a < count; ++a)
    for (int64_t b = 0; b < count; ++b)
      found[a * count + b] = iou(box_of(boxes + 4 * a), box_of(boxes + 4 * b));
}
"""

BLOCKS = """
#include "block_soft_nms.h"
#include "host_team.h"
using namespace rfcn;

// As csrc/cuda/soft_nms.cu launches it. run(kernel, tiles, threads).
template <class S, class Run>
std::vector<S> soft_nms(const S* boxes, const S* scores, const int64_t* groups, int64_t count,
                        int64_t limit, SoftRules<S> rules, int threads, const Run& run) {
  std::vector<S> falling(scores, scores + count), rescored(count, S(7));
  const SoftNmsRuns<S> kernel{boxes, groups,         count,          limit,
                              rules, falling.data(), rescored.data()};
  run(kernel, kernel.tiles(), threads);
  return rescored;
}
"""

ON_HOST = """
extern "C" void soft_nms_blocks(const double* boxes, const double* scores, const int64_t* groups,
                                int64_t count, int64_t limit, int32_t decay, unsigned seed,
                                double* rescored) {
  const SoftRules<double> rules{static_cast<Decay>(decay), 0.3, 0.5, 0.05};
  const auto found = soft_nms(boxes, scores, groups, count, limit, rules, 256,
                              [&](const auto& kernel, int64_t tiles, int threads) {
                                run_on_host(kernel, tiles, threads, seed);
                              });
  std::copy(found.begin(), found.end(), rescored);
}
"""

ON_THREADS = """
// Real threads, and whether they agree with threads that take turns.
int main() {
  std::mt19937 g(7);
  const int64_t count = 90;
  std::vector<float> boxes, scores;
  std::vector<int64_t> groups;
  for (int64_t n = 0; n < count; ++n) {
    const float x = g() % 40, y = g() % 40;
    boxes.insert(boxes.end(), {x, y, x + g() % 30, y + g() % 30});
    scores.push_back((g() % 9) / 8.0f);
    groups.push_back(n / 50);
  }
  for (const Decay decay : {Decay::linear, Decay::gaussian}) {
    for (const bool grouped : {false, true}) {
      const SoftRules<float> rules{decay, 0.3f, 0.5f, 0.05f};
      const int64_t* group = grouped ? groups.data() : nullptr;
      const auto found = soft_nms(boxes.data(), scores.data(), group, count, 20, rules, 64,
                                  [](const auto& kernel, int64_t tiles, int threads) {
                                    run_on_threads(kernel, tiles, threads);
                                  });
      const auto expected = soft_nms(boxes.data(), scores.data(), group, count, 20, rules, 256,
                                     [](const auto& kernel, int64_t tiles, int threads) {
                                       run_on_host(kernel, tiles, threads, 1);
                                     });
      if (found != expected) return 1;
    }
  }
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(OVERLAPS + BLOCKS + ON_HOST, tmp_path_factory.mktemp("host"))


def test_iou_is_a_fraction_for_any_box(host):  # O22: empty, reversed, huge, not finite
    numbers = torch.tensor([0.0, 1, -1, 5, 1e-30, 3e38, -3e38, torch.inf, torch.nan])
    boxes = torch.cartesian_prod(*[numbers] * 4)[::23].contiguous()
    found = torch.full((len(boxes), len(boxes)), torch.nan)
    host.overlaps(pointer(boxes), ctypes.c_int64(len(boxes)), pointer(found))
    assert ((found >= 0) & (found <= 1)).all()
    square = torch.tensor([[0.0, 0, 4, 4], [0, 0, 4, 2], [4, 0, 8, 4]])
    found = torch.empty(3, 3)
    host.overlaps(pointer(square), ctypes.c_int64(3), pointer(found))
    assert found.tolist() == [[1, 0.5, 0], [0.5, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("decay", [0, 1], ids=["linear", "gaussian"])
@pytest.mark.parametrize("count", [0, 1, 2, 255, 257])
def test_whole_blocks(host, decay, count):  # O21
    g = torch.Generator().manual_seed(count)
    corners = torch.randint(0, 40, (count, 2), generator=g).double()
    boxes = torch.cat([corners, corners + torch.randint(0, 25, (count, 2), generator=g)], 1)
    scores = torch.randint(0, 30, (count,), generator=g).double() / 32
    scores[3::7] = torch.nan
    groups = torch.randint(-2, 2, (count,), generator=g).sort().values
    for one in (None, groups):
        method = ("linear", "gaussian")[decay]
        taken, expected_scores = reference.soft_nms(
            boxes, scores, method=method, score_threshold=0.05, groups=one
        )
        expected = torch.full((count,), -torch.inf, dtype=torch.float64)
        expected[taken] = torch.tensor(expected_scores, dtype=torch.float64)
        for seed in (0, 1):
            found = torch.empty_like(expected)
            to = [pointer(boxes), pointer(scores), None if one is None else pointer(one)]
            limit = ctypes.c_int64(count)
            host.soft_nms_blocks(*to, limit, limit, decay, seed, pointer(found))
            assert torch.equal(found > -torch.inf, expected > -torch.inf)
            assert (found - expected).nan_to_num(nan=0.0).abs().le(1e-12).all()


@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
def test_threads_neither_race_nor_stray(tmp_path, sanitizers):
    run_sanitized(BLOCKS + ON_THREADS, tmp_path, sanitizers)
