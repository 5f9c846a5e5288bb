// Max pooling of RoIs: the arithmetic of ONE output element (Fast R-CNN, arXiv 1504.08083, section
// 2.1; corners and rounding as in the released operator). The maps are ScoreMaps of one bin (k = 1)
// whose classes are the channels.
#pragma once

#include "psroi_pool.h"

namespace rfcn {

// The bins of a RoI: so many a column and a row.
struct Bins {
  int64_t rows, columns;

  RFCN_HD int64_t count() const { return rows * columns; }
  RFCN_HD int64_t ranges() const { return rows + columns; }
};

// The largest value of a bin and its cell, y * width + x; an empty bin has 0 and cell -1.
template <class A>
struct Best {
  A value;
  int32_t cell;
};

// Whether a later cell takes the place of the best so far. Equal values do not, so the first of them
// keeps it; the first NaN takes it for good.
template <class A>
RFCN_HD bool beats(A value, A best) {
  return !(value <= best) & (best == best);
}

// `map` points at cell (0, 0) of the map of this channel.
template <class T>
RFCN_HD Best<accumulate_t<T>> best_of_bin(const T* map, int64_t stride_y, int64_t stride_x,
                                          int64_t width, Range rows, Range columns) {
  using A = accumulate_t<T>;
  if (size(rows) * size(columns) == 0) return {A(0), -1};
  Best<A> best{static_cast<A>(map[rows.begin * stride_y + columns.begin * stride_x]),
               static_cast<int32_t>(rows.begin * width + columns.begin)};
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    for (int64_t x = columns.begin; x < columns.end; ++x) {
      const A value = static_cast<A>(map[y * stride_y + x * stride_x]);
      if (beats(value, best.value)) best = {value, static_cast<int32_t>(y * width + x)};
    }
  }
  return best;
}

// Entry e of a RoI: the rows of bin row e, or for e >= bins.rows the columns of bin column
// e - bins.rows. `roi` is its row, which must be valid.
template <class S>
RFCN_HD Range cells_of_entry(const S* roi, S scale, Bins bins, int64_t e, int64_t height,
                             int64_t width) {
  if (e < bins.rows) return bin_cells(max_pool_side(roi[2], roi[4], scale, bins.rows), e, height);
  return bin_cells(max_pool_side(roi[1], roi[3], scale, bins.columns), e - bins.rows, width);
}

}  // namespace rfcn
