"""The sampling arithmetic of csrc/bilinear.h, compiled for the host and held against loops."""

import ctypes
import math

import numpy as np
import pytest
import torch
from host_program import compile_host_program, pointer

SOURCE = """
#include "bilinear.h"
using namespace rfcn;

template <class S>
static int64_t taps(S low, S high, S scale, const int64_t* n, int32_t* cells, double* weights) {
  // n: bins, ratio, aligned, bin asked for, cells of the axis
  const Samples<S> samples = align_samples(low, high, scale, n[0], n[1], n[2] != 0);
  Tap<double> found[4096];
  const int64_t count = taps_of_bin(samples, n[3], n[4], found);
  for (int64_t t = 0; t < count; ++t) cells[t] = found[t].cell, weights[t] = found[t].weight;
  return count;
}

extern "C" int64_t taps_float(const double* side, const int64_t* n, int32_t* c, double* w) {
  return taps<float>(side[0], side[1], side[2], n, c, w);
}
extern "C" int64_t taps_double(const double* side, const int64_t* n, int32_t* c, double* w) {
  return taps<double>(side[0], side[1], side[2], n, c, w);
}
extern "C" void between_two(double position, int64_t limit, double* out) {
  const Between<double> cells = between<double>(position, limit);
  out[0] = cells.low, out[1] = cells.high, out[2] = cells.low_weight, out[3] = cells.high_weight;
}
"""


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    program = compile_host_program(SOURCE, tmp_path_factory.mktemp("host"))
    program.taps_float.restype = program.taps_double.restype = ctypes.c_int64
    return program


def taps(host, side, bins, ratio, aligned, p, limit, number=np.float32):
    """{cell: weight} as the header finds it."""
    cells, weights = torch.zeros(4096, dtype=torch.int32), torch.zeros(4096, dtype=torch.float64)
    numbers = torch.tensor([bins, ratio, int(aligned), p, limit])
    call = host.taps_float if number is np.float32 else host.taps_double
    sides = torch.tensor(side, dtype=torch.float64)
    count = call(pointer(sides), pointer(numbers), pointer(cells), pointer(weights))
    found = cells[:count].tolist()
    assert found == sorted(set(found))
    return dict(zip(found, weights[:count].tolist(), strict=True))


def by_loops(side, bins, ratio, aligned, p, limit, number):
    """Every sample visited, its two cells weighted by how near they are."""
    low, high, scale = (number(one) for one in side)
    shift = number(0.5 if aligned else 0)
    start, length = low * scale - shift, (high * scale - shift) - (low * scale - shift)
    length = length if aligned else max(length, number(1))
    size = length / number(bins)
    count = ratio or max(0, math.ceil(size))
    found: dict[int, float] = {}
    for sample in range(count):
        inside = (number(sample) + number(0.5)) * size / number(count)
        position = float(number(p) * size + start + inside)
        if not -1 <= position <= limit:
            continue
        position = min(max(position, 0), limit - 1)
        for cell in range(limit):
            weight = max(0.0, 1 - abs(cell - position)) / count
            if weight > 0:
                found[cell] = found.get(cell, 0) + weight
    return found


@pytest.mark.parametrize("number", [np.float32, np.float64])
@pytest.mark.parametrize("aligned", [True, False])
def test_taps_are_those_of_every_sample(host, number, aligned):
    g = np.random.default_rng(0)
    filled = 0
    for n in range(600):
        limit, bins, ratio = int(g.integers(1, 14)), int(g.integers(1, 6)), int(g.integers(0, 5))
        side = (*(g.random(2) * 40 * limit - 12 * limit).round(n % 3), (1.0, 1 / 16, 0.3)[n % 3])
        for p in {0, bins - 1}:
            found = taps(host, side, bins, ratio, aligned, p, limit, number)
            expected = by_loops(side, bins, ratio, aligned, p, limit, number)
            assert found == pytest.approx(expected, abs=1e-13)
            filled += bool(expected)
    assert filled > 200


def test_between_by_hand(host):
    out = torch.zeros(4, dtype=torch.float64)
    for position, limit, expected in [
        (1.25, 4, [1, 2, 0.75, 0.25]),
        (2.0, 4, [2, 3, 1, 0]),
        (3.0, 4, [3, 3, 1, 0]),
        (3.5, 4, [3, 3, 1, 0]),
        (-0.5, 4, [0, 0, 1, 0]),
        (0.5, 1, [0, 0, 1, 0]),
        (1e30, 4, [3, 3, 1, 0]),
        (math.nan, 4, [0, 0, 1, 0]),
    ]:
        host.between_two(ctypes.c_double(position), ctypes.c_int64(limit), pointer(out))
        assert out.tolist() == expected


def test_bins_far_larger_than_the_map_are_sampled_only_where_it_is(host):
    # One bin of 100,001 cells, a sample a cell: the map's ten cells weigh 1 / 100,001 each, and
    # the outer ones once more for the sample beyond them.
    found = taps(host, (-50_000.0, 50_001.0, 1.0), 1, 0, True, 0, 10, np.float64)
    expected = dict.fromkeys(range(10), 1 / 100_001) | {0: 2 / 100_001, 9: 2 / 100_001}
    assert found == pytest.approx(expected, rel=1e-9)
    # Four million samples: found by halving, and still exact.
    found = taps(host, (-2e6, 2e6, 1.0), 1, 0, False, 0, 3, np.float64)
    assert sum(found.values()) == pytest.approx(4 / 4e6)


@pytest.mark.parametrize("number", [np.float32, np.float64])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize(
    "side", [(1e30, 2e30, 1.0), (-3e38, 3e38, 2.0), (-1e10, 1e10, 1.0), (8.0, 8.0, 1.0)]
)
def test_bins_beyond_measure_end_at_once(host, number, ratio, side):
    for p in (0, 6):
        found = taps(host, side, 7, ratio, True, p, 5, number)
        assert all(0 <= cell < 5 and 0 < weight <= 1 for cell, weight in found.items())
        if ratio == 0 and number is np.float32:
            assert not found  # float32 cannot tell the samples of such bins apart
    assert taps(host, (0.0, 9.0, 1.0), 3, 2, True, 0, 0, number) == {}  # a map without cells
