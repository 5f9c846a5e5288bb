// From a RoI to the cells of each of its bins. Forward and backward, CPU and CUDA all ask here, so
// they cannot disagree. S is the dtype of the RoIs (float or double): edges are computed in it.
#pragma once

#include <cmath>

#include "portable.h"

namespace rfcn {

// A RoI row is (picture, x1, y1, x2, y2).
constexpr int64_t kRoiColumns = 5;

// The cells begin <= cell < end along one axis.
struct Range {
  int32_t begin, end;
};

RFCN_HD int64_t size(Range range) {
  return range.end > range.begin ? static_cast<int64_t>(range.end) - range.begin : 0;
}

// One side of a RoI on the feature grid: where it starts and how wide one of its k bins is.
template <class S>
struct Side {
  S start, bin;
};

// A finite row whose picture exists. Huge but finite corners are fine: they lie outside the map.
template <class S>
RFCN_HD bool is_valid(const S* roi, int64_t pictures) {
  for (int column = 0; column < kRoiColumns; ++column) {
    if (!(roi[column] - roi[column] == S(0))) return false;  // NaN and both infinities
  }
  return roi[0] >= S(0) && roi[0] < static_cast<S>(pictures) && roi[0] == std::floor(roi[0]);
}

// Rows and columns are inclusive corners in picture pixels, rounded half away from zero, with the
// + 1 of the released operator. A side is at least a tenth of a cell.
template <class S>
RFCN_HD Side<S> psroi_side(S low, S high, S scale, int64_t k) {
  const S start = std::round(low) * scale;
  const S end = (std::round(high) + S(1)) * scale;
  const S length = end - start;
  return {start, (length > S(0.1) ? length : S(0.1)) / static_cast<S>(k)};
}

// An edge as a cell, cut to the map before it becomes an integer: no overflow, and NaN becomes 0.
template <class S>
RFCN_HD int32_t cut(S edge, int64_t limit) {
  if (!(edge > S(0))) return 0;
  return edge < static_cast<S>(limit) ? static_cast<int32_t>(edge) : static_cast<int32_t>(limit);
}

// The cells of bin p: from the floor of its start to the ceiling of its end, cut to [0, limit).
// Neighbouring bins may share a cell; a bin outside the map is empty.
template <class S>
RFCN_HD Range bin_cells(Side<S> side, int64_t p, int64_t limit) {
  const S begin = std::floor(multiply_then_add(static_cast<S>(p), side.bin, side.start));
  const S end = std::ceil(multiply_then_add(static_cast<S>(p + 1), side.bin, side.start));
  return {cut(begin, limit), cut(end, limit)};
}

// The same as a table, for one RoI: ranges[p] are the rows of bin row p, ranges[k + p] the columns
// of bin column p. The rows of a RoI that is not valid stay empty.
template <class S>
RFCN_HD void tabulate_cells(const S* roi, bool valid, S scale, int64_t k, int64_t height,
                            int64_t width, Range* ranges) {
  const Side<S> y = psroi_side(roi[2], roi[4], scale, k);
  const Side<S> x = psroi_side(roi[1], roi[3], scale, k);
  for (int64_t p = 0; p < k; ++p) {
    ranges[p] = valid ? bin_cells(y, p, height) : Range{0, 0};
    ranges[k + p] = valid ? bin_cells(x, p, width) : Range{0, 0};
  }
}

}  // namespace rfcn
