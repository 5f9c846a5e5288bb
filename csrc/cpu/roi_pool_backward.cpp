// roi_pool on the CPU, backward. The result is cut into pieces that fit in the cache; one thread fills
// a piece, adding the RoIs in their order: no two threads meet, and the sums are the same at every run
// and thread count. Planes are filled winner by winner. Where all channels of a cell lie side by side,
// a small bin is added cell by cell, masked by who won there: vectors, no scatter.
#include <torch/csrc/stable/library.h>

#include "../roi_pool_tensors.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

// Bins with more cells are cheaper channel by channel.
constexpr int64_t kMostMasked = 32;

// The gradient and the winners are read once, from memory, and the bins are too short for a processor
// to guess what comes next. Asking beyond the end of them does no harm.
constexpr int64_t kAhead = 1024;

template <int kCount, class T>
RFCN_INLINE void prefetch(const T* from) {
#if defined(__GNUC__)
  constexpr int kStep = 64 / sizeof(T);
  for (int n = 0; n < kCount; n += kStep) __builtin_prefetch(from + n);
#endif
}

// Where the sums of the channels lie: all channels of a cell side by side.
template <class A>
struct Sums {
  A* at;
  int64_t stride_y, stride_x;
};

// One bin: what came back and where it won, for `kWidth` channels, which stay in registers.
template <int kWidth, class A>
RFCN_INLINE void add_width(const Sums<A>& sums, Range rows, Range columns, int64_t width,
                           const A* gradient, const int32_t* cells) {
  A came[kWidth];
  int32_t won[kWidth];
  std::copy_n(gradient, kWidth, came);
  std::copy_n(cells, kWidth, won);
  for (int32_t y = rows.begin; y < rows.end; ++y) {
    A* sum = sums.at + y * sums.stride_y + columns.begin * sums.stride_x;
    int32_t cell = static_cast<int32_t>(y * width + columns.begin);
    for (int32_t x = columns.begin; x < columns.end; ++x, ++cell, sum += sums.stride_x) {
      for (int lane = 0; lane < kWidth; ++lane) sum[lane] += won[lane] == cell ? came[lane] : A(0);
    }
  }
}

template <class A>
RFCN_INLINE void add_to_winners(const Sums<A>& sums, Range rows, Range columns, int64_t width,
                                const A* gradient, const int32_t* cells, int64_t lanes) {
  int64_t lane = 0;
  for (; lane + 32 <= lanes; lane += 32) {
    prefetch<32>(gradient + lane + kAhead);
    prefetch<32>(cells + lane + kAhead);
    const Sums<A> some{sums.at + lane, sums.stride_y, sums.stride_x};
    add_width<32>(some, rows, columns, width, gradient + lane, cells + lane);
  }
  for (; lane + 8 <= lanes; lane += 8) {
    const Sums<A> some{sums.at + lane, sums.stride_y, sums.stride_x};
    add_width<8>(some, rows, columns, width, gradient + lane, cells + lane);
  }
  for (; lane < lanes; ++lane) {
    const Sums<A> one{sums.at + lane, sums.stride_y, sums.stride_x};
    add_width<1>(one, rows, columns, width, gradient + lane, cells + lane);
  }
}

// A template cannot be cloned for several vector widths, so each dtype gets a function.
RFCN_VECTORISE void add_masked(const Sums<float>& sums, Range rows, Range columns, int64_t width,
                               const float* gradient, const int32_t* cells, int64_t lanes) {
  add_to_winners(sums, rows, columns, width, gradient, cells, lanes);
}

RFCN_VECTORISE void add_masked(const Sums<double>& sums, Range rows, Range columns, int64_t width,
                               const double* gradient, const int32_t* cells, int64_t lanes) {
  add_to_winners(sums, rows, columns, width, gradient, cells, lanes);
}

template <class A>
void add_bin(const Sums<A>& sums, Range rows, Range columns, int64_t width, const A* gradient,
             const int32_t* cells, int64_t lanes) {
  const int64_t area = size(rows) * size(columns);
  if (area == 0) return;
  if (area <= kMostMasked) {
    add_masked(sums, rows, columns, width, gradient, cells, lanes);
    return;
  }
  for (int64_t lane = 0; lane < lanes; ++lane) {
    const int64_t y = cells[lane] / width, x = cells[lane] % width;
    if (y < rows.begin || y >= rows.end) continue;  // another strip's, or no forward's
    sums.at[y * sums.stride_y + x * sums.stride_x + lane] += gradient[lane];
  }
}

// Some channels of one RoI in the order [i][j][lane]: in place where they lie so, else a copy.
template <class From, class To>
struct Lanes {
  const To* at;
  int64_t i, j;

  Lanes(const From* from, PooledStrides stride, Bins bins, int64_t lanes, std::vector<To>& copied) {
    if constexpr (std::is_same_v<From, To>) {
      if (stride.klass == 1) {
        at = from, i = stride.i, j = stride.j;
        return;
      }
    }
    at = copied.data(), i = bins.columns * lanes, j = lanes;
    const bool in_one = stride.i == bins.columns * stride.j;
    const int64_t rows = in_one ? 1 : bins.rows, each = in_one ? bins.count() : bins.columns;
    for (int64_t row = 0; row < rows; ++row) {
      copy(from + row * stride.i, stride.j, stride.klass, copied.data() + row * i, lanes,
           int64_t(1), each, lanes);
    }
  }
};

using Lists = std::vector<std::vector<int64_t>>;

template <class T>
struct Unpooling {
  using A = accumulate_t<T>;
  const T* gradient;
  PooledStrides of_gradient;
  const int32_t* cells;
  PooledStrides of_cells;
  Bins bins;
  const ScoreMaps& maps;
  const std::vector<Range>& tables;
  const Lists& lists;
  T* result;

  struct Scratch {
    std::vector<A> gradient;
    std::vector<int32_t> cells;
    Scratch(Bins bins, int64_t lanes) : gradient(bins.count() * lanes), cells(gradient.size()) {}
  };

  // All RoIs of a picture, for the channels channel .. channel + lanes - 1.
  void add(int64_t picture, int64_t channel, int64_t lanes, const Sums<A>& sums,
           Scratch& scratch) const {
    const Range whole{0, static_cast<int32_t>(maps.height)};
    for (const int64_t r : lists[picture]) {
      const Lanes<T, A> came(gradient + r * of_gradient.roi + channel * of_gradient.klass,
                             of_gradient, bins, lanes, scratch.gradient);
      const Lanes<int32_t, int32_t> won(cells + r * of_cells.roi + channel * of_cells.klass,
                                        of_cells, bins, lanes, scratch.cells);
      add_roi(r, whole, lanes, sums, came, won);
    }
  }

  // What one RoI adds to the rows of a strip.
  void add_roi(int64_t r, Range strip, int64_t lanes, const Sums<A>& sums, const Lanes<T, A>& came,
               const Lanes<int32_t, int32_t>& won) const {
    const Range* rows = tables.data() + r * bins.ranges();
    const Range* columns = rows + bins.rows;
    for (int64_t i = 0; i < bins.rows; ++i) {
      const Range inside{std::max(rows[i].begin, strip.begin), std::min(rows[i].end, strip.end)};
      for (int64_t j = 0; j < bins.columns; ++j) {
        add_bin(sums, inside, columns[j], maps.width, came.at + i * came.i + j * came.j,
                won.at + i * won.i + j * won.j, lanes);
      }
    }
  }

  // Straight into a result whose channels lie side by side: some rows of cells with all channels, so
  // that what is read of a bin is one long run.
  void by_strips() const {
    const int64_t row = maps.width * maps.classes * static_cast<int64_t>(sizeof(A));
    const int64_t fit = 2 * TilePlan::kBytes / std::max<int64_t>(1, row);
    const int64_t wanted = 2 * static_cast<int64_t>(torch::stable::get_num_threads());
    const int64_t fair = (maps.pictures * maps.height + wanted - 1) / wanted;
    const int64_t each = std::max<int64_t>(1, std::min(std::max<int64_t>(2, fit), fair));
    const int64_t strips = (maps.height + each - 1) / each;
    torch::stable::parallel_for(0, maps.pictures * strips, 1, [&](int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) {
        const int64_t picture = n / strips, top = n % strips * each;
        fill_strip(picture, {static_cast<int32_t>(top),
                             static_cast<int32_t>(std::min(maps.height, top + each))});
      }
    });
  }

  void fill_strip(int64_t picture, Range strip) const {
    T* out = result + maps.offset(picture, 0, 0, 0);
    for (int64_t y = strip.begin; y < strip.end; ++y) {
      for (int64_t x = 0; x < maps.width; ++x) {
        std::fill_n(out + y * maps.stride.y + x * maps.stride.x, maps.classes, T(0));
      }
    }
    std::vector<A> nothing;
    std::vector<int32_t> nowhere;
    for (const int64_t r : lists[picture]) {
      const Range* rows = tables.data() + r * bins.ranges();  // the bins of a RoI go down
      if (rows[0].begin >= strip.end || rows[bins.rows - 1].end <= strip.begin) continue;
      add_roi(r, strip, maps.classes, Sums<A>{out, maps.stride.y, maps.stride.x},
              {gradient + r * of_gradient.roi, of_gradient, bins, maps.classes, nothing},
              {cells + r * of_cells.roi, of_cells, bins, maps.classes, nowhere});
    }
  }

  // Straight into planes, from planes: each winner adds to its cell. Some channels at a time, so that
  // their planes stay in the cache and the runs that are read are not too short.
  void by_planes() const {
    constexpr int64_t kChannels = 32;
    const int64_t groups = (maps.classes + kChannels - 1) / kChannels;
    const uint32_t area = static_cast<uint32_t>(maps.height * maps.width);
    torch::stable::parallel_for(0, maps.pictures * groups, 1, [&](int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) {
        const int64_t picture = n / groups, channel = n % groups * kChannels;
        const int64_t lanes = std::min(kChannels, maps.classes - channel);
        T* planes = result + maps.offset(picture, channel, 0, 0);
        for (int64_t c = 0; c < lanes; ++c) std::fill_n(planes + c * maps.stride.klass, area, T(0));
        for (const int64_t r : lists[picture]) {
          const T* came = gradient + r * of_gradient.roi + channel * bins.count();
          const int32_t* won = cells + r * of_cells.roi + channel * bins.count();
          for (int64_t c = 0; c < lanes; ++c, came += bins.count(), won += bins.count()) {
            T* plane = planes + c * maps.stride.klass;
            for (int64_t bin = 0; bin < bins.count(); ++bin) {
              const uint32_t cell = static_cast<uint32_t>(won[bin]);  // -1 is beyond all
              if (cell < area) plane[cell] += came[bin];
            }
          }
        }
      }
    });
  }

  void by_tiles() const {
    const TilePlan plan(maps, sizeof(A));
    torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
      std::vector<A> tile(plan.cells * plan.lanes);
      Scratch scratch(bins, plan.lanes);
      for (int64_t t = first; t < last; ++t) {
        const TilePlan::Part part = plan.part(t);
        std::fill(tile.begin(), tile.end(), A(0));
        add(part.picture, part.klass, part.classes,
            Sums<A>{tile.data(), maps.width * plan.lanes, plan.lanes}, scratch);
        store_tile(tile.data(), maps, part.classes, plan.lanes,
                   result + maps.offset(part.picture, part.klass, 0, 0));
      }
    });
  }

  bool are_planes(PooledStrides stride) const {
    return stride.j == 1 && stride.i == bins.columns && stride.klass == bins.count();
  }

  void run() const {
    if constexpr (std::is_same_v<T, A>) {
      const bool side_by_side = of_gradient.klass == 1 && of_cells.klass == 1;
      if (maps.stride.klass == 1 && side_by_side) return by_strips();
      const bool planes = maps.stride.x == 1 && maps.stride.y == maps.width;
      if (planes && are_planes(of_gradient) && are_planes(of_cells)) return by_planes();
    }
    by_tiles();
  }
};

Tensor roi_pool_backward(Tensor gradient, Tensor cells, Tensor rois, double spatial_scale,
                         std::vector<int64_t> size, std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = feature_maps(size, stride);
  const int64_t count = rois.size(0);
  check_winners(gradient, cells, count, maps);
  const Bins bins{gradient.size(2), gradient.size(3)};
  Tensor result = empty_like_maps(gradient, size, stride);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "roi_pool_backward", [&] {
    const scalar_t* rows = rois.const_data_ptr<scalar_t>();
    const std::vector<Range> tables = tabulate_bins(rows, count, maps, bins, spatial_scale);
    const Lists lists = rois_by_picture(rows, count, maps.pictures);
    RFCN_DISPATCH_MAPS(gradient.scalar_type(), "roi_pool_backward", [&] {
      Unpooling<scalar_t>{gradient.const_data_ptr<scalar_t>(),
                          pooled_strides(gradient),
                          cells.const_data_ptr<int32_t>(),
                          pooled_strides(cells),
                          bins,
                          maps,
                          tables,
                          lists,
                          result.mutable_data_ptr<scalar_t>()}
          .run();
    });
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("roi_pool_backward", TORCH_BOX(&rfcn::roi_pool_backward));
}
