// Bilinear sampling, one axis at a time: the weight of a cell is the product of its row's and its
// column's. Two questions are kept apart. WHERE do the samples of a bin lie, and which of them count
// (Samples, is_on_map)? BETWEEN which two cells lies a position, and how near is each (between)?
// S is the dtype of the RoIs: positions are computed in it. A is the dtype of the weights.
#pragma once

#include "geometry.h"

namespace rfcn {

// A position seen from the two cells beside it. The weights add up to 1.
template <class A>
struct Between {
  int32_t low, high;
  A low_weight, high_weight;
};

// Cell c has its centre at position c. Beyond the outer centres the outer cell counts alone. There
// must be a cell (limit > 0).
template <class A, class S>
RFCN_HD Between<A> between(S position, int64_t limit) {
  if (!(position > S(0))) return {0, 0, A(1), A(0)};
  const int32_t last = static_cast<int32_t>(limit - 1);
  if (!(position < static_cast<S>(last))) return {last, last, A(1), A(0)};
  const int32_t low = static_cast<int32_t>(position);
  const A high_weight = static_cast<A>(position - static_cast<S>(low));
  return {low, low + 1, A(1) - high_weight, high_weight};
}

// RoIAlign counts a sample up to one cell beyond the outer centres. NaN is nowhere.
template <class S>
RFCN_HD bool is_on_map(S position, int64_t limit) {
  return position >= S(-1) && position <= static_cast<S>(limit);
}

// The samples of one side of a RoI: `count` in each bin, evenly spread. Neither the RoI nor the
// samples are rounded to cells.
template <class S>
struct Samples {
  S start, bin;
  int64_t count;

  RFCN_HD S position(int64_t p, int64_t sample) const {
    const S inside = (static_cast<S>(sample) + S(0.5)) * bin / static_cast<S>(count);
    return multiply_then_add(static_cast<S>(p), bin, start) + inside;
  }

  // The same in ascending order, whichever way the RoI runs.
  RFCN_HD S ascending(int64_t p, int64_t n) const {
    return position(p, bin < S(0) ? count - 1 - n : n);
  }

  // How many samples of bin p lie before a position. Found by halving: a bin that is large and
  // mostly outside the map takes no longer.
  RFCN_HD int64_t before(int64_t p, S position) const {
    int64_t low = 0, high = count;
    while (low < high) {
      const int64_t middle = low + (high - low) / 2;
      if (ascending(p, middle) < position) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
};

// The most samples of a bin: beyond it S cannot tell neighbouring samples apart.
RFCN_HD constexpr int64_t most_samples(float) { return int64_t(1) << 23; }
RFCN_HD constexpr int64_t most_samples(double) { return int64_t(1) << 52; }

// `ratio` samples a bin; 0: one for each cell of its length, rounded up. `aligned` shifts the RoI by
// half a cell, so that a pixel's centre falls on a cell's; without it, as in the first
// implementations, there is no shift and a side is at least one cell long. A bin without samples is
// 0: one of no or reversed length under ratio 0, or one beyond most_samples.
template <class S>
RFCN_HD Samples<S> align_samples(S low, S high, S scale, int64_t bins, int64_t ratio,
                                 bool aligned) {
  const S shift = aligned ? S(0.5) : S(0);
  const S start = multiply_then_add(low, scale, -shift);
  S length = multiply_then_add(high, scale, -shift) - start;
  if (!aligned && !(length > S(1))) length = S(1);
  const S bin = length / static_cast<S>(bins);
  if (ratio > 0) return {start, bin, ratio};
  const S count = std::ceil(bin);
  const bool some = count > S(0) && count <= static_cast<S>(most_samples(S(0)));
  return {start, bin, some ? static_cast<int64_t>(count) : 0};
}

// A cell of a bin, and its share of the bin's mean along this axis.
template <class A>
struct Tap {
  int32_t cell;
  A weight;
};

// The place of a cell among taps that are filled in ascending order, two neighbours at a time: that
// of the tap it has, or of a new one without weight.
template <class A>
RFCN_HD int64_t place_of_cell(int32_t cell, Tap<A>* taps, int64_t& found) {
  if (found > 0 && taps[found - 1].cell == cell) return found - 1;
  if (found > 1 && taps[found - 2].cell == cell) return found - 2;
  taps[found] = {cell, A(0)};
  return found++;
}

// The cells that bin p reads, in ascending order and each once, into `taps`; returns how many, at
// most `limit` and at most two a sample. A sample that is not on the map adds no weight, and still
// counts in the mean. A cell without weight is left out, so that its NaN goes nowhere.
template <class A, class S>
RFCN_HD int64_t taps_of_bin(const Samples<S>& samples, int64_t p, int64_t limit, Tap<A>* taps) {
  int64_t found = 0;
  if (limit == 0) return found;
  const auto add = [&](int32_t cell, A weight) {
    if (weight != A(0)) taps[place_of_cell(cell, taps, found)].weight += weight;
  };
  for (int64_t n = samples.before(p, S(-1)); n < samples.count; ++n) {
    const S position = samples.ascending(p, n);
    if (!is_on_map(position, limit)) break;
    const Between<A> cells = between<A>(position, limit);
    add(cells.low, cells.low_weight);
    add(cells.high, cells.high_weight);
  }
  for (int64_t n = 0; n < found; ++n) taps[n].weight /= static_cast<A>(samples.count);
  return found;
}

// The weight of one cell in bin p: what taps_of_bin lists, from the other side, bit for bit.
template <class A, class S>
RFCN_HD A weight_of_cell(const Samples<S>& samples, int64_t p, int64_t cell, int64_t limit) {
  A weight = 0;
  for (int64_t n = samples.before(p, static_cast<S>(cell - 1)); n < samples.count; ++n) {
    const S position = samples.ascending(p, n);
    if (!is_on_map(position, limit)) break;
    const Between<A> cells = between<A>(position, limit);
    if (cells.low > cell) break;
    if (cells.low == cell) weight += cells.low_weight;
    if (cells.high == cell && cells.high != cells.low) weight += cells.high_weight;
  }
  return weight == A(0) ? weight : weight / static_cast<A>(samples.count);
}

}  // namespace rfcn
