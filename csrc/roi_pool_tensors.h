// The tensors of roi_pool as plain structs, and those it makes.
#pragma once

#include "roi_pool.h"
#include "tensors.h"

namespace rfcn {

// size and stride of four entries, [pictures, channels, height, width], as maps of one bin.
template <class List>
ScoreMaps feature_maps(const List& size, const List& stride) {
  require(size.size() == 4 && stride.size() == 4,
          "features must have the shape [pictures, channels, height, width]");
  const std::vector<int64_t> wide{size[0], size[1], 1, 1, size[2], size[3]};
  const ScoreMaps maps =
      score_maps(wide, std::vector<int64_t>{stride[0], stride[1], 0, 0, stride[2], stride[3]});
  require(maps.height == 0 || maps.width <= INT32_MAX / maps.height,
          "a map has more cells than an int32 counts");
  return maps;
}

inline Bins pooled_bins(int64_t height, int64_t width) {
  require(height > 0 && width > 0, "the output size must be positive, not ", height, " x ", width);
  return {height, width};
}

// [rois, channels, h, w] in the memory order of the features: with the channels of a bin side by side
// or as planes, so that a layer that follows finds the order it knows.
inline Tensor empty_bins(const Tensor& features, int64_t rois, const ScoreMaps& maps, Bins bins,
                         std::optional<int32_t> dtype = std::nullopt) {
  const int64_t channels = maps.classes, columns = bins.columns, all = bins.count();
  const std::vector<int64_t> planes{channels * all, all, columns, 1};
  const std::vector<int64_t> last{channels * all, 1, columns * channels, channels};
  return empty_like_maps(features, {rois, channels, bins.rows, columns},
                         maps.stride.klass == 1 ? last : planes, dtype);
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
