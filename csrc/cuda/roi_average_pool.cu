// roi_average_pool on CUDA: to psroi_pool's kernels the features are maps that every bin reads; the
// backward is AverageGather of block_gather.h.
#include "../roi_average_pool.h"
#include "gathering.cuh"

namespace rfcn {
namespace {

Tensor roi_average_pool(Tensor features, Tensor rois, int64_t k, double spatial_scale,
                        int64_t semantics) {
  require(features.dim() == 4 && k > 0, "features must have four dimensions and k be positive");
  const ScoreMaps maps = shared_maps(features.sizes(), features.strides(), k);
  const Rois rows = rois_of(rois, spatial_scale, semantics);
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor pooled = empty_pooled(features, rows.count, maps);
  RFCN_DISPATCH_MAPS(features.scalar_type(), "roi_average_pool",
                     [&] { pool<PoolKernel, scalar_t>(features, maps, rows, pooled); });
  return pooled;
}

Tensor roi_average_pool_backward(Tensor gradient, Tensor rois, int64_t k, double spatial_scale,
                                 int64_t semantics, std::vector<int64_t> size,
                                 std::vector<int64_t> stride) {
  require(gradient.dim() == 4, "the gradient must have the shape [rois, channels, k, k]");
  const ScoreMaps maps = shared_maps(size, stride, k);
  const Rois rows = rois_of(rois, spatial_scale, semantics);
  const PooledStrides strides = gradient_strides(gradient, rows.count, maps);
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  Tensor result = empty_like_maps(gradient, size, stride);
  const Tensor memory = table_memory(rows, maps, gradient);
  const RoiTables tables = tabulate(rows, maps, memory);
  RFCN_DISPATCH_MAPS(gradient.scalar_type(), "roi_average_pool_backward", [&] {
    gather<AverageGather, scalar_t>(gradient, strides, tables, maps, result);
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("roi_average_pool", TORCH_BOX(&rfcn::roi_average_pool));
  m.impl("roi_average_pool_backward", TORCH_BOX(&rfcn::roi_average_pool_backward));
}
