// psroi_pool on the CPU, forward. The classes of a bin share its cells, so the kernel wants all
// classes of a cell side by side (kept by bin). Maps that lie so are read in place. Of plain planes,
// one bin at a time is copied to a tile that stays in the cache while every RoI reads it, so each
// map is touched once. Any other order is brought by bin first.
#include <torch/csrc/stable/library.h>

#include "orders.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

// Few RoIs touch less memory than a copy of the whole map would.
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

template <class T, class S, class To>
void pool_in_place(const T* features, const ScoreMaps& maps, const S* rois, int64_t count,
                   const std::vector<Range>& tables, To* pooled) {
  const int64_t k = maps.k, classes = maps.classes;
  const auto one_bin = [&](int64_t r, int64_t i, int64_t j) {
    const Range rows = tables[r * 2 * k + i], columns = tables[r * 2 * k + k + j];
    const T* map = features + maps.offset(static_cast<int64_t>(rois[r * kRoiColumns]), 0, i, j);
    To* out = pooled + ((r * k + i) * k + j) * classes;
    if (maps.stride.klass == 1) {
      means_of_bin(map, maps.stride.y, maps.stride.x, rows, columns, classes, out);
      return;
    }
    for (int64_t c = 0; c < classes; ++c) {
      out[c] = static_cast<To>(mean_of_bin(map + c * maps.stride.klass, maps.stride.y,
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

template <class T, class To>
void pool_by_tiles(const T* features, const ScoreMaps& maps,
                   const std::vector<std::vector<int64_t>>& rois, const std::vector<Range>& tables,
                   To* pooled) {
  using A = accumulate_t<T>;
  const int64_t k = maps.k, classes = maps.classes;
  const TilePlan plan(maps, sizeof(A));
  const int64_t lanes = plan.lanes;
  torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
    std::vector<A> tile(plan.cells * lanes), means(lanes);
    for (int64_t t = first; t < last; ++t) {
      const TilePlan::Part part = plan.part(t);
      if (rois[part.picture].empty()) continue;
      load_tile(features + maps.offset(part.picture, part.klass, part.i, part.j), maps,
                part.classes, lanes, tile.data());
      for (const int64_t r : rois[part.picture]) {
        const Range rows = tables[r * 2 * k + part.i], columns = tables[r * 2 * k + k + part.j];
        To* out = pooled + ((r * k + part.i) * k + part.j) * classes + part.klass;
        means_of_bin(tile.data(), maps.width * lanes, lanes, rows, columns, lanes, means.data());
        std::copy_n(means.data(), part.classes, out);
      }
    }
  });
}

template <class T, class S, class To>
void pool(const T* features, const ScoreMaps& maps, const S* rois, int64_t count,
          const std::vector<Range>& tables, To* pooled) {
  if (maps.stride.klass == 1 || reads_little(tables, maps)) {
    pool_in_place(features, maps, rois, count, tables, pooled);
  } else if (maps.stride.x == 1) {
    pool_by_tiles(features, maps, rois_by_picture(rois, count, maps.pictures), tables, pooled);
  } else {
    const auto copied = maps_by_bin(features, maps);
    pool_in_place(copied.get(), order_by_bin(maps), rois, count, tables, pooled);
  }
}

// The mean of the k * k bins of each RoI. pooled: [rois][k * k][classes].
template <class T, class A>
void vote(const A* pooled, int64_t count, int64_t bins, int64_t classes, T* votes) {
  torch::stable::parallel_for(0, count, 16, [&](int64_t first, int64_t last) {
    std::vector<A> sums(classes);
    for (int64_t r = first; r < last; ++r) {
      std::fill(sums.begin(), sums.end(), A(0));
      for (int64_t bin = 0; bin < bins; ++bin) {
        const A* scores = pooled + (r * bins + bin) * classes;
        for (int64_t c = 0; c < classes; ++c) sums[c] += scores[c];
      }
      for (int64_t c = 0; c < classes; ++c) {
        votes[r * classes + c] = static_cast<T>(sums[c] / static_cast<A>(bins));
      }
    }
  });
}

// run(features, maps, rois, count, tables) with the dtypes of the call.
template <class Run>
void with_tables(const Tensor& features, const Tensor& rois, double spatial_scale,
                 int64_t semantics, const Run& run) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const int64_t count = rois.size(0);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "psroi_pool", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    const std::vector<Range> tables =
        tabulate(rows, count, maps, cutting<roi_t>(semantics, spatial_scale, maps.k));
    RFCN_DISPATCH_MAPS(features.scalar_type(), "psroi_pool", [&] {
      run(features.const_data_ptr<scalar_t>(), maps, rows, count, tables);
    });
  });
}

Tensor psroi_pool(Tensor features, Tensor rois, double spatial_scale, int64_t semantics) {
  Tensor pooled = empty_pooled(features, rois.size(0), score_maps(features.sizes(), features.strides()));
  with_tables(features, rois, spatial_scale, semantics,
              [&]<class T, class S>(const T* in, const ScoreMaps& maps, const S* rows,
                                    int64_t count, const std::vector<Range>& tables) {
                pool(in, maps, rows, count, tables, pooled.mutable_data_ptr<T>());
              });
  return pooled;
}

Tensor psroi_vote(Tensor features, Tensor rois, double spatial_scale, int64_t semantics) {
  Tensor votes = empty_votes(features, rois.size(0), score_maps(features.sizes(), features.strides()));
  with_tables(features, rois, spatial_scale, semantics,
              [&]<class T, class S>(const T* in, const ScoreMaps& maps, const S* rows,
                                    int64_t count, const std::vector<Range>& tables) {
                const int64_t bins = maps.k * maps.k;
                const auto pooled = scratch<accumulate_t<T>>(count * bins * maps.classes);
                pool(in, maps, rows, count, tables, pooled.get());
                vote(pooled.get(), count, bins, maps.classes, votes.mutable_data_ptr<T>());
              });
  return votes;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("psroi_pool", TORCH_BOX(&rfcn::psroi_pool));
  m.impl("psroi_vote", TORCH_BOX(&rfcn::psroi_vote));
}
