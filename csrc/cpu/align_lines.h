// The inner loops of roi_align and psroi_align on the CPU, forward and backward alike.
#pragma once

#include <algorithm>

#include "taps.h"
#include "tiles.h"

namespace rfcn {

// Cells or bins with their channels side by side; `origin` is where place (0, 0) would lie.
template <class T>
struct Plane {
  T* data;
  int64_t origin, row, column;

  T* at(int64_t y, int64_t x) const { return data + origin + y * row + x * column; }
};

// The weighted sum of one line of rows and one of columns, for kWidth channels.
template <int kWidth, bool kAdd, class T, class A>
RFCN_INLINE void sum_of_width(const Plane<const T>& from, const Line& row, const Line& column,
                         const Tap<A>* row_taps, const Tap<A>* column_taps, int64_t channel,
                         A* out) {
  A sums[kWidth] = {};
  for (int64_t a = row.first; a < row.first + row.taps; ++a) {
    A inner[kWidth] = {};
    const T* cells = from.at(row_taps[a].cell, 0) + channel;
    for (int64_t b = column.first; b < column.first + column.taps; ++b) {
      const T* cell = cells + column_taps[b].cell * from.column;
      const A weight = column_taps[b].weight;
      for (int c = 0; c < kWidth; ++c) inner[c] += weight * static_cast<A>(cell[c]);
    }
    const A weight = row_taps[a].weight;
    for (int c = 0; c < kWidth; ++c) sums[c] += weight * inner[c];
  }
  for (int c = 0; c < kWidth; ++c) out[channel + c] = kAdd ? out[channel + c] + sums[c] : sums[c];
}

template <bool kAdd, class T, class A>
RFCN_INLINE void sums_of_lines(const Plane<const T>& from, const Lines<A>& rows,
                          const Lines<A>& columns, int64_t channels, const Plane<A>& to) {
  for (const Line* y = rows.line; y < rows.line + rows.count; ++y) {
    for (const Line* x = columns.line; x < columns.line + columns.count; ++x) {
      A* out = to.at(y->place, x->place);
      int64_t c = 0;
      for (; c + 64 <= channels; c += 64) {
        sum_of_width<64, kAdd>(from, *y, *x, rows.taps, columns.taps, c, out);
      }
      // The last vector overlaps the one before instead of ending early, unless it adds.
      while (c < channels && channels >= 16 && (!kAdd || c + 16 <= channels)) {
        c = kAdd ? c : std::min(c, channels - 16);
        sum_of_width<16, kAdd>(from, *y, *x, rows.taps, columns.taps, c, out);
        c += 16;
      }
      for (; c + 4 <= channels; c += 4) {
        sum_of_width<4, kAdd>(from, *y, *x, rows.taps, columns.taps, c, out);
      }
      for (; c < channels; ++c) {
        sum_of_width<1, kAdd>(from, *y, *x, rows.taps, columns.taps, c, out);
      }
    }
  }
}

// to[y][x] = the sums over the taps of line y of rows and line x of columns; or += with `add`.
// Templates cannot be cloned for several vector widths, so float has functions of its own.
template <class T, class A>
void weigh(const Plane<const T>& from, const Lines<A>& rows, const Lines<A>& columns,
           int64_t channels, const Plane<A>& to) {
  sums_of_lines<false>(from, rows, columns, channels, to);
}

RFCN_VECTORISE inline void weigh(const Plane<const float>& from, const Lines<float>& rows,
                                 const Lines<float>& columns, int64_t channels,
                                 const Plane<float>& to) {
  sums_of_lines<false>(from, rows, columns, channels, to);
}

template <class A>
void weigh_and_add(const Plane<const A>& from, const Lines<A>& rows, const Lines<A>& columns,
                   int64_t channels, const Plane<A>& to) {
  sums_of_lines<true>(from, rows, columns, channels, to);
}

RFCN_VECTORISE inline void weigh_and_add(const Plane<const float>& from, const Lines<float>& rows,
                                         const Lines<float>& columns, int64_t channels,
                                         const Plane<float>& to) {
  sums_of_lines<true>(from, rows, columns, channels, to);
}

}  // namespace rfcn
