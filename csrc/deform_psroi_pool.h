// Deformable position-sensitive RoI pooling (Deformable ConvNets, arXiv 1703.06211, section 2.2;
// arithmetic of the released operator): a bin is the mean of bilinear samples, and each bin of a RoI
// may be shifted by an offset of its own. Rows and columns of samples are independent, so a bin is
// the product of two lists of taps.
#pragma once

#include "bilinear.h"
#include "psroi_pool.h"

namespace rfcn {

// The most samples a side of a bin: more than a map has cells to tell apart.
constexpr int64_t kMostSamples = 256;

// The numbers of a call, in the dtype of positions.
template <class S>
struct Deforming {
  S scale, offset_scale;
  int64_t k, samples;
};

// Offsets [rois, groups, 2 (x, y), k, k] with any strides. Without data every offset is 0.
template <class S>
struct Offsets {
  const S* data;
  int64_t groups;
  struct Strides {
    int64_t roi, group, axis, i, j;
  } stride;

  RFCN_HD S at(int64_t r, int64_t group, int64_t axis, int64_t i, int64_t j) const {
    if (data == nullptr) return S(0);
    return data[r * stride.roi + group * stride.group + axis * stride.axis + i * stride.i +
                j * stride.j];
  }
};

// The samples of one bin along one axis; the first lies at `begin`, where the bin begins.
template <class S>
struct MovedSamples {
  S begin, step;
  int64_t count;

  RFCN_HD S position(int64_t n) const {
    return multiply_then_add(static_cast<S>(n), step, begin);
  }
};

// One side of a RoI on the feature grid, where the centre of cell c lies at c.
template <class S>
struct MovedSide {
  S start, length;

  // Inclusive corners in picture pixels, rounded half away from zero, with the + 1 of the released
  // operator. A side is at least a tenth of a cell.
  RFCN_HD MovedSide(S low, S high, S scale) {
    start = std::round(low) * scale - S(0.5);
    const S end = (std::round(high) + S(1)) * scale - S(0.5);
    length = end - start > S(0.1) ? end - start : S(0.1);
  }

  // Bin p, shifted by `offset` in units of offset_scale of the RoI's side.
  RFCN_HD MovedSamples<S> bin(int64_t p, S offset, const Deforming<S>& deforming) const {
    const S size = length / static_cast<S>(deforming.k);
    const S begin = multiply_then_add(static_cast<S>(p), size, start);
    return {multiply_then_add(offset * deforming.offset_scale, length, begin),
            size / static_cast<S>(deforming.samples), deforming.samples};
  }
};

// A sample counts up to half a cell beyond the outer centres, ends included. NaN is nowhere.
template <class S>
RFCN_HD bool is_in_cells(S position, int64_t limit) {
  return limit > 0 && position >= S(-0.5) && position <= static_cast<S>(limit) - S(0.5);
}

// The cells that one bin reads along one axis, in ascending order and each once, into `taps`;
// returns how many, at most two a sample. Their weights are shares of the mean over the samples that
// count. `slopes`, if wanted, are the derivatives of the weights by the position, in the same order:
// 0 where a sample is clamped, or lies exactly on a cell.
template <class A, class S>
RFCN_HD int64_t taps_of_samples(const MovedSamples<S>& samples, int64_t limit, Tap<A>* taps,
                                Tap<A>* slopes) {
  int64_t found = 0, counted = 0;
  const auto add = [&](int32_t cell, A weight, A slope) {
    const int64_t known = found, at = place_of_cell(cell, taps, found);
    taps[at].weight += weight;
    if (slopes == nullptr) return;
    if (at == known) slopes[at] = {cell, A(0)};
    slopes[at].weight += slope;
  };
  for (int64_t n = 0; n < samples.count; ++n) {
    const S position = samples.position(n);
    if (!is_in_cells(position, limit)) continue;
    ++counted;
    const Between<A> cells = between<A>(position, limit);
    const bool inside = cells.high_weight > A(0);
    add(cells.low, cells.low_weight, inside ? A(-1) : A(0));
    if (inside) add(cells.high, cells.high_weight, A(1));
  }
  for (int64_t n = 0; n < found; ++n) {
    taps[n].weight /= static_cast<A>(counted);
    if (slopes != nullptr) slopes[n].weight /= static_cast<A>(counted);
  }
  return found;
}

// What cell `cell` weighs in the mean along one axis; 0 if the bin does not read it.
template <class A, class S>
RFCN_HD A weight_of_cell(const MovedSamples<S>& samples, int64_t limit, int32_t cell) {
  A sum = 0;
  int64_t counted = 0;
  for (int64_t n = 0; n < samples.count; ++n) {
    const S position = samples.position(n);
    if (!is_in_cells(position, limit)) continue;
    ++counted;
    const Between<A> cells = between<A>(position, limit);
    sum += cells.low == cell ? cells.low_weight : cells.high == cell ? cells.high_weight : A(0);
  }
  return counted == 0 ? A(0) : sum / static_cast<A>(counted);
}

// All that a call reads beside maps and gradients.
template <class S>
struct DeformCall {
  ScoreMaps maps;
  const S* rois;
  Offsets<S> offsets;
  Deforming<S> deforming;

  RFCN_HD bool has_picture(int64_t r) const { return is_valid(rois + r * kRoiColumns, maps.pictures); }
  RFCN_HD int64_t picture(int64_t r) const { return static_cast<int64_t>(rois[r * kRoiColumns]); }

  // Axis 0 is x, with its columns of bins and of cells; axis 1 is y.
  RFCN_HD int64_t cells(int64_t axis) const { return axis == 0 ? maps.width : maps.height; }

  RFCN_HD MovedSide<S> side(int64_t r, int64_t axis) const {
    const S* corners = rois + r * kRoiColumns + 1 + axis;
    return MovedSide<S>(corners[0], corners[2], deforming.scale);
  }

  RFCN_HD MovedSamples<S> samples(int64_t r, int64_t group, int64_t axis, int64_t i,
                                  int64_t j) const {
    return side(r, axis).bin(axis == 0 ? j : i, offsets.at(r, group, axis, i, j), deforming);
  }

  // What a bin without samples gives: 0, or NaN if that is because an offset is not finite.
  RFCN_HD S without_samples(int64_t r, int64_t group, int64_t i, int64_t j) const {
    return S(0) * offsets.at(r, group, 0, i, j) + S(0) * offsets.at(r, group, 1, i, j);
  }

  // From the derivative by the position along an axis to that by the offset.
  RFCN_HD S by_offset(S by_position, int64_t r, int64_t axis) const {
    return by_position * deforming.offset_scale * side(r, axis).length;
  }
};

}  // namespace rfcn
