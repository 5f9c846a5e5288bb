// soft_nms on CUDA: the kernel of block_soft_nms.h. Nothing returns to the host.
#include "../block_soft_nms.h"

#include "team.cuh"

namespace rfcn {
namespace {

Tensor soft_nms(Tensor boxes, Tensor scores, std::optional<Tensor> groups, int64_t decay,
                double threshold, double sigma, double score_threshold, int64_t limit) {
  check_scored_boxes(boxes, scores, decay);
  const int64_t count = boxes.size(0);
  const int64_t* group_of = group_numbers(groups, count);
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  Tensor falling = torch::stable::clone(scores);
  Tensor rescored = torch::stable::empty_like(scores);
  RFCN_DISPATCH_BOXES(boxes.scalar_type(), "soft_nms", [&] {
    const SoftRules<scalar_t> rules{
        static_cast<Decay>(decay), static_cast<scalar_t>(threshold),
        static_cast<scalar_t>(sigma), static_cast<scalar_t>(score_threshold)};
    const SoftNmsRuns<scalar_t> kernel{
        boxes.const_data_ptr<scalar_t>(),      group_of, count, limit < 0 ? count : limit, rules,
        falling.mutable_data_ptr<scalar_t>(), rescored.mutable_data_ptr<scalar_t>()};
    launch_tiles<SoftNmsRuns<scalar_t>::kThreads>(kernel, kernel.tiles(),
                                                  SoftNmsRuns<scalar_t>::kThreads, boxes);
  });
  return rescored;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) { m.impl("soft_nms", TORCH_BOX(&rfcn::soft_nms)); }
