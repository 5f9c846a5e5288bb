// psroi_pool and psroi_vote on CUDA, forward: the kernels of block_pool.h.
#include "pooling.cuh"

namespace rfcn {
namespace {

Tensor psroi_pool(Tensor features, Tensor rois, double spatial_scale, int64_t semantics) {
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const Rois rows = rois_of(rois, spatial_scale, semantics);
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor pooled = empty_pooled(features, rows.count, maps);
  RFCN_DISPATCH_MAPS(features.scalar_type(), "psroi_pool",
                     [&] { pool<PoolKernel, scalar_t>(features, maps, rows, pooled); });
  return pooled;
}

Tensor psroi_vote(Tensor features, Tensor rois, double spatial_scale, int64_t semantics) {
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const Rois rows = rois_of(rois, spatial_scale, semantics);
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor votes = empty_votes(features, rows.count, maps);
  RFCN_DISPATCH_MAPS(features.scalar_type(), "psroi_vote",
                     [&] { pool<VoteKernel, scalar_t>(features, maps, rows, votes); });
  return votes;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("psroi_pool", TORCH_BOX(&rfcn::psroi_pool));
  m.impl("psroi_vote", TORCH_BOX(&rfcn::psroi_vote));
}
