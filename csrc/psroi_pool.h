// Position-sensitive RoI pooling: how score maps lie, and the arithmetic of ONE output element
// (R-FCN, arXiv 1605.06409, equation 1). geometry.h has the corners and the rounding.
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

}  // namespace rfcn
