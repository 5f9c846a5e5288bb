// Tensors to and from the plain structs that the arithmetic reads.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <optional>
#include <vector>

#include "check.h"
#include "large_pages.h"
#include "psroi_pool.h"

namespace rfcn {

// size and stride of six entries: [pictures, classes, k, k, height, width].
template <class List>
ScoreMaps score_maps(const List& size, const List& stride) {
  require(size.size() == 6 && stride.size() == 6 && size[2] == size[3] && size[2] > 0,
          "score maps must have the shape [pictures, classes, k, k, height, width]");
  require(size[4] <= INT32_MAX && size[5] <= INT32_MAX, "a side of the score maps is too long");
  return {size[0], size[1], size[2], size[4], size[5],
          {stride[0], stride[1], stride[2], stride[3], stride[4], stride[5]}};
}

// Features [pictures, channels, height, width] as maps that all bins share (k = 1).
template <class List>
ScoreMaps shared_maps(const List& size, const List& stride) {
  require(size.size() == 4 && stride.size() == 4,
          "features must have the shape [pictures, channels, height, width]");
  const std::vector<int64_t> wide{size[0], size[1], 1, 1, size[2], size[3]};
  return score_maps(wide, std::vector<int64_t>{stride[0], stride[1], 0, 0, stride[2], stride[3]});
}

// Where `like` is, and of its dtype unless another is given.
inline Tensor empty_like_maps(const Tensor& like, const std::vector<int64_t>& size,
                              const std::vector<int64_t>& stride,
                              std::optional<int32_t> other_dtype = std::nullopt) {
  int32_t dtype = 0, device = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  dtype = other_dtype.value_or(dtype);
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(size.size()), size.data(),
                                                  stride.data(), dtype, device,
                                                  like.get_device_index(), &handle));
  Tensor made(handle);
  if (device == aoti_torch_device_type_cpu()) {
    int64_t bytes = 0;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_storage_size(handle, &bytes));
    expect_to_fill(made.mutable_data_ptr(), bytes);
  }
  return made;
}

// How the RoIs of a call are cut, in their own dtype.
template <class S>
Cutting<S> cutting(int64_t semantics, double spatial_scale, int64_t k) {
  require(semantics >= 0 && semantics <= 2, "semantics must be 0 (msra), 1 (paper) or 2 ",
          "(torchvision), not ", semantics);
  return {static_cast<Semantics>(semantics), static_cast<S>(spatial_scale), k};
}

// The strides of the gradient of pooled scores [rois, classes, k, k] or, of two dimensions, of votes
// [rois, classes].
inline PooledStrides gradient_strides(const Tensor& gradient, int64_t rois, const ScoreMaps& maps) {
  const bool voted = gradient.dim() == 2;
  require((voted || gradient.dim() == 4) && gradient.size(0) == rois &&
              gradient.size(1) == maps.classes &&
              (voted || (gradient.size(2) == maps.k && gradient.size(3) == maps.k)),
          "the gradient must have the shape [rois, classes, k, k], or [rois, classes] of a vote");
  if (voted) return {gradient.stride(0), gradient.stride(1), 0, 0};
  return {gradient.stride(0), gradient.stride(1), gradient.stride(2), gradient.stride(3)};
}

// [rois, classes, k, k] with all classes of a bin side by side (torch calls it channels-last).
inline Tensor empty_pooled(const Tensor& like, int64_t rois, const ScoreMaps& maps) {
  const int64_t k = maps.k, classes = maps.classes;
  return empty_like_maps(like, {rois, classes, k, k}, {k * k * classes, 1, k * classes, classes});
}

// [rois, classes].
inline Tensor empty_votes(const Tensor& like, int64_t rois, const ScoreMaps& maps) {
  return empty_like_maps(like, {rois, maps.classes}, {maps.classes, 1});
}

// [rois, channels, rows, columns] of bins that share the maps, in the memory order of the features:
// with the channels of a bin side by side or as planes, so that a layer that follows finds the order
// it knows.
inline Tensor empty_shared_bins(const Tensor& features, int64_t rois, const ScoreMaps& maps,
                                int64_t rows, int64_t columns,
                                std::optional<int32_t> dtype = std::nullopt) {
  const int64_t channels = maps.classes, all = rows * columns;
  const std::vector<int64_t> planes{channels * all, all, columns, 1};
  const std::vector<int64_t> last{channels * all, 1, columns * channels, channels};
  return empty_like_maps(features, {rois, channels, rows, columns},
                         maps.stride.klass == 1 ? last : planes, dtype);
}

}  // namespace rfcn
