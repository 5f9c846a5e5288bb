// Position-sensitive RoI pooling: the arithmetic of ONE output element and of ONE gradient element
// (R-FCN, arXiv 1605.06409, equation 1; corners and rounding as in the released operator).
#pragma once

#include "geometry.h"

namespace rfcn {

// Score maps [pictures, classes, k, k, height, width] with any strides, counted in elements.
struct ScoreMaps {
  int64_t pictures, classes, k, height, width;
  struct Strides {
    int64_t picture, klass, i, j, y, x;
  } stride;

  RFCN_HD int64_t offset(int64_t picture, int64_t klass, int64_t i, int64_t j) const {
    return picture * stride.picture + klass * stride.klass + i * stride.i + j * stride.j;
  }
};

// The same maps in the order [picture][y][x][i][j][class].
inline ScoreMaps order_by_bin(ScoreMaps maps) {
  const int64_t cell = maps.k * maps.k * maps.classes;
  maps.stride = {maps.height * maps.width * cell, 1, maps.k * maps.classes, maps.classes,
                 maps.width * cell, cell};
  return maps;
}

// Pooled scores [rois, classes, k, k] with any strides; of votes [rois, classes], i and j are 0.
struct PooledStrides {
  int64_t roi, klass, i, j;
};

// The mean of a map over rows x columns: the score of one class in one bin. 0 if the bin is empty.
// `map` points at cell (0, 0) of the map that belongs to this class and this bin.
template <class T>
RFCN_HD accumulate_t<T> mean_of_bin(const T* map, int64_t stride_y, int64_t stride_x, Range rows,
                                    Range columns) {
  using A = accumulate_t<T>;
  const int64_t area = size(rows) * size(columns);
  if (area == 0) return A(0);
  A sum = 0;
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    for (int64_t x = columns.begin; x < columns.end; ++x) {
      sum += static_cast<A>(map[y * stride_y + x * stride_x]);
    }
  }
  return sum / static_cast<A>(area);
}

// What one RoI adds to the gradient of one cell: its bin's gradient, shared among the bin's cells.
// `voters`: 1, or k * k where the gradient is that of a vote, which its bins share first.
template <class T>
RFCN_HD accumulate_t<T> share_of_cell(T gradient, int64_t voters, Range rows, Range columns,
                                      int64_t y, int64_t x) {
  using A = accumulate_t<T>;
  if (y < rows.begin || y >= rows.end || x < columns.begin || x >= columns.end) return A(0);
  return static_cast<A>(gradient) / static_cast<A>(voters * size(rows) * size(columns));
}

// One pooled score, straight from the RoI's row: what a CUDA thread computes.
template <class T, class S>
RFCN_HD accumulate_t<T> pooled_score(const T* features, const ScoreMaps& maps, const S* roi,
                                     const Cutting<S>& cutting, int64_t klass, int64_t i,
                                     int64_t j) {
  if (!is_valid(roi, maps.pictures)) return accumulate_t<T>(0);
  const Side<S> y = roi_side(cutting, roi[2], roi[4]);
  const Side<S> x = roi_side(cutting, roi[1], roi[3]);
  const T* map = features + maps.offset(static_cast<int64_t>(roi[0]), klass, i, j);
  return mean_of_bin(map, maps.stride.y, maps.stride.x, bin_cells(y, i, maps.height),
                     bin_cells(x, j, maps.width));
}

// The vote of all k * k bins of one RoI for one class: their mean, in which an empty bin counts 0.
template <class T, class S>
RFCN_HD accumulate_t<T> voted_score(const T* features, const ScoreMaps& maps, const S* roi,
                                    const Cutting<S>& cutting, int64_t klass) {
  accumulate_t<T> sum = 0;
  if (!is_valid(roi, maps.pictures)) return sum;
  const Side<S> y = roi_side(cutting, roi[2], roi[4]);
  const Side<S> x = roi_side(cutting, roi[1], roi[3]);
  for (int64_t i = 0; i < maps.k; ++i) {
    const Range rows = bin_cells(y, i, maps.height);
    for (int64_t j = 0; j < maps.k; ++j) {
      const T* map = features + maps.offset(static_cast<int64_t>(roi[0]), klass, i, j);
      sum += mean_of_bin(map, maps.stride.y, maps.stride.x, rows, bin_cells(x, j, maps.width));
    }
  }
  return sum / static_cast<accumulate_t<T>>(maps.k * maps.k);
}

// The gradient of one cell of one map, gathered over the RoIs in their order, so that it is the
// same at every run: what a CUDA thread computes. `tables` holds 2k ranges a RoI (tabulate_cells);
// `gradient` points at bin (i, j) of this class in RoI 0, or at this class's vote (`voters`).
template <class T, class S>
RFCN_HD accumulate_t<T> gradient_of_cell(const T* gradient, int64_t stride_roi, int64_t voters,
                                         const S* rois, int64_t count, const Range* tables,
                                         int64_t k, int64_t picture, int64_t i, int64_t j,
                                         int64_t y, int64_t x) {
  accumulate_t<T> sum = 0;
  for (int64_t r = 0; r < count; ++r) {
    const Range rows = tables[r * 2 * k + i];
    if (y < rows.begin || y >= rows.end) continue;  // most RoIs end here; a row never valid is empty
    const Range columns = tables[r * 2 * k + k + j];
    if (x < columns.begin || x >= columns.end) continue;
    if (static_cast<int64_t>(rois[r * kRoiColumns]) != picture) continue;
    sum += share_of_cell(gradient[r * stride_roi], voters, rows, columns, y, x);
  }
  return sum;
}

}  // namespace rfcn
