// psroi_pool and psroi_vote on CUDA, backward: PsroiGather of block_gather.h.
#include "gathering.cuh"

namespace rfcn {
namespace {

// Of bins [rois, classes, k, k] or of votes [rois, classes]: the gradient's shape says which.
Tensor backward(Tensor gradient, Tensor rois, double spatial_scale, int64_t semantics,
                std::vector<int64_t> size, std::vector<int64_t> stride) {
  const ScoreMaps maps = score_maps(size, stride);
  const Rois rows = rois_of(rois, spatial_scale, semantics);
  const PooledStrides strides = gradient_strides(gradient, rows.count, maps);
  const int64_t voters = gradient.dim() == 2 ? maps.k * maps.k : 1;
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  Tensor result = empty_like_maps(gradient, size, stride);
  const Tensor memory = table_memory(rows, maps, gradient);
  const RoiTables tables = tabulate(rows, maps, memory);
  RFCN_DISPATCH_MAPS(gradient.scalar_type(), "psroi_pool_backward", [&] {
    gather<PsroiGather, scalar_t>(gradient, strides, tables, maps, result, voters);
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("psroi_pool_backward", TORCH_BOX(&rfcn::backward));
  m.impl("psroi_vote_backward", TORCH_BOX(&rfcn::backward));
}
