// roi_pool on CUDA: the kernels of block_roi_pool.h.
#include "../block_roi_pool.h"

#include "../roi_pool_tensors.h"
#include "team.cuh"

namespace rfcn {
namespace {

std::tuple<Tensor, Tensor> roi_pool(Tensor features, Tensor rois, int64_t height, int64_t width,
                                    double spatial_scale, bool with_cells) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = feature_maps(features.sizes(), features.strides());
  const Bins bins = pooled_bins(height, width);
  const int64_t count = rois.size(0);
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor pooled = empty_bins(features, count, maps, bins);
  Tensor cells = empty_cells(features, count, maps, bins, with_cells);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_pool", [&] {
    using roi_t = scalar_t;
    RFCN_DISPATCH_MAPS(features.scalar_type(), "roi_pool", [&] {
      const MaxPoolKernel<scalar_t, roi_t> kernel{
          features.const_data_ptr<scalar_t>(), maps, rois.const_data_ptr<roi_t>(), count,
          static_cast<roi_t>(spatial_scale),   bins, pooled.mutable_data_ptr<scalar_t>(),
          with_cells ? cells.mutable_data_ptr<int32_t>() : nullptr};
      launch_tiles(kernel, kernel.tiles(), kMostThreads, features);
    });
  });
  return {pooled, cells};
}

template <class S>
struct Tabulate {
  const S* rois;
  int64_t count;
  S scale;
  Bins bins;
  ScoreMaps maps;
  int64_t* memory;

  __device__ void operator()(int64_t n) const {
    tabulate_max_pool(n, rois, count, scale, bins, maps, memory);
  }
};

Tensor roi_pool_backward(Tensor gradient, Tensor cells, Tensor rois, double spatial_scale,
                         std::vector<int64_t> size, std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = feature_maps(size, stride);
  const int64_t count = rois.size(0);
  check_winners(gradient, cells, count, maps);
  const Bins bins{gradient.size(2), gradient.size(3)};
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  Tensor result = empty_like_maps(gradient, size, stride);
  const int64_t words = RoiTables::words(count, longer_side(bins));
  Tensor memory = torch::stable::empty({words}, torch::headeronly::ScalarType::Long, std::nullopt,
                                       gradient.device());
  int64_t* data = memory.mutable_data_ptr<int64_t>();
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_pool_backward", [&] {
    for_each(words, gradient,
             Tabulate<scalar_t>{rois.const_data_ptr<scalar_t>(), count,
                                static_cast<scalar_t>(spatial_scale), bins, maps, data});
  });
  const RoiTables tables = tables_in(data, count, longer_side(bins));
  RFCN_DISPATCH_MAPS(gradient.scalar_type(), "roi_pool_backward", [&] {
    const MaxGather<scalar_t> kernel{
        {gradient.const_data_ptr<scalar_t>(), pooled_strides(gradient), tables, maps,
         MaxGather<scalar_t>::plan_for(maps), result.mutable_data_ptr<scalar_t>()},
        bins,
        cells.const_data_ptr<int32_t>(),
        pooled_strides(cells)};
    launch_tiles(kernel, kernel.plan.tiles, kernel.plan.threads, gradient);
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("roi_pool", TORCH_BOX(&rfcn::roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&rfcn::roi_pool_backward));
}
