// psroi_pool on the CPU. The classes of a bin share its cells, so a kernel wants all classes of a
// cell side by side. Maps that lie so are read in place, in parallel over RoIs. Of others, one bin
// at a time is copied to a tile that stays in the cache while every RoI reads it, or, backward,
// adds to it: each map is touched once, no two threads meet, and sums keep the order of the RoIs.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <type_traits>

#include "../tensors.h"
#include "tiles.h"

namespace rfcn {
namespace {

template <class S>
std::vector<Range> tabulate(const S* rois, int64_t count, const ScoreMaps& maps, double scale) {
  check_rois(rois, count, maps.pictures);
  std::vector<Range> tables(count * 2 * maps.k);
  for (int64_t r = 0; r < count; ++r) {
    tabulate_cells(rois + r * kRoiColumns, true, static_cast<S>(scale), maps.k, maps.height,
                   maps.width, tables.data() + r * 2 * maps.k);
  }
  return tables;
}

template <class S>
std::vector<std::vector<int64_t>> rois_by_picture(const S* rois, int64_t count, int64_t pictures) {
  std::vector<std::vector<int64_t>> lists(pictures);
  for (int64_t r = 0; r < count; ++r) {
    lists[static_cast<int64_t>(rois[r * kRoiColumns])].push_back(r);
  }
  return lists;
}

// Few RoIs touch less memory than a tile of the whole map would.
bool reads_little(const std::vector<Range>& tables, const ScoreMaps& maps) {
  const int64_t k = maps.k, rois = static_cast<int64_t>(tables.size()) / (2 * k);
  int64_t cells = 0;
  for (int64_t r = 0; r < rois; ++r) {
    int64_t rows = 0, columns = 0;
    for (int64_t p = 0; p < k; ++p) {
      rows += size(tables[r * 2 * k + p]);
      columns += size(tables[r * 2 * k + k + p]);
    }
    cells += rows * columns;
  }
  return 4 * cells < k * k * maps.height * maps.width * maps.pictures;
}

template <class T, class S>
void pool_in_place(const T* features, const ScoreMaps& maps, const S* rois, int64_t count,
                   const std::vector<Range>& tables, T* pooled) {
  const int64_t k = maps.k, classes = maps.classes;
  const auto one_bin = [&](int64_t r, int64_t i, int64_t j) {
    const Range rows = tables[r * 2 * k + i], columns = tables[r * 2 * k + k + j];
    const T* map = features + maps.offset(static_cast<int64_t>(rois[r * kRoiColumns]), 0, i, j);
    T* out = pooled + ((r * k + i) * k + j) * classes;
    if (maps.stride.klass == 1) {
      means_of_bin(map, maps.stride.y, maps.stride.x, rows, columns, classes, out);
      return;
    }
    for (int64_t c = 0; c < classes; ++c) {
      out[c] = static_cast<T>(mean_of_bin(map + c * maps.stride.klass, maps.stride.y,
                                          maps.stride.x, rows, columns));
    }
  };
  torch::stable::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      for (int64_t i = 0; i < k; ++i) {
        for (int64_t j = 0; j < k; ++j) one_bin(r, i, j);
      }
    }
  });
}

template <class T>
void pool_by_tiles(const T* features, const ScoreMaps& maps,
                   const std::vector<std::vector<int64_t>>& rois, const std::vector<Range>& tables,
                   T* pooled) {
  using A = accumulate_t<T>;
  const int64_t k = maps.k, classes = maps.classes;
  const TilePlan plan(maps, sizeof(A));
  torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
    std::vector<A> tile(plan.cells * plan.lanes);
    std::vector<A> means(plan.lanes);
    for (int64_t t = first; t < last; ++t) {
      const TilePlan::Part part = plan.part(t);
      if (rois[part.picture].empty()) continue;
      const int64_t lanes = plan.lanes;
      load_tile(features + maps.offset(part.picture, part.klass, part.i, part.j), maps,
                part.classes, lanes, tile.data());
      for (const int64_t r : rois[part.picture]) {
        const Range rows = tables[r * 2 * k + part.i], columns = tables[r * 2 * k + k + part.j];
        T* out = pooled + ((r * k + part.i) * k + part.j) * classes + part.klass;
        means_of_bin(tile.data(), maps.width * lanes, lanes, rows, columns, lanes, means.data());
        std::copy_n(means.data(), part.classes, out);
      }
    }
  });
}

template <class T>
void backward_by_tiles(const T* gradient, const ScoreMaps& maps,
                       const std::vector<std::vector<int64_t>>& rois,
                       const std::vector<Range>& tables, T* out) {
  using A = accumulate_t<T>;
  const int64_t k = maps.k, classes = maps.classes;
  const TilePlan plan(maps, sizeof(A));
  torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
    std::vector<A> tile(plan.cells * plan.lanes);
    std::vector<A> share(plan.lanes);
    for (int64_t t = first; t < last; ++t) {
      const TilePlan::Part part = plan.part(t);
      const int64_t lanes = plan.lanes;
      std::fill(tile.begin(), tile.end(), A(0));
      for (const int64_t r : rois[part.picture]) {
        const Range rows = tables[r * 2 * k + part.i], columns = tables[r * 2 * k + k + part.j];
        const int64_t area = size(rows) * size(columns);
        if (area == 0) continue;
        const T* in = gradient + ((r * k + part.i) * k + part.j) * classes + part.klass;
        for (int64_t c = 0; c < part.classes; ++c) {
          share[c] = static_cast<A>(in[c]) / static_cast<A>(area);
        }
        add_to_bin(tile.data(), maps.width * lanes, lanes, rows, columns, lanes, share.data());
      }
      store_tile(tile.data(), maps, part.classes, lanes,
                 out + maps.offset(part.picture, part.klass, part.i, part.j));
    }
  });
}

Tensor psroi_pool(Tensor features, Tensor rois, double spatial_scale) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const int64_t count = rois.size(0);
  Tensor pooled = empty_pooled(features, count, maps);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "psroi_pool", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    const std::vector<Range> tables = tabulate(rows, count, maps, spatial_scale);
    RFCN_DISPATCH_MAPS(features.scalar_type(), "psroi_pool", [&] {
      const scalar_t* in = features.const_data_ptr<scalar_t>();
      scalar_t* out = pooled.mutable_data_ptr<scalar_t>();
      if (maps.stride.klass == 1 || reads_little(tables, maps)) {
        pool_in_place(in, maps, rows, count, tables, out);
      } else {
        pool_by_tiles(in, maps, rois_by_picture(rows, count, maps.pictures), tables, out);
      }
    });
  });
  return pooled;
}

// The gradient [rois, classes, k, k] with all classes of a bin side by side.
template <class T>
std::vector<T> by_bin(const Tensor& gradient) {
  const int64_t rois = gradient.size(0), classes = gradient.size(1), k = gradient.size(2);
  const auto stride = gradient.strides();
  const T* in = gradient.const_data_ptr<T>();
  std::vector<T> out(gradient.numel());
  torch::stable::parallel_for(0, rois, 16, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      for (int64_t i = 0; i < k; ++i) {
        transpose(in + r * stride[0] + i * stride[2], stride[3], stride[1],
                  out.data() + (r * k + i) * k * classes, classes, int64_t(1), k, classes);
      }
    }
  });
  return out;
}

bool lies_by_bin(const Tensor& gradient) {
  const int64_t classes = gradient.size(1), k = gradient.size(2);
  return gradient.stride(1) == 1 && gradient.stride(3) == classes &&
         gradient.stride(2) == k * classes && gradient.stride(0) == k * k * classes;
}

Tensor psroi_pool_backward(Tensor gradient, Tensor rois, double spatial_scale,
                           std::vector<int64_t> size, std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = score_maps(size, stride);
  const int64_t count = rois.size(0);
  check_gradient(gradient, count, maps);
  Tensor result = empty_like_maps(gradient, size, stride);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "psroi_pool_backward", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    const std::vector<Range> tables = tabulate(rows, count, maps, spatial_scale);
    const auto lists = rois_by_picture(rows, count, maps.pictures);
    RFCN_DISPATCH_MAPS(gradient.scalar_type(), "psroi_pool_backward", [&] {
      std::vector<scalar_t> copy;
      if (!lies_by_bin(gradient)) copy = by_bin<scalar_t>(gradient);
      const scalar_t* in = copy.empty() ? gradient.const_data_ptr<scalar_t>() : copy.data();
      backward_by_tiles(in, maps, lists, tables, result.mutable_data_ptr<scalar_t>());
    });
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("psroi_pool", TORCH_BOX(&rfcn::psroi_pool));
  m.impl("psroi_pool_backward", TORCH_BOX(&rfcn::psroi_pool_backward));
}
