// Tensors to and from the plain structs that the arithmetic reads.
#pragma once

#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <vector>

#include "check.h"
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

inline Tensor empty_like_maps(const Tensor& like, const std::vector<int64_t>& size,
                              const std::vector<int64_t>& stride) {
  int32_t dtype = 0, device = 0;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &dtype));
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_device_type(like.get(), &device));
  AtenTensorHandle handle;
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(static_cast<int64_t>(size.size()), size.data(),
                                                  stride.data(), dtype, device,
                                                  like.get_device_index(), &handle));
  return Tensor(handle);
}

inline void check_gradient(const Tensor& gradient, int64_t rois, const ScoreMaps& maps) {
  require(gradient.dim() == 4 && gradient.size(0) == rois && gradient.size(1) == maps.classes &&
              gradient.size(2) == maps.k && gradient.size(3) == maps.k,
          "the gradient must have the shape [rois, classes, k, k]");
}

// [rois, classes, k, k] with all classes of a bin side by side (torch calls it channels-last).
inline Tensor empty_pooled(const Tensor& like, int64_t rois, const ScoreMaps& maps) {
  const int64_t k = maps.k, classes = maps.classes;
  return empty_like_maps(like, {rois, classes, k, k}, {k * k * classes, 1, k * classes, classes});
}

}  // namespace rfcn
