// Max pooling of RoIs: the arithmetic of ONE output element and of ONE gradient element (Fast R-CNN,
// arXiv 1504.08083, section 2.1; corners and rounding as in the released operator). The maps are
// ScoreMaps of one bin (k = 1) whose classes are the channels.
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

// One maximum, straight from the RoI's row: what a CUDA thread computes.
template <class T, class S>
RFCN_HD Best<accumulate_t<T>> pooled_best(const T* features, const ScoreMaps& maps, Bins bins,
                                          const S* roi, S scale, int64_t channel, int64_t i,
                                          int64_t j) {
  if (!is_valid(roi, maps.pictures)) return {accumulate_t<T>(0), -1};
  const Side<S> y = max_pool_side(roi[2], roi[4], scale, bins.rows);
  const Side<S> x = max_pool_side(roi[1], roi[3], scale, bins.columns);
  const T* map = features + maps.offset(static_cast<int64_t>(roi[0]), channel, 0, 0);
  return best_of_bin(map, maps.stride.y, maps.stride.x, maps.width,
                     bin_cells(y, i, maps.height), bin_cells(x, j, maps.width));
}

// One RoI as a table: ranges[i] are the rows of bin row i, ranges[bins.rows + j] the columns of bin
// column j. The rows of a RoI that is not valid stay empty.
template <class S>
RFCN_HD void tabulate_max_pool(const S* roi, bool valid, S scale, Bins bins, int64_t height,
                               int64_t width, Range* ranges) {
  const Side<S> y = max_pool_side(roi[2], roi[4], scale, bins.rows);
  const Side<S> x = max_pool_side(roi[1], roi[3], scale, bins.columns);
  for (int64_t i = 0; i < bins.rows; ++i) {
    ranges[i] = valid ? bin_cells(y, i, height) : Range{0, 0};
  }
  for (int64_t j = 0; j < bins.columns; ++j) {
    ranges[bins.rows + j] = valid ? bin_cells(x, j, width) : Range{0, 0};
  }
}

// Whether a RoI reads row y of its picture. Its bins are in order, so the first and the last tell.
RFCN_HD bool reads_row(const Range* ranges, Bins bins, int32_t y) {
  return ranges[0].begin <= y && y < ranges[bins.rows - 1].end;
}

// The gradient of one cell of one channel: what came back through every bin in which this cell won,
// gathered in the order of `list`, so that it is the same at every run. A CUDA thread computes this.
// `list` names the RoIs that read row y; `gradient` and `cells` point at bin (0, 0) of this channel in
// RoI 0 and have the same strides.
template <class T>
RFCN_HD accumulate_t<T> gradient_of_winner(const T* gradient, PooledStrides of_gradient,
                                           const int32_t* cells, PooledStrides of_cells,
                                           const int32_t* list, int64_t listed, const Range* tables,
                                           Bins bins, int32_t y, int32_t x, int32_t cell) {
  accumulate_t<T> sum = 0;
  for (int64_t n = 0; n < listed; ++n) {
    const int64_t r = list[n];
    const Range* rows = tables + r * bins.ranges();
    const Range* columns = rows + bins.rows;
    if (x < columns[0].begin || x >= columns[bins.columns - 1].end) continue;
    for (int64_t i = 0; i < bins.rows; ++i) {
      if (y < rows[i].begin || y >= rows[i].end) continue;
      for (int64_t j = 0; j < bins.columns; ++j) {
        if (x < columns[j].begin || x >= columns[j].end) continue;
        if (cells[r * of_cells.roi + i * of_cells.i + j * of_cells.j] != cell) continue;
        sum += static_cast<accumulate_t<T>>(
            gradient[r * of_gradient.roi + i * of_gradient.i + j * of_gradient.j]);
      }
    }
  }
  return sum;
}

}  // namespace rfcn
