// What the kernels refuse, in one wording. The Python face has checked shapes, dtypes and devices
// with better words before; these guard a direct call of torch.ops.rfcn.
#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/Dispatch.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <sstream>
#include <stdexcept>

#include "geometry.h"

// Runs the lambda with `scalar_t` naming the dtype of maps (four) or of RoIs and boxes (two).
#define RFCN_DISPATCH_MAPS(TYPE, NAME, ...)                                             \
  THO_DISPATCH_SWITCH(TYPE, NAME,                                                       \
                      THO_DISPATCH_CASE(torch::headeronly::ScalarType::Float, __VA_ARGS__)  \
                      THO_DISPATCH_CASE(torch::headeronly::ScalarType::Double, __VA_ARGS__) \
                      THO_DISPATCH_CASE(torch::headeronly::ScalarType::Half, __VA_ARGS__)   \
                      THO_DISPATCH_CASE(torch::headeronly::ScalarType::BFloat16, __VA_ARGS__))
#define RFCN_DISPATCH_BOXES(TYPE, NAME, ...)                                            \
  THO_DISPATCH_SWITCH(TYPE, NAME,                                                       \
                      THO_DISPATCH_CASE(torch::headeronly::ScalarType::Float, __VA_ARGS__)  \
                      THO_DISPATCH_CASE(torch::headeronly::ScalarType::Double, __VA_ARGS__))

namespace rfcn {

using torch::stable::Tensor;

template <class... Parts>
void require(bool condition, const Parts&... parts) {
  if (condition) return;
  std::ostringstream message;
  (message << ... << parts);
  throw std::runtime_error(message.str());
}

inline void check_rows(const Tensor& rows, int64_t columns, const char* name) {
  require(rows.dim() == 2 && rows.size(1) == columns && rows.is_contiguous(), name,
          " must be contiguous with shape [*, ", columns, "]");
}

// The groups of `count` boxes, or null where there are none.
inline const int64_t* group_numbers(const std::optional<Tensor>& groups, int64_t count) {
  if (!groups.has_value()) return nullptr;
  require(groups->dim() == 1 && groups->size(0) == count && groups->is_contiguous() &&
              groups->scalar_type() == torch::headeronly::ScalarType::Long,
          "groups must be contiguous int64 with one entry a box");
  return groups->const_data_ptr<int64_t>();
}

// Boxes [B, 4] and scores [B] of one dtype, and the number of a way to lower scores.
inline void check_scored_boxes(const Tensor& boxes, const Tensor& scores, int64_t decay) {
  check_rows(boxes, 4, "boxes");
  require(scores.dim() == 1 && scores.size(0) == boxes.size(0) && scores.is_contiguous() &&
              scores.scalar_type() == boxes.scalar_type(),
          "scores must be contiguous, one a box and of the dtype of the boxes");
  require(decay == 0 || decay == 1, "decay must be 0 (linear) or 1 (gaussian), not ", decay);
}

// Names the first RoI row that no kernel can use. CPU only: on CUDA it would stall the stream.
template <class S>
void check_rois(const S* rois, int64_t count, int64_t pictures) {
  for (int64_t r = 0; r < count; ++r) {
    const S* roi = rois + r * kRoiColumns;
    require(is_valid(roi, pictures), "rois: row ", r, " is (", roi[0], ", ", roi[1], ", ", roi[2],
            ", ", roi[3], ", ", roi[4], "), but column 0 must be a whole number in 0..",
            pictures - 1, " (the batch has ", pictures,
            " pictures) and the corners must be finite");
  }
}

}  // namespace rfcn
