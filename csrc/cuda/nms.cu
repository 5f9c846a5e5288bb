// nms on CUDA: the two kernels of block_nms.h. Nothing returns to the host.
#include "../block_nms.h"

#include "team.cuh"

namespace rfcn {
namespace {

Tensor nms(Tensor boxes, std::optional<Tensor> groups, double threshold, int64_t limit) {
  using torch::headeronly::ScalarType;
  check_rows(boxes, 4, "boxes");
  const int64_t count = boxes.size(0), words = divide_up(count, kWordBoxes);
  const int64_t* group_of = group_numbers(groups, count);
  require(count <= INT32_MAX / 2, "boxes: ", count, " are too many for CUDA");
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const auto empty = [&](int64_t numel, ScalarType dtype) {
    return torch::stable::empty({numel}, dtype, std::nullopt, boxes.device());
  };
  Tensor keep = empty(count, ScalarType::Bool);
  if (count == 0) return keep;
  Tensor pairs = empty(count * words, ScalarType::Long);
  uint64_t* bits = reinterpret_cast<uint64_t*>(pairs.mutable_data_ptr<int64_t>());
  RFCN_DISPATCH_BOXES(boxes.scalar_type(), "nms", [&] {
    const NmsPairs<scalar_t> kernel{boxes.const_data_ptr<scalar_t>(), group_of, count, words,
                                    static_cast<scalar_t>(threshold),
                                    below(static_cast<scalar_t>(threshold)), bits};
    launch_tiles<kWordBoxes>(kernel, kernel.tiles(), kWordBoxes, boxes);
  });
  std::optional<Tensor> elsewhere;
  if (NmsWalk::needs_elsewhere(words)) {
    elsewhere = empty(NmsWalk::alive_words(words), ScalarType::Int);
  }
  void* alive = elsewhere.has_value() ? elsewhere->mutable_data_ptr<int32_t>() : nullptr;
  const NmsWalk walk{bits, count, words, limit < 0 ? count : limit, static_cast<uint32_t*>(alive),
                     keep.mutable_data_ptr<bool>()};
  launch_tiles<NmsWalk::kThreads>(walk, 1, NmsWalk::kThreads, boxes);
  return keep;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) { m.impl("nms", TORCH_BOX(&rfcn::nms)); }
