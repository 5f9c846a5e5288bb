// The tensors of deform_psroi_pool to and from plain structs.
#pragma once

#include <optional>

#include "deform_psroi_pool.h"
#include "tensors.h"

namespace rfcn {

// What the three operators take beside maps and gradients.
struct DeformArguments {
  Tensor rois;
  std::optional<Tensor> offsets;
  double spatial_scale;
  int64_t samples;
  double offset_scale;

  int64_t count() const { return rois.size(0); }
  int64_t groups() const { return offsets.has_value() ? offsets->size(1) : 1; }

  void check(const ScoreMaps& maps) const {
    check_rows(rois, kRoiColumns, "rois");
    require(samples > 0 && samples <= kMostSamples, "samples must be 1 to ", kMostSamples,
            ", not ", samples);
    if (!offsets.has_value()) return;
    require(offsets->dim() == 5 && offsets->size(0) == count() && offsets->size(2) == 2 &&
                offsets->size(3) == maps.k && offsets->size(4) == maps.k,
            "offsets must have the shape [rois, groups, 2, k, k]");
    require(groups() > 0 && maps.classes % groups() == 0,
            "the groups of the offsets must divide the classes");
    require(offsets->scalar_type() == rois.scalar_type(), "offsets must have the dtype of rois");
  }

  PooledStrides strides_of(const Tensor& gradient, const ScoreMaps& maps) const {
    require(gradient.dim() == 4, "the gradient must have the shape [rois, classes, k, k]");
    return gradient_strides(gradient, count(), maps);
  }

  template <class S>
  DeformCall<S> call(const ScoreMaps& maps) const {
    DeformCall<S> made{maps,
                       rois.const_data_ptr<S>(),
                       {nullptr, 1, {}},
                       {static_cast<S>(spatial_scale), static_cast<S>(offset_scale), maps.k, samples}};
    if (!offsets.has_value()) return made;
    const Tensor& given = *offsets;
    made.offsets = {given.const_data_ptr<S>(), groups(),
                    {given.stride(0), given.stride(1), given.stride(2), given.stride(3),
                     given.stride(4)}};
    return made;
  }
};

// [rois, groups, 2, k, k] laid out as [rois][i][j][group][x, y]: as the bins that made the offsets.
inline Tensor empty_offsets(const Tensor& offsets) {
  const int64_t rois = offsets.size(0), groups = offsets.size(1), k = offsets.size(3);
  return empty_like_maps(offsets, {rois, groups, 2, k, k},
                         {k * k * groups * 2, 2, 1, k * groups * 2, groups * 2});
}

}  // namespace rfcn
