// The tensors of roi_pool as plain structs, and those it makes.
#pragma once

#include "roi_pool.h"
#include "tensors.h"

namespace rfcn {

// Features as maps of one bin, whose cells an int32 counts.
template <class List>
ScoreMaps feature_maps(const List& size, const List& stride) {
  const ScoreMaps maps = shared_maps(size, stride);
  require(maps.height == 0 || maps.width <= INT32_MAX / maps.height,
          "a map has more cells than an int32 counts");
  return maps;
}

inline Bins pooled_bins(int64_t height, int64_t width) {
  require(height > 0 && width > 0, "the output size must be positive, not ", height, " x ", width);
  return {height, width};
}

inline Tensor empty_bins(const Tensor& features, int64_t rois, const ScoreMaps& maps, Bins bins,
                         std::optional<int32_t> dtype = std::nullopt) {
  return empty_shared_bins(features, rois, maps, bins.rows, bins.columns, dtype);
}

// The winning cells beside them, int32; without elements if nobody asks.
inline Tensor empty_cells(const Tensor& features, int64_t rois, const ScoreMaps& maps, Bins bins,
                          bool wanted) {
  const int32_t dtype = aoti_torch_dtype_int32();
  return wanted ? empty_bins(features, rois, maps, bins, dtype)
                : empty_like_maps(features, {0}, {1}, dtype);
}

inline void check_winners(const Tensor& gradient, const Tensor& cells, int64_t rois,
                          const ScoreMaps& maps) {
  require(gradient.dim() == 4 && gradient.size(0) == rois && gradient.size(1) == maps.classes,
          "the gradient must have the shape [rois, channels, h, w]");
  bool alike = cells.dim() == 4 && cells.scalar_type() == torch::headeronly::ScalarType::Int;
  for (int64_t n = 0; alike && n < 4; ++n) alike = cells.size(n) == gradient.size(n);
  require(alike, "cells must be those of the forward, int32 and of the gradient's shape: call ",
          "roi_pool with cells");
}

inline PooledStrides pooled_strides(const Tensor& pooled) {
  return {pooled.stride(0), pooled.stride(1), pooled.stride(2), pooled.stride(3)};
}

}  // namespace rfcn
