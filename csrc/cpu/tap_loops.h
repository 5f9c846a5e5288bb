// Loops over the taps of a bin, for classes that lie side by side: what a compiler turns into vector
// code. The sums run over rows of taps, then columns, whatever the width of a vector.
#pragma once

#include <algorithm>

#include "../bilinear.h"

namespace rfcn {

// The cells that a bin reads along one axis.
template <class A>
struct TapList {
  const Tap<A>* taps;
  int64_t count;

  const Tap<A>* begin() const { return taps; }
  const Tap<A>* end() const { return taps + count; }
};

template <int kWidth, class T, class A, class To>
inline void tap_means_of_width(const T* map, int64_t stride_y, int64_t stride_x, TapList<A> rows,
                               TapList<A> columns, To* out) {
  A sums[kWidth] = {};
  for (const Tap<A>& row : rows) {
    const T* line = map + row.cell * stride_y;
    for (const Tap<A>& column : columns) {
      const T* cell = line + column.cell * stride_x;
      const A weight = row.weight * column.weight;
      for (int lane = 0; lane < kWidth; ++lane) sums[lane] += weight * static_cast<A>(cell[lane]);
    }
  }
  for (int lane = 0; lane < kWidth; ++lane) out[lane] = static_cast<To>(sums[lane]);
}

// The last vector overlaps the one before instead of ending early.
template <int kWidth, class T, class A, class To>
inline bool tap_means_by_width(const T* map, int64_t stride_y, int64_t stride_x, TapList<A> rows,
                               TapList<A> columns, int64_t classes, To* out) {
  if (classes < kWidth) return false;
  for (int64_t c = 0; c < classes; c += kWidth) {
    const int64_t at = std::min(c, classes - kWidth);
    tap_means_of_width<kWidth>(map + at, stride_y, stride_x, rows, columns, out + at);
  }
  return true;
}

template <class T, class A, class To>
inline void tap_means_of_classes(const T* map, int64_t stride_y, int64_t stride_x, TapList<A> rows,
                                 TapList<A> columns, int64_t classes, To* out) {
  if (tap_means_by_width<16>(map, stride_y, stride_x, rows, columns, classes, out)) return;
  if (tap_means_by_width<8>(map, stride_y, stride_x, rows, columns, classes, out)) return;
  if (tap_means_by_width<4>(map, stride_y, stride_x, rows, columns, classes, out)) return;
  tap_means_by_width<1>(map, stride_y, stride_x, rows, columns, classes, out);
}

template <class A>
inline void add_taps_to_classes(A* tile, int64_t stride_y, int64_t stride_x, TapList<A> rows,
                                TapList<A> columns, int64_t classes, const A* gradient) {
  for (const Tap<A>& row : rows) {
    A* line = tile + row.cell * stride_y;
    for (const Tap<A>& column : columns) {
      A* cell = line + column.cell * stride_x;
      const A weight = row.weight * column.weight;
      for (int64_t c = 0; c < classes; ++c) cell[c] += weight * gradient[c];
    }
  }
}

// Templates cannot be cloned for several vector widths, so the hot loops get plain functions for the
// dtype that matters and stay templates for the others.
template <class T, class A, class To>
void tap_means(const T* map, int64_t stride_y, int64_t stride_x, TapList<A> rows,
               TapList<A> columns, int64_t classes, To* out) {
  tap_means_of_classes(map, stride_y, stride_x, rows, columns, classes, out);
}

RFCN_VECTORISE inline void tap_means(const float* map, int64_t stride_y, int64_t stride_x,
                                     TapList<float> rows, TapList<float> columns, int64_t classes,
                                     float* out) {
  tap_means_of_classes(map, stride_y, stride_x, rows, columns, classes, out);
}

template <class A>
void add_taps(A* tile, int64_t stride_y, int64_t stride_x, TapList<A> rows, TapList<A> columns,
              int64_t classes, const A* gradient) {
  add_taps_to_classes(tile, stride_y, stride_x, rows, columns, classes, gradient);
}

RFCN_VECTORISE inline void add_taps(float* tile, int64_t stride_y, int64_t stride_x,
                                    TapList<float> rows, TapList<float> columns, int64_t classes,
                                    const float* gradient) {
  add_taps_to_classes(tile, stride_y, stride_x, rows, columns, classes, gradient);
}

}  // namespace rfcn
