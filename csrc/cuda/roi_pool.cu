// roi_pool on CUDA: one thread computes one element with the functions of roi_pool.h. The backward
// gathers instead of scattering with atomics: for every row of cells the RoIs that read it are
// listed first, in their order, so that a cell asks those alone and sums the same at every run.
#include "../roi_pool_tensors.h"
#include "launch.cuh"

namespace rfcn {
namespace {

// n counts the results in memory order: [roi][i][j][channel] where the channels lie side by side,
// [roi][channel][i][j] elsewhere. Neighbouring threads write neighbours.
template <class T, class S>
struct Forward {
  const T* features;
  ScoreMaps maps;
  Bins bins;
  const S* rois;
  S scale;
  T* pooled;
  int32_t* cells;

  __device__ void operator()(int64_t n) const {
    const bool last = maps.stride.klass == 1;
    int64_t rest = n, channel = 0;
    if (last) channel = rest % maps.classes, rest /= maps.classes;
    const int64_t j = rest % bins.columns, i = rest / bins.columns % bins.rows;
    rest /= bins.count();
    if (!last) channel = rest % maps.classes, rest /= maps.classes;
    const auto best =
        pooled_best(features, maps, bins, rois + rest * kRoiColumns, scale, channel, i, j);
    pooled[n] = static_cast<T>(best.value);
    if (cells != nullptr) cells[n] = best.cell;
  }
};

template <class S>
struct Tabulate {
  const S* rois;
  ScoreMaps maps;
  Bins bins;
  S scale;
  Range* tables;

  __device__ void operator()(int64_t r) const {
    const S* roi = rois + r * kRoiColumns;
    tabulate_max_pool(roi, is_valid(roi, maps.pictures), scale, bins, maps.height, maps.width,
                      tables + r * bins.ranges());
  }
};

// Row n = picture * height + y: lists[n * count ...] are the RoIs that read it, listed[n] how many.
// One warp a row; a vote of the warp keeps their order.
template <class S>
__global__ void list_by_row(const S* rois, const Range* tables, int64_t count, ScoreMaps maps,
                            Bins bins, int32_t* lists, int32_t* listed) {
  const int64_t n = (static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x) / 32;
  if (n >= maps.pictures * maps.height) return;  // whole warps leave
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int32_t y = static_cast<int32_t>(n % maps.height);
  const int64_t picture = n / maps.height;
  int32_t found = 0;
  for (int64_t first = 0; first < count; first += 32) {
    const int64_t r = first + lane;
    // A row that is not valid has empty ranges: its picture is not asked.
    const bool reads = r < count && reads_row(tables + r * bins.ranges(), bins, y) &&
                       static_cast<int64_t>(rois[r * kRoiColumns]) == picture;
    const unsigned votes = __ballot_sync(0xffffffffu, reads);
    if (reads) {
      const int before = __popc(votes & ((1u << lane) - 1u));
      lists[n * count + found + before] = static_cast<int32_t>(r);
    }
    found += __popc(votes);
  }
  if (lane == 0) listed[n] = found;
}

// n counts the cells in memory order: [picture][y][x][channel] where the channels lie side by side,
// [picture][channel][y][x] elsewhere.
template <class T>
struct Backward {
  const T* gradient;
  PooledStrides of_gradient;
  const int32_t* cells;
  PooledStrides of_cells;
  const int32_t *lists, *listed;
  int64_t count;
  const Range* tables;
  ScoreMaps maps;
  Bins bins;
  T* result;

  __device__ void operator()(int64_t n) const {
    const bool last = maps.stride.klass == 1;
    int64_t channel = 0;
    if (last) channel = n % maps.classes, n /= maps.classes;
    const int64_t x = n % maps.width, y = n / maps.width % maps.height;
    n /= maps.width * maps.height;
    if (!last) channel = n % maps.classes, n /= maps.classes;
    const int64_t row = n * maps.height + y;
    result[maps.offset(n, channel, 0, 0) + y * maps.stride.y + x * maps.stride.x] =
        static_cast<T>(gradient_of_winner(
            gradient + channel * of_gradient.klass, of_gradient, cells + channel * of_cells.klass,
            of_cells, lists + row * count, listed[row], tables, bins, static_cast<int32_t>(y),
            static_cast<int32_t>(x), static_cast<int32_t>(y * maps.width + x)));
  }
};

std::tuple<Tensor, Tensor> roi_pool(Tensor features, Tensor rois, int64_t height, int64_t width,
                                    double spatial_scale, bool with_cells) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = feature_maps(features.sizes(), features.strides());
  const Bins bins = pooled_bins(height, width);
  const torch::stable::accelerator::DeviceGuard guard(features.get_device_index());
  Tensor pooled = empty_bins(features, rois.size(0), maps, bins);
  Tensor cells = empty_cells(features, rois.size(0), maps, bins, with_cells);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_pool", [&] {
    using roi_t = scalar_t;
    RFCN_DISPATCH_MAPS(features.scalar_type(), "roi_pool", [&] {
      for_each(pooled.numel(), features,
               Forward<scalar_t, roi_t>{features.const_data_ptr<scalar_t>(), maps, bins,
                                        rois.const_data_ptr<roi_t>(),
                                        static_cast<roi_t>(spatial_scale),
                                        pooled.mutable_data_ptr<scalar_t>(),
                                        with_cells ? cells.mutable_data_ptr<int32_t>() : nullptr});
    });
  });
  return {pooled, cells};
}

Tensor roi_pool_backward(Tensor gradient, Tensor cells, Tensor rois, double spatial_scale,
                         std::vector<int64_t> size, std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = feature_maps(size, stride);
  const int64_t count = rois.size(0);
  check_winners(gradient, cells, count, maps);
  const Bins bins{gradient.size(2), gradient.size(3)};
  const torch::stable::accelerator::DeviceGuard guard(gradient.get_device_index());
  Tensor result = empty_like_maps(gradient, size, stride);
  const auto integers = [&](int64_t numel) {
    return torch::stable::empty({numel}, torch::headeronly::ScalarType::Int, std::nullopt,
                                gradient.device());
  };
  const int64_t map_rows = maps.pictures * maps.height;
  Tensor ranges = integers(count * bins.ranges() * 2), lists = integers(map_rows * count);
  Tensor listed = integers(map_rows);
  Range* tables = reinterpret_cast<Range*>(ranges.mutable_data_ptr<int32_t>());
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_pool_backward", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    for_each(count, gradient,
             Tabulate<roi_t>{rows, maps, bins, static_cast<roi_t>(spatial_scale), tables});
    if (map_rows > 0) {
      const int64_t blocks = (map_rows * 32 + kThreads - 1) / kThreads;
      require(blocks <= INT32_MAX, "the maps have too many rows");
      list_by_row<<<static_cast<unsigned>(blocks), kThreads, 0, current_stream(gradient)>>>(
          rows, tables, count, maps, bins, lists.mutable_data_ptr<int32_t>(),
          listed.mutable_data_ptr<int32_t>());
      check_launch();
    }
  });
  RFCN_DISPATCH_MAPS(gradient.scalar_type(), "roi_pool_backward", [&] {
    for_each(result.numel(), gradient,
             Backward<scalar_t>{gradient.const_data_ptr<scalar_t>(), pooled_strides(gradient),
                                cells.const_data_ptr<int32_t>(), pooled_strides(cells),
                                lists.const_data_ptr<int32_t>(), listed.const_data_ptr<int32_t>(),
                                count, tables, maps, bins, result.mutable_data_ptr<scalar_t>()});
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("roi_pool", TORCH_BOX(&rfcn::roi_pool));
  m.impl("roi_pool_backward", TORCH_BOX(&rfcn::roi_pool_backward));
}
