"""What CUDA runs for nms, compiled for the host and held against the definition."""

import ctypes

import pytest
import torch
from host_program import compile_host_program, pointer, run_sanitized

from rfcn.ops.reference import nms as reference

PAIRS = """
#include "nms.h"
using namespace rfcn;

extern "C" void pairs(const float* boxes, int64_t count, float threshold, bool* found) {
  for (int64_t a = 0; a < count; ++a)
    for (int64_t b = 0; b < count; ++b) {
      const Box<float> one = box_of(boxes + 4 * a), other = box_of(boxes + 4 * b);
      found[a * count + b] = suppresses(one, other, threshold);
      if (found[a * count + b] && !may_suppress(one, other, below(threshold))) {
        found[a * count + b] = false;  // the short cut must not lose a pair
      }
    }
}
"""

BLOCKS = """
#include "block_nms.h"
#include "host_team.h"
using namespace rfcn;

// Both kernels, as csrc/cuda/nms.cu launches them. run(kernel, tiles, threads).
template <class S, class Run>
void nms(const S* boxes, const int64_t* groups, int64_t count, S threshold, int64_t limit,
         bool elsewhere, int threads, bool* keep, const Run& run) {
  const int64_t words = divide_up(count, kWordBoxes);
  std::vector<uint64_t> bits(count * words, 0x5555555555555555);
  const NmsPairs<S> pairs{boxes, groups, count, words, threshold, below(threshold), bits.data()};
  run(pairs, pairs.tiles(), kWordBoxes);
  std::vector<uint32_t> alive(NmsWalk::alive_words(words));
  run(NmsWalk{bits.data(), count, words, limit, elsewhere ? alive.data() : nullptr, keep}, 1,
      threads);
}
"""

ON_HOST = """
extern "C" void nms_blocks(const float* boxes, const int64_t* groups, int64_t count,
                           float threshold, int64_t limit, bool elsewhere, unsigned seed,
                           bool* keep) {
  nms(boxes, groups, count, threshold, limit, elsewhere, 1024, keep,
      [&](const auto& kernel, int64_t tiles, int threads) {
        run_on_host(kernel, tiles, threads, seed);
      });
}
"""

ON_THREADS = """
// Real threads, and whether they agree with threads that take turns.
int main() {
  std::mt19937 g(7);
  for (const int64_t count : {1, 200}) {
    std::vector<float> boxes;
    std::vector<int64_t> groups;
    for (int64_t n = 0; n < count; ++n) {
      const float x = g() % 60, y = g() % 60;
      boxes.insert(boxes.end(), {x, y, x + g() % 30, y + g() % 30});
      groups.push_back(g() % 2);
    }
    for (const int64_t limit : {int64_t(20), count}) {
      for (const bool grouped : {false, true}) {
        const int64_t* group = grouped ? groups.data() : nullptr;
        std::vector<char> keep(count, 7), expected(count, 3);
        nms(boxes.data(), group, count, 0.4f, limit, limit == 20, 96,
            reinterpret_cast<bool*>(keep.data()),
            [](const auto& kernel, int64_t tiles, int threads) {
              run_on_threads(kernel, tiles, threads);
            });
        nms(boxes.data(), group, count, 0.4f, limit, false, 1024,
            reinterpret_cast<bool*>(expected.data()),
            [](const auto& kernel, int64_t tiles, int threads) {
              run_on_host(kernel, tiles, threads, 1);
            });
        if (keep != expected) return 1;
      }
    }
  }
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    return compile_host_program(PAIRS + BLOCKS + ON_HOST, tmp_path_factory.mktemp("host"))


def test_one_pair_of_boxes(host):
    g = torch.Generator().manual_seed(0)
    corners = torch.randint(0, 8, (60, 2), generator=g)
    boxes = torch.cat([corners, corners + torch.randint(0, 8, (60, 2), generator=g)], 1).float()
    found = torch.zeros(60, 60, dtype=torch.bool)
    for threshold in (0.0, 0.25, 0.5, 0.75):
        host.pairs(pointer(boxes), ctypes.c_int64(60), ctypes.c_float(threshold), pointer(found))
        rows = boxes.numpy()
        expected = [[bool(reference._iou(a, b) > threshold) for b in rows] for a in rows]
        assert found.tolist() == expected
        assert found.any()


def boxes_of(kind, count):
    """Sorted boxes: as whole numbers with many ties, spread out, in chains, or all alike."""
    g = torch.Generator().manual_seed(count)
    corners = torch.rand(count, 2, generator=g) * 300
    if kind == "whole":
        corners = torch.randint(0, 20, (count, 2), generator=g).float()
        return torch.cat([corners, corners + torch.randint(0, 9, (count, 2), generator=g)], 1)
    if kind == "chain":  # each suppresses the next, which then cannot suppress the one after
        start = torch.arange(count)[:, None] * torch.tensor([3.0, 0.0])
        return torch.cat([start, start + 10], 1)
    if kind == "alike":
        return torch.tensor([[0.0, 0, 10, 10]]).repeat(count, 1)
    if kind == "strange":
        rows = torch.randn(count, 4, generator=g) * 50
        rows[::7, 1] = torch.nan
        rows[3::11, 2] = torch.inf
        return rows
    return torch.cat([corners, corners + torch.rand(count, 2, generator=g) * 60], 1)


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("kind", ["whole", "spread", "chain", "alike", "strange"])
@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 129, 300])
def test_whole_blocks(host, kind, count):  # O21
    boxes = boxes_of(kind, count)
    groups = torch.randint(0, 3, (count,), generator=torch.Generator().manual_seed(1))
    for limit in (count, 0, 1, 40):
        for one in (None, groups):
            every = reference.nms(boxes, -torch.arange(count).float(), 0.5, one, limit)
            expected = torch.zeros(count, dtype=torch.bool)
            expected[every] = True
            for seed in (0, 1):
                keep = torch.full((count,), 7, dtype=torch.uint8)
                host.nms_blocks(
                    pointer(boxes),
                    None if one is None else pointer(one),
                    ctypes.c_int64(count),
                    ctypes.c_float(0.5),
                    ctypes.c_int64(limit),
                    seed == 1,
                    seed,
                    pointer(keep),
                )
                assert keep.tolist() == expected.int().tolist()


@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
def test_threads_neither_race_nor_stray(tmp_path, sanitizers):
    run_sanitized(BLOCKS + ON_THREADS, tmp_path, sanitizers)
