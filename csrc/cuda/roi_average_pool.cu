// roi_average_pool on CUDA: one thread computes one element with the functions of psroi_pool.h and
// roi_average_pool.h. The backward gathers: no races, the same bits at every run.
#include "../roi_average_pool.h"
#include "launch.cuh"

namespace rfcn {
namespace {

// n counts [roi][i][j][channel]: neighbouring threads share a bin and write neighbouring values.
template <class T, class S>
struct Forward {
  const T* features;
  ScoreMaps maps;
  const S* rois;
  Cutting<S> cutting;
  T* pooled;

  __device__ void operator()(int64_t n) const {
    const int64_t channel = n % maps.classes, bin = n / maps.classes;
    const int64_t j = bin % maps.k, i = bin / maps.k % maps.k, r = bin / (maps.k * maps.k);
    pooled[n] = static_cast<T>(
        pooled_score(features, maps, rois + r * kRoiColumns, cutting, channel, i, j));
  }
};

template <class S>
struct Tabulate {
  const S* rois;
  ScoreMaps maps;
  Cutting<S> cutting;
  Range* tables;

  __device__ void operator()(int64_t r) const {
    const S* roi = rois + r * kRoiColumns;
    tabulate_cells(roi, is_valid(roi, maps.pictures), cutting, maps.height, maps.width,
                   tables + r * 2 * maps.k);
  }
};

// n counts the cells in memory order, so that neighbouring threads write neighbouring gradients.
template <class T, class S>
struct Backward {
  const T* gradient;
  PooledStrides stride;
  const S* rois;
  int64_t count;
  const Range* tables;
  ScoreMaps maps;
  T* result;

  __device__ void operator()(int64_t n) const {
    int64_t channel = 0;
    const bool channels_first = maps.stride.klass == 1;
    if (channels_first) channel = n % maps.classes, n /= maps.classes;
    const int64_t x = n % maps.width, y = n / maps.width % maps.height;
    n /= maps.width * maps.height;
    if (!channels_first) channel = n % maps.classes, n /= maps.classes;
    result[maps.offset(n, channel, 0, 0) + y * maps.stride.y + x * maps.stride.x] =
        static_cast<T>(gradient_of_shared_cell(gradient + channel * stride.klass, stride, rois,
                                               count, tables, maps.k, n, y, x));
  }
};

Tensor roi_average_pool(Tensor features, Tensor rois, int64_t k, double spatial_scale,
                        int64_t semantics) {
  check_rows(rois, kRoiColumns, "rois");
  require(features.dim() == 4 && k > 0, "features must have four dimensions and k be positive");
  const ScoreMaps maps = shared_maps(features.sizes(), features.strides(), k);
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor pooled = empty_pooled(features, rois.size(0), maps);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_average_pool", [&] {
    using roi_t = scalar_t;
    RFCN_DISPATCH_MAPS(features.scalar_type(), "roi_average_pool", [&] {
      for_each(pooled.numel(), features,
               Forward<scalar_t, roi_t>{features.const_data_ptr<scalar_t>(), maps,
                                        rois.const_data_ptr<roi_t>(),
                                        cutting<roi_t>(semantics, spatial_scale, k),
                                        pooled.mutable_data_ptr<scalar_t>()});
    });
  });
  return pooled;
}

Tensor roi_average_pool_backward(Tensor gradient, Tensor rois, int64_t k, double spatial_scale,
                                 int64_t semantics, std::vector<int64_t> size,
                                 std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = shared_maps(size, stride, k);
  const int64_t count = rois.size(0);
  require(gradient.dim() == 4, "the gradient must have the shape [rois, channels, k, k]");
  const PooledStrides strides = gradient_strides(gradient, count, maps);
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  Tensor result = empty_like_maps(gradient, size, stride);
  Tensor ranges = torch::stable::empty({count, 2 * maps.k, 2}, torch::headeronly::ScalarType::Int,
                                       std::nullopt, gradient.device());
  Range* tables = reinterpret_cast<Range*>(ranges.mutable_data_ptr<int32_t>());
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_average_pool_backward", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    for_each(count, gradient,
             Tabulate<roi_t>{rows, maps, cutting<roi_t>(semantics, spatial_scale, k), tables});
    RFCN_DISPATCH_MAPS(gradient.scalar_type(), "roi_average_pool_backward", [&] {
      for_each(result.numel(), gradient,
               Backward<scalar_t, roi_t>{gradient.const_data_ptr<scalar_t>(), strides, rows, count,
                                         tables, maps, result.mutable_data_ptr<scalar_t>()});
    });
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("roi_average_pool", TORCH_BOX(&rfcn::roi_average_pool));
  m.impl("roi_average_pool_backward", TORCH_BOX(&rfcn::roi_average_pool_backward));
}
