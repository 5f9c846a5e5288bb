// deform_psroi_pool on CUDA: the kernels of block_deform.h and block_deform_gather.h.
#include "../block_deform_gather.h"
#include "../deform_tensors.h"
#include "team.cuh"

namespace rfcn {
namespace {

EitherCall either_call(const DeformArguments& given, const ScoreMaps& maps) {
  EitherCall call{};
  call.wide = given.rois.scalar_type() == torch::headeronly::ScalarType::Double;
  if (call.wide) {
    call.twice = given.call<double>(maps);
  } else {
    call.single = given.call<float>(maps);
  }
  return call;
}

Tensor deform_psroi_pool(Tensor features, Tensor rois, std::optional<Tensor> offsets,
                         double spatial_scale, int64_t samples, double offset_scale) {
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const DeformArguments given{rois, offsets, spatial_scale, samples, offset_scale};
  given.check(maps);
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor pooled = empty_pooled(features, given.count(), maps);
  const EitherCall call = either_call(given, maps);
  RFCN_DISPATCH_MAPS(features.scalar_type(), "deform_psroi_pool", [&] {
    using Kernel = DeformKernel<scalar_t>;
    const SlotPlan plan = Kernel::plan_for(given.count(), call);
    launch_tiles(Kernel{features.const_data_ptr<scalar_t>(), call, plan,
                        pooled.mutable_data_ptr<scalar_t>()},
                 plan.tiles, plan.threads, features);
  });
  return pooled;
}

Tensor deform_psroi_pool_backward(Tensor gradient, Tensor rois, std::optional<Tensor> offsets,
                                  double spatial_scale, int64_t samples, double offset_scale,
                                  std::vector<int64_t> size, std::vector<int64_t> stride) {
  const ScoreMaps maps = score_maps(size, stride);
  const DeformArguments given{rois, offsets, spatial_scale, samples, offset_scale};
  given.check(maps);
  const PooledStrides strides = given.strides_of(gradient, maps);
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  Tensor result = empty_like_maps(gradient, size, stride);
  const EitherCall call = either_call(given, maps);
  RFCN_DISPATCH_MAPS(gradient.scalar_type(), "deform_psroi_pool_backward", [&] {
    using Kernel = DeformGatherKernel<scalar_t>;
    const DeformGatherPlan plan = Kernel::plan_for(call);
    if (maps.classes == 0) return;
    launch_tiles(Kernel{gradient.const_data_ptr<scalar_t>(), strides, call,
                        given.count(), plan, result.mutable_data_ptr<scalar_t>()},
                 plan.tiles, plan.threads, gradient);
  });
  return result;
}

Tensor deform_psroi_pool_offsets_backward(Tensor gradient, Tensor features, Tensor rois,
                                          Tensor offsets, double spatial_scale, int64_t samples,
                                          double offset_scale) {
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const DeformArguments given{rois, offsets, spatial_scale, samples, offset_scale};
  given.check(maps);
  const PooledStrides strides = given.strides_of(gradient, maps);
  require(gradient.scalar_type() == features.scalar_type(),
          "the gradient must have the dtype of features");
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor result = empty_offsets(offsets);
  const EitherCall call = either_call(given, maps);
  void* moves = call.wide ? static_cast<void*>(result.mutable_data_ptr<double>())
                          : static_cast<void*>(result.mutable_data_ptr<float>());
  RFCN_DISPATCH_MAPS(features.scalar_type(), "deform_psroi_pool_offsets_backward", [&] {
    using Kernel = DeformOffsetsKernel<scalar_t>;
    const SlotPlan plan = Kernel::plan_for(given.count(), call);
    launch_tiles(Kernel{gradient.const_data_ptr<scalar_t>(), strides,
                        features.const_data_ptr<scalar_t>(), call, plan, moves},
                 plan.tiles, plan.threads, features);
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("deform_psroi_pool", TORCH_BOX(&rfcn::deform_psroi_pool));
  m.impl("deform_psroi_pool_backward", TORCH_BOX(&rfcn::deform_psroi_pool_backward));
  m.impl("deform_psroi_pool_offsets_backward",
         TORCH_BOX(&rfcn::deform_psroi_pool_offsets_backward));
}
