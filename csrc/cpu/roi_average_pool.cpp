// roi_average_pool on the CPU. All channels share the cells of a bin, so they lie side by side: in
// the features (other orders are copied first), in the result, and in the tiles of cells that the
// backward fills, adding the RoIs in their order, before it writes them once.
#include <torch/csrc/stable/library.h>

#include "../roi_average_pool.h"
#include "orders.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

// The same maps in the order [picture][y][x][channel].
ScoreMaps channels_last(ScoreMaps maps) {
  const int64_t channels = maps.classes;
  maps.stride = {maps.height * maps.width * channels, 1, 0, 0, maps.width * channels, channels};
  return maps;
}

template <class T>
std::unique_ptr<T[]> copied_to(const ScoreMaps& last, const T* features, const ScoreMaps& maps) {
  const int64_t rows = maps.pictures * maps.height;
  auto copied = scratch<T>(rows * last.stride.y);
  torch::stable::parallel_for(0, rows, 1, [&](int64_t first, int64_t end) {
    for (int64_t row = first; row < end; ++row) {
      copy(features + row / maps.height * maps.stride.picture + row % maps.height * maps.stride.y,
           maps.stride.x, maps.stride.klass, copied.get() + row * last.stride.y, last.stride.x,
           int64_t(1), maps.width, maps.classes);
    }
  });
  return copied;
}

// maps: channels-last.
template <class T, class S>
void pool(const T* features, const ScoreMaps& maps, const S* rois, int64_t count,
          const std::vector<Range>& tables, T* pooled) {
  const int64_t k = maps.k, channels = maps.classes;
  torch::stable::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const Range* ranges = tables.data() + r * 2 * k;
      const T* map = features + static_cast<int64_t>(rois[r * kRoiColumns]) * maps.stride.picture;
      T* out = pooled + r * k * k * channels;
      for (int64_t bin = 0; bin < k * k; ++bin, out += channels) {
        means_of_bin(map, maps.stride.y, maps.stride.x, ranges[bin / k], ranges[k + bin % k],
                     channels, out);
      }
    }
  });
}

Tensor roi_average_pool(Tensor features, Tensor rois, int64_t k, double spatial_scale,
                        int64_t semantics) {
  check_rows(rois, kRoiColumns, "rois");
  require(features.dim() == 4 && k > 0, "features must have four dimensions and k be positive");
  const ScoreMaps maps = shared_maps(features.sizes(), features.strides(), k);
  const int64_t count = rois.size(0);
  Tensor pooled = empty_pooled(features, count, maps);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_average_pool", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    const std::vector<Range> tables =
        tabulate(rows, count, maps, cutting<roi_t>(semantics, spatial_scale, k));
    RFCN_DISPATCH_MAPS(features.scalar_type(), "roi_average_pool", [&] {
      const scalar_t* in = features.const_data_ptr<scalar_t>();
      scalar_t* out = pooled.mutable_data_ptr<scalar_t>();
      if (maps.stride.klass == 1 || maps.classes == 1) {
        pool(in, maps, rows, count, tables, out);
      } else {
        const ScoreMaps last = channels_last(maps);
        pool(copied_to(last, in, maps).get(), last, rows, count, tables, out);
      }
    });
  });
  return pooled;
}

// Each thread takes some channels of all cells of a picture and adds the RoIs in their order: in
// place where the channels of the result lie side by side, else in a tile that it stores at the end.
template <class T>
struct Backward {
  using A = accumulate_t<T>;
  static constexpr int64_t kTileBytes = 4 << 20;  // long pieces of a gradient, few threads' tiles
  const T* gradient;  // any strides
  PooledStrides stride;
  const ScoreMaps& maps;
  const std::vector<std::vector<int64_t>>& rois;
  const std::vector<Range>& tables;
  T* result;

  void add_roi(int64_t r, const TilePlan::Part& part, A* share, A* cells, int64_t step) const {
    const int64_t k = maps.k;
    const Range* ranges = tables.data() + r * 2 * k;
    for (int64_t bin = 0; bin < k * k; ++bin) {
      const Range rows = ranges[bin / k], columns = ranges[k + bin % k];
      const int64_t area = size(rows) * size(columns);
      if (area == 0) continue;
      const T* in = gradient + r * stride.roi + part.klass * stride.klass + bin / k * stride.i +
                    bin % k * stride.j;
      for (int64_t c = 0; c < part.classes; ++c) {
        share[c] = static_cast<A>(in[c * stride.klass]) / static_cast<A>(area);
      }
      add_to_bin(cells, maps.width * step, step, rows, columns, part.classes, share);
    }
  }

  void fill(const TilePlan::Part& part, A* share, A* tile, int64_t lanes) const {
    T* out = result + maps.offset(part.picture, part.klass, 0, 0);
    if constexpr (std::is_same_v<T, A>) {
      const bool rows_join = maps.stride.y == maps.width * maps.stride.x;
      if (maps.stride.klass == 1 && rows_join) {
        for (int64_t cell = 0; cell < maps.height * maps.width; ++cell) {
          std::fill_n(out + cell * maps.stride.x, part.classes, T(0));
        }
        for (const int64_t r : rois[part.picture]) add_roi(r, part, share, out, maps.stride.x);
        return;
      }
    }
    std::fill_n(tile, maps.height * maps.width * lanes, A(0));
    for (const int64_t r : rois[part.picture]) add_roi(r, part, share, tile, lanes);
    store_tile(tile, maps, part.classes, lanes, out);
  }

  void run() const {
    ScoreMaps one_bin = maps;
    one_bin.k = 1;  // a tile serves all bins
    const TilePlan plan(one_bin, sizeof(A), kTileBytes);
    torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
      const auto tile = scratch<A>(plan.cells * plan.lanes), share = scratch<A>(plan.lanes);
      for (int64_t t = first; t < last; ++t) {
        fill(plan.part(t), share.get(), tile.get(), plan.lanes);
      }
    });
  }
};

Tensor roi_average_pool_backward(Tensor gradient, Tensor rois, int64_t k, double spatial_scale,
                                 int64_t semantics, std::vector<int64_t> size,
                                 std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = shared_maps(size, stride, k);
  const int64_t count = rois.size(0);
  require(gradient.dim() == 4, "the gradient must have the shape [rois, channels, k, k]");
  const PooledStrides strides = gradient_strides(gradient, count, maps);
  Tensor result = empty_like_maps(gradient, size, stride);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_average_pool_backward", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    const std::vector<Range> tables =
        tabulate(rows, count, maps, cutting<roi_t>(semantics, spatial_scale, k));
    const auto lists = rois_by_picture(rows, count, maps.pictures);
    RFCN_DISPATCH_MAPS(gradient.scalar_type(), "roi_average_pool_backward", [&] {
      Backward<scalar_t>{gradient.const_data_ptr<scalar_t>(), strides, maps, lists, tables,
                         result.mutable_data_ptr<scalar_t>()}
          .run();
    });
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("roi_average_pool", TORCH_BOX(&rfcn::roi_average_pool));
  m.impl("roi_average_pool_backward", TORCH_BOX(&rfcn::roi_average_pool_backward));
}
