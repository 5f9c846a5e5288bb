// roi_align and psroi_align are one operator: bins of bilinear samples. roi_align reads all its bins
// from one map of each channel, psroi_align reads bin (i, j) from map (i, j) of each class. So maps
// come in groups (one, or k * k), and a group has its own bins (all, or one).
#pragma once

#include "bilinear.h"
#include "psroi_pool.h"

namespace rfcn {

// How every RoI of a call is sampled: see align_samples.
template <class S>
struct Sampling {
  S scale;
  int64_t ratio;
  bool aligned;
};

// The two axes of a RoI row, a picture and a map.
enum class Axis { y, x };

template <class S>
RFCN_HD Samples<S> samples_of(const S* roi, Axis axis, const Sampling<S>& sampling, int64_t bins) {
  const S* corner = roi + (axis == Axis::y ? 2 : 1);
  return align_samples(corner[0], corner[2], sampling.scale, bins, sampling.ratio,
                       sampling.aligned);
}

// Bins h x w of a RoI over score maps whose k counts the groups of a side: 1, or h = w = k.
struct AlignBins {
  int64_t height, width, groups;

  RFCN_HD int64_t rows() const { return height / groups; }     // of one group
  RFCN_HD int64_t columns() const { return width / groups; }
};

// A line of weights: the sum of some weighted cells, and the place where it goes. Forward, a line is
// a bin and its taps are cells of the map; backward, a line is a cell and its taps are bins.
struct Line {
  int32_t place, taps;
  int64_t first;
};

template <class A>
struct Lines {
  const Line* line;
  int64_t count;
  const Tap<A>* taps;
};

RFCN_HD Range common(Range a, Range b) {
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

// The lines of all bins of one axis of every RoI, each with room for `most` taps.
template <class A>
struct BinTable {
  Line* lines;
  Tap<A>* taps;
  int64_t bins, most, limit;

  static int64_t most_taps(int64_t ratio, int64_t limit) {
    return ratio > 0 && 2 * ratio < limit ? 2 * ratio : limit;
  }

};

// Line n = r * bins + p of the table. A RoI that is not valid has no taps.
template <class A, class S>
RFCN_HD void tabulate_bin(const S* rois, int64_t pictures, Axis axis, const Sampling<S>& sampling,
                          const BinTable<A>& table, int64_t n) {
  const S* roi = rois + n / table.bins * kRoiColumns;
  const int64_t p = n % table.bins, first = n * table.most;
  int64_t taps = 0;
  if (is_valid(roi, pictures)) {
    taps = taps_of_bin(samples_of(roi, axis, sampling, table.bins), p, table.limit,
                       table.taps + first);
  }
  table.lines[n] = {static_cast<int32_t>(p), static_cast<int32_t>(taps), first};
}

// The same from the side of the cells: the weight of every cell of one axis in every bin, and the
// bins, next to each other, in which the cell has a weight.
template <class A>
struct CellTable {
  A* weights;     // [rois][limit][bins]
  Range* ranges;  // [rois][limit]
  int64_t bins, limit;
};

// Cell n = r * limit + cell of the table.
template <class A, class S>
RFCN_HD void tabulate_cell(const S* rois, int64_t pictures, Axis axis, const Sampling<S>& sampling,
                           const CellTable<A>& table, int64_t n) {
  const S* roi = rois + n / table.limit * kRoiColumns;
  Range range{0, 0};
  if (is_valid(roi, pictures)) {
    const Samples<S> samples = samples_of(roi, axis, sampling, table.bins);
    for (int32_t p = 0; p < table.bins; ++p) {
      const A weight = weight_of_cell<A>(samples, p, n % table.limit, table.limit);
      table.weights[n * table.bins + p] = weight;
      if (weight == A(0)) continue;
      if (range.end == 0) range.begin = p;
      range.end = p + 1;
    }
  }
  table.ranges[n] = range;
}

// One element of the result. `map` points at cell (0, 0) of the bin's own map.
template <class T>
RFCN_HD accumulate_t<T> mean_of_samples(const T* map, int64_t stride_y, int64_t stride_x,
                                        const Line& row, const Line& column,
                                        const Tap<accumulate_t<T>>* row_taps,
                                        const Tap<accumulate_t<T>>* column_taps) {
  using A = accumulate_t<T>;
  A sum = 0;
  for (int64_t a = row.first; a < row.first + row.taps; ++a) {
    A inner = 0;
    for (int64_t b = column.first; b < column.first + column.taps; ++b) {
      inner += column_taps[b].weight * static_cast<A>(map[row_taps[a].cell * stride_y +
                                                          column_taps[b].cell * stride_x]);
    }
    sum += row_taps[a].weight * inner;
  }
  return sum;
}

// One element of the gradient: cell (y, x) of a map that the bins in `rows` x `columns` read, summed
// over the RoIs in their order. `gradient` points at bin (0, 0) of this channel in RoI 0.
template <class T, class S>
RFCN_HD accumulate_t<T> gradient_of_samples(const T* gradient, const PooledStrides& stride,
                                            const S* rois, int64_t count,
                                            const CellTable<accumulate_t<T>>& row_table,
                                            const CellTable<accumulate_t<T>>& column_table,
                                            Range rows, Range columns, int64_t picture, int64_t y,
                                            int64_t x) {
  using A = accumulate_t<T>;
  A sum = 0;
  for (int64_t r = 0; r < count; ++r) {
    const int64_t row = r * row_table.limit + y, column = r * column_table.limit + x;
    const Range i_range = common(row_table.ranges[row], rows);
    if (size(i_range) == 0) continue;  // most RoIs end here
    const Range j_range = common(column_table.ranges[column], columns);
    if (size(j_range) == 0 || static_cast<int64_t>(rois[r * kRoiColumns]) != picture) continue;
    for (int64_t i = i_range.begin; i < i_range.end; ++i) {
      A inner = 0;
      for (int64_t j = j_range.begin; j < j_range.end; ++j) {
        inner += column_table.weights[column * column_table.bins + j] *
                 static_cast<A>(gradient[r * stride.roi + i * stride.i + j * stride.j]);
      }
      sum += row_table.weights[row * row_table.bins + i] * inner;
    }
  }
  return sum;
}

}  // namespace rfcn
