// roi_pool on the CPU, forward. The channels of a cell share its bins, so the kernel wants them side
// by side. Maps that lie so are read in place, one RoI after another; all others through a tile of
// some channels that stays in the cache while every RoI reads it, so each map is touched once.
#include <torch/csrc/stable/library.h>

#include <tuple>

#include "../roi_pool_tensors.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

// best_of_bin for `kWidth` channels that lie side by side.
template <int kWidth, bool kCells, class T>
inline void bests_of_width(const T* map, int64_t stride_y, int64_t stride_x, int64_t width,
                           Range rows, Range columns, T* out, int32_t* cells) {
  const T* first = map + rows.begin * stride_y + columns.begin * stride_x;
  T best[kWidth];
  int32_t at[kWidth];
  for (int lane = 0; lane < kWidth; ++lane) {
    best[lane] = first[lane];
    at[lane] = static_cast<int32_t>(rows.begin * width + columns.begin);
  }
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    const T* cell = map + y * stride_y + columns.begin * stride_x;
    int32_t here = static_cast<int32_t>(y * width + columns.begin);
    for (int32_t x = columns.begin; x < columns.end; ++x, ++here, cell += stride_x) {
      for (int lane = 0; lane < kWidth; ++lane) {
        const bool wins = beats(cell[lane], best[lane]);
        best[lane] = wins ? cell[lane] : best[lane];
        if constexpr (kCells) at[lane] = wins ? here : at[lane];
      }
    }
  }
  for (int lane = 0; lane < kWidth; ++lane) out[lane] = best[lane];
  if constexpr (kCells) {
    for (int lane = 0; lane < kWidth; ++lane) cells[lane] = at[lane];
  }
}

// The last vector overlaps the one before instead of ending early.
template <int kWidth, bool kCells, class T>
inline bool bests_by_width(const T* map, int64_t stride_y, int64_t stride_x, int64_t width,
                           Range rows, Range columns, int64_t channels, T* out, int32_t* cells) {
  if (channels < kWidth) return false;
  for (int64_t c = 0; c < channels; c += kWidth) {
    const int64_t at = std::min(c, channels - kWidth);
    bests_of_width<kWidth, kCells>(map + at, stride_y, stride_x, width, rows, columns, out + at,
                                   cells + at);
  }
  return true;
}

template <bool kCells, class T>
inline void bests_of_channels(const T* map, int64_t stride_y, int64_t stride_x, int64_t width,
                              Range rows, Range columns, int64_t channels, T* out,
                              int32_t* cells) {
  if (bests_by_width<64, kCells>(map, stride_y, stride_x, width, rows, columns, channels, out,
                                 cells)) {
    return;
  }
  if (bests_by_width<16, kCells>(map, stride_y, stride_x, width, rows, columns, channels, out,
                                 cells)) {
    return;
  }
  bests_by_width<1, kCells>(map, stride_y, stride_x, width, rows, columns, channels, out, cells);
}

// Plain functions for float, which can be cloned for several vector widths; templates cannot.
RFCN_VECTORISE void bests_of_floats(const float* map, int64_t stride_y, int64_t stride_x,
                                    int64_t width, Range rows, Range columns, int64_t channels,
                                    float* out) {
  bests_of_channels<false>(map, stride_y, stride_x, width, rows, columns, channels, out,
                           static_cast<int32_t*>(nullptr));
}

RFCN_VECTORISE void bests_and_cells_of_floats(const float* map, int64_t stride_y, int64_t stride_x,
                                              int64_t width, Range rows, Range columns,
                                              int64_t channels, float* out, int32_t* cells) {
  bests_of_channels<true>(map, stride_y, stride_x, width, rows, columns, channels, out, cells);
}

// The maxima of one bin for channels side by side, and their cells unless `cells` is null.
template <class T>
void pool_bin(const T* map, int64_t stride_y, int64_t stride_x, int64_t width, Range rows,
              Range columns, int64_t channels, T* out, int32_t* cells) {
  if (size(rows) * size(columns) == 0) {
    std::fill_n(out, channels, T(0));
    if (cells != nullptr) std::fill_n(cells, channels, -1);
  } else if constexpr (std::is_same_v<T, float>) {
    if (cells == nullptr) {
      bests_of_floats(map, stride_y, stride_x, width, rows, columns, channels, out);
    } else {
      bests_and_cells_of_floats(map, stride_y, stride_x, width, rows, columns, channels, out,
                                cells);
    }
  } else if (cells == nullptr) {
    bests_of_channels<false>(map, stride_y, stride_x, width, rows, columns, channels, out, cells);
  } else {
    bests_of_channels<true>(map, stride_y, stride_x, width, rows, columns, channels, out, cells);
  }
}

// One call of the operator. The results have the strides `stride`; `cells` may be null.
template <class T, class S>
struct Pooling {
  const T* features;
  const ScoreMaps& maps;
  const S* rois;
  int64_t count;
  Bins bins;
  const std::vector<Range>& tables;
  PooledStrides stride;
  T* pooled;
  int32_t* cells;

  Range rows(int64_t r, int64_t i) const { return tables[r * bins.ranges() + i]; }
  Range columns(int64_t r, int64_t j) const { return tables[r * bins.ranges() + bins.rows + j]; }
  int64_t picture(int64_t r) const { return static_cast<int64_t>(rois[r * kRoiColumns]); }

  void in_place() const {
    torch::stable::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        const T* map = features + maps.offset(picture(r), 0, 0, 0);
        for (int64_t i = 0; i < bins.rows; ++i) {
          for (int64_t j = 0; j < bins.columns; ++j) {
            const int64_t at = r * stride.roi + i * stride.i + j * stride.j;
            pool_bin(map, maps.stride.y, maps.stride.x, maps.width, rows(r, i), columns(r, j),
                     maps.classes, pooled + at, cells == nullptr ? nullptr : cells + at);
          }
        }
      }
    });
  }

  void by_tiles() const {
    using A = accumulate_t<T>;
    const TilePlan plan(maps, sizeof(A));
    const int64_t lanes = plan.lanes, made = bins.count() * lanes;
    const auto lists = rois_by_picture(rois, count, maps.pictures);
    torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
      std::vector<A> tile(plan.cells * lanes), best(made);
      std::vector<int32_t> where(cells == nullptr ? 0 : made);
      for (int64_t t = first; t < last; ++t) {
        const TilePlan::Part part = plan.part(t);
        if (lists[part.picture].empty()) continue;
        load_tile(features + maps.offset(part.picture, part.klass, 0, 0), maps, part.classes,
                  lanes, tile.data());
        for (const int64_t r : lists[part.picture]) {
          of_tile(tile.data(), r, lanes, best.data(), cells == nullptr ? nullptr : where.data());
          const int64_t at = r * stride.roi + part.klass * stride.klass;
          copy(best.data(), lanes, int64_t(1), pooled + at, stride.j, stride.klass, bins.count(),
               part.classes);
          if (cells == nullptr) continue;
          copy(where.data(), lanes, int64_t(1), cells + at, stride.j, stride.klass, bins.count(),
               part.classes);
        }
      }
    });
  }

  // All bins of one RoI for the channels of a tile, in the order [i][j][lane]. Lanes beyond the last
  // channel hold zeros or what an earlier tile left; nobody reads what becomes of them.
  template <class A>
  void of_tile(const A* tile, int64_t r, int64_t lanes, A* best, int32_t* where) const {
    for (int64_t i = 0; i < bins.rows; ++i) {
      for (int64_t j = 0; j < bins.columns; ++j, best += lanes) {
        pool_bin(tile, maps.width * lanes, lanes, maps.width, rows(r, i), columns(r, j), lanes,
                 best, where);
        if (where != nullptr) where += lanes;
      }
    }
  }

  void run() const {
    if constexpr (std::is_same_v<T, accumulate_t<T>>) {
      if (maps.stride.klass == 1) return in_place();
    }
    by_tiles();
  }
};

std::tuple<Tensor, Tensor> roi_pool(Tensor features, Tensor rois, int64_t height, int64_t width,
                                    double spatial_scale, bool with_cells) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = feature_maps(features.sizes(), features.strides());
  const Bins bins = pooled_bins(height, width);
  const int64_t count = rois.size(0);
  Tensor pooled = empty_bins(features, count, maps, bins);
  Tensor cells = empty_cells(features, count, maps, bins, with_cells);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_pool", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    const std::vector<Range> tables = tabulate_bins(rows, count, maps, bins, spatial_scale);
    RFCN_DISPATCH_MAPS(features.scalar_type(), "roi_pool", [&] {
      Pooling<scalar_t, roi_t>{features.const_data_ptr<scalar_t>(),
                               maps,
                               rows,
                               count,
                               bins,
                               tables,
                               pooled_strides(pooled),
                               pooled.mutable_data_ptr<scalar_t>(),
                               with_cells ? cells.mutable_data_ptr<int32_t>() : nullptr}
          .run();
    });
  });
  return {pooled, cells};
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) { m.impl("roi_pool", TORCH_BOX(&rfcn::roi_pool)); }
