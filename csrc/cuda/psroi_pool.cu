// psroi_pool on CUDA: one thread computes one element with the functions of psroi_pool.h. The
// backward gathers over the RoIs instead of scattering with atomics: no races, the same bits at
// every run, no atomics on half precision, and every element of the result is written once.
#include "launch.cuh"

namespace rfcn {
namespace {

// n counts [roi][i][j][class]: neighbouring threads share a bin and write neighbouring scores.
template <class T, class S>
struct Forward {
  const T* features;
  ScoreMaps maps;
  const S* rois;
  Cutting<S> cutting;
  T* pooled;

  __device__ void operator()(int64_t n) const {
    const int64_t klass = n % maps.classes, bin = n / maps.classes;
    const int64_t j = bin % maps.k, i = bin / maps.k % maps.k, r = bin / (maps.k * maps.k);
    pooled[n] = static_cast<T>(
        pooled_score(features, maps, rois + r * kRoiColumns, cutting, klass, i, j));
  }
};

// n counts [roi][class]: neighbouring threads share all bins and write neighbouring votes.
template <class T, class S>
struct Vote {
  const T* features;
  ScoreMaps maps;
  const S* rois;
  Cutting<S> cutting;
  T* votes;

  __device__ void operator()(int64_t n) const {
    const int64_t klass = n % maps.classes, r = n / maps.classes;
    votes[n] = static_cast<T>(
        voted_score(features, maps, rois + r * kRoiColumns, cutting, klass));
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

// n counts the cells in memory order, so that neighbouring threads write neighbouring gradients:
// [..][y][x][class] where the classes of a cell lie side by side, [class][..][y][x] elsewhere.
template <class T, class S>
struct Backward {
  const T* gradient;
  PooledStrides stride;
  int64_t voters;
  const S* rois;
  int64_t count;
  const Range* tables;
  ScoreMaps maps;
  T* result;

  __device__ void operator()(int64_t n) const {
    int64_t klass = 0;
    const bool classes_first = maps.stride.klass == 1;
    if (classes_first) klass = n % maps.classes, n /= maps.classes;
    const int64_t x = n % maps.width, y = n / maps.width % maps.height;
    n /= maps.width * maps.height;
    const int64_t j = n % maps.k, i = n / maps.k % maps.k;
    n /= maps.k * maps.k;
    if (!classes_first) klass = n % maps.classes, n /= maps.classes;
    const T* bin = gradient + klass * stride.klass + i * stride.i + j * stride.j;
    result[maps.offset(n, klass, i, j) + y * maps.stride.y + x * maps.stride.x] = static_cast<T>(
        gradient_of_cell(bin, stride.roi, voters, rois, count, tables, maps.k, n, i, j, y, x));
  }
};

// One thread an element of `result`: Kernel is Forward or Vote.
template <template <class, class> class Kernel>
void launch_forward(const Tensor& features, const Tensor& rois, double spatial_scale,
                    int64_t semantics, const ScoreMaps& maps, Tensor& result) {
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "psroi_pool", [&] {
    using roi_t = scalar_t;
    RFCN_DISPATCH_MAPS(features.scalar_type(), "psroi_pool", [&] {
      for_each(result.numel(), features,
               Kernel<scalar_t, roi_t>{features.const_data_ptr<scalar_t>(), maps,
                                       rois.const_data_ptr<roi_t>(),
                                       cutting<roi_t>(semantics, spatial_scale, maps.k),
                                       result.mutable_data_ptr<scalar_t>()});
    });
  });
}

Tensor psroi_pool(Tensor features, Tensor rois, double spatial_scale, int64_t semantics) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor pooled = empty_pooled(features, rois.size(0), maps);
  launch_forward<Forward>(features, rois, spatial_scale, semantics, maps, pooled);
  return pooled;
}

Tensor psroi_vote(Tensor features, Tensor rois, double spatial_scale, int64_t semantics) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor votes = empty_votes(features, rois.size(0), maps);
  launch_forward<Vote>(features, rois, spatial_scale, semantics, maps, votes);
  return votes;
}

// Of bins [rois, classes, k, k] or of votes [rois, classes]: the gradient's shape says which.
Tensor backward(Tensor gradient, Tensor rois, double spatial_scale, int64_t semantics,
                std::vector<int64_t> size, std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = score_maps(size, stride);
  const int64_t count = rois.size(0), voters = gradient.dim() == 2 ? maps.k * maps.k : 1;
  const PooledStrides strides = gradient_strides(gradient, count, maps);
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  Tensor result = empty_like_maps(gradient, size, stride);
  Tensor ranges = torch::stable::empty({count, 2 * maps.k, 2}, torch::headeronly::ScalarType::Int,
                                       std::nullopt, gradient.device());
  Range* tables = reinterpret_cast<Range*>(ranges.mutable_data_ptr<int32_t>());
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "psroi_pool_backward", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    for_each(count, gradient,
             Tabulate<roi_t>{rows, maps, cutting<roi_t>(semantics, spatial_scale, maps.k), tables});
    RFCN_DISPATCH_MAPS(gradient.scalar_type(), "psroi_pool_backward", [&] {
      for_each(result.numel(), gradient,
               Backward<scalar_t, roi_t>{gradient.const_data_ptr<scalar_t>(), strides, voters, rows,
                                         count, tables, maps,
                                         result.mutable_data_ptr<scalar_t>()});
    });
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("psroi_pool", TORCH_BOX(&rfcn::psroi_pool));
  m.impl("psroi_pool_backward", TORCH_BOX(&rfcn::backward));
  m.impl("psroi_vote", TORCH_BOX(&rfcn::psroi_vote));
  m.impl("psroi_vote_backward", TORCH_BOX(&rfcn::backward));
}
