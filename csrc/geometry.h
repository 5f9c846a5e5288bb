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

// Whose corners and rounding a RoI follows; docs/ops.md compares them. The schemas carry the number.
enum class Semantics : int32_t { msra = 0, paper = 1, torchvision = 2 };

// How every RoI of a call is cut into k bins a side, at `scale` cells a pixel.
template <class S>
struct Cutting {
  Semantics semantics;
  S scale;
  int64_t k;
};

// One side of a RoI on the feature grid. Bin p reaches from p * bin + start to (p + 1) * bin + start,
// counted from the whole cell `origin`: what is added before floor and ceiling is in `start`, what
// is added after them in `origin`.
template <class S>
struct Side {
  S origin, start, bin;
};

// A finite row whose picture exists. Huge but finite corners are fine: they lie outside the map.
template <class S>
RFCN_HD bool is_valid(const S* roi, int64_t pictures) {
  for (int column = 0; column < kRoiColumns; ++column) {
    if (!(roi[column] - roi[column] == S(0))) return false;  // NaN and both infinities
  }
  return roi[0] >= S(0) && roi[0] < static_cast<S>(pictures) && roi[0] == std::floor(roi[0]);
}

// From the corners of one side to its bins. round() takes halves away from zero.
//   msra: inclusive pixels, rounded, + 1 at the end, then scaled; start stays a fraction of a cell,
//     and a side is at least a tenth of a cell.
//   paper: the same corners, rounded to whole cells once scaled, at least one cell.
//   torchvision: scaled, then rounded to whole cells, without the + 1; at least one cell.
template <class S>
RFCN_HD Side<S> roi_side(const Cutting<S>& cutting, S low, S high) {
  const S k = static_cast<S>(cutting.k);
  const bool in_pixels = cutting.semantics != Semantics::torchvision;
  S start = (in_pixels ? std::round(low) : low) * cutting.scale;
  S end = (in_pixels ? std::round(high) + S(1) : high) * cutting.scale;
  if (cutting.semantics == Semantics::msra) {
    const S length = end - start;
    return {S(0), start, (length > S(0.1) ? length : S(0.1)) / k};
  }
  start = std::round(start);
  end = std::round(end);
  const S length = end - start;
  return {start, S(0), (length > S(1) ? length : S(1)) / k};
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
  return {cut(begin + side.origin, limit), cut(end + side.origin, limit)};
}

// The side of a RoI of max pooling: inclusive corners, scaled, then rounded half away from zero to
// whole cells; at least one cell. Its bins differ from those of roi_side in the + 1.
template <class S>
RFCN_HD Side<S> max_pool_side(S low, S high, S scale, int64_t bins) {
  const S start = std::round(low * scale);
  const S length = std::round(high * scale) - start + S(1);
  return {start, S(0), (length > S(1) ? length : S(1)) / static_cast<S>(bins)};
}

// The same as a table, for one RoI: ranges[p] are the rows of bin row p, ranges[k + p] the columns
// of bin column p. The rows of a RoI that is not valid stay empty.
template <class S>
RFCN_HD void tabulate_cells(const S* roi, bool valid, const Cutting<S>& cutting, int64_t height,
                            int64_t width, Range* ranges) {
  const Side<S> y = roi_side(cutting, roi[2], roi[4]);
  const Side<S> x = roi_side(cutting, roi[1], roi[3]);
  for (int64_t p = 0; p < cutting.k; ++p) {
    ranges[p] = valid ? bin_cells(y, p, height) : Range{0, 0};
    ranges[cutting.k + p] = valid ? bin_cells(x, p, width) : Range{0, 0};
  }
}

}  // namespace rfcn
