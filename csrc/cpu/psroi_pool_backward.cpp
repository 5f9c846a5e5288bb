// psroi_pool on the CPU, backward. The maps are cut into pieces that fit in the cache; one thread
// fills a piece, adding the RoIs in their order, and writes it once. No two threads meet, and the
// sums are the same at every run. Planes are cut by bin, all other orders by strips of cells.
#include <torch/csrc/stable/library.h>

#include "orders.h"
#include "pieces.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

// Gradients with the classes side by side: of bins [rois][i][j][class], or of votes [rois][class],
// which every bin reads and which its `voters` bins share.
template <class T>
struct Gradient {
  const T* data;
  int64_t roi, bin, voters;

  const T* of(int64_t r, int64_t index) const { return data + r * roi + index * bin; }
};

template <class T>
Gradient<T> gradient_of(const Tensor& gradient, const ScoreMaps& maps, const PooledStrides& stride,
                        std::unique_ptr<T[]>& copied) {
  const int64_t bins = maps.k * maps.k, classes = maps.classes;
  if (gradient.dim() == 4) {
    return {gradient_by_bin(gradient, copied), bins * classes, classes, 1};
  }
  const T* in = gradient.const_data_ptr<T>();
  if (stride.klass == 1) return {in, stride.roi, 0, bins};
  copied = scratch<T>(gradient.numel());
  copy(in, stride.roi, stride.klass, copied.get(), classes, int64_t(1), gradient.size(0), classes);
  return {copied.get(), classes, 0, bins};
}

// The gradient of one bin of one RoI, shared among its cells. `lanes` classes from `klass` on.
template <class T, class A>
void share_bin(const T* gradient, int64_t klass, int64_t lanes, int64_t area, A* share) {
  for (int64_t c = 0; c < lanes; ++c) {
    share[c] = static_cast<A>(gradient[klass + c]) / static_cast<A>(area);
  }
}

template <class T>
void backward_by_tiles(const Gradient<T>& gradient, const ScoreMaps& maps,
                       const BinTables& rois, T* result) {
  using A = accumulate_t<T>;
  const int64_t k = maps.k;
  const TilePlan plan(maps, sizeof(A));
  const int64_t lanes = plan.lanes;
  const auto lists = rois.by_picture();
  torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
    std::vector<A> tile(plan.cells * lanes), share(lanes);
    for (int64_t t = first; t < last; ++t) {
      const TilePlan::Part part = plan.part(t);
      std::fill(tile.begin(), tile.end(), A(0));
      for (const int64_t r : lists[part.picture]) {
        const Range rows = rois.rows(r)[part.i], columns = rois.columns(r)[part.j];
        const int64_t area = size(rows) * size(columns);
        if (area == 0) continue;
        share_bin(gradient.of(r, part.i * k + part.j), part.klass, part.classes,
                  area * gradient.voters, share.data());
        add_to_bin(tile.data(), maps.width * lanes, lanes, rows, columns, lanes, share.data());
      }
      store_tile(tile.data(), maps, part.classes, lanes,
                 result + maps.offset(part.picture, part.klass, part.i, part.j));
    }
  });
}

// A strip is some columns of one row of cells, with all bins and classes of each cell.
struct Strip {
  int64_t picture;
  int32_t y, begin, end;
};

template <class T>
struct Call {
  Gradient<T> gradient;
  const ScoreMaps& maps;
  const BinTables& rois;
  const RowLists& lists;
};

// Adds bin row i of RoI r to a strip. `cells` points at bin row i of the strip's first cell.
template <class T, class A, class Cut>
RFCN_ALWAYS_INLINE void add_bin_row(const Call<T>& call, const Strip& strip, int64_t r, int64_t i,
                                    const Cut& pieces, int64_t first, A* cells, int64_t stride) {
  const int64_t k = call.maps.k, classes = call.maps.classes;
  const int64_t rows = size(call.rois.rows(r)[i]) * call.gradient.voters;
  for (int64_t j = 0; j < k; ++j) {
    const Range all = call.rois.columns(r)[j];
    const int32_t begin = std::max(all.begin, strip.begin), end = std::min(all.end, strip.end);
    if (begin >= end) continue;
    typename Cut::Vector share[Cut::kCount], sums[Cut::kCount];
    pieces.load(call.gradient.of(r, i * k + j) + first, share);
    const A weight = A(1) / static_cast<A>(rows * size(all));
    for (auto& vector : share) vector *= weight;
    A* cell = cells + (begin - strip.begin) * stride + j * classes + first;
    for (int32_t x = begin; x < end; ++x, cell += stride) {
      pieces.load(cell, sums);
      for (int piece = 0; piece < Cut::kCount; ++piece) sums[piece] += share[piece];
      pieces.store(sums, cell);
    }
  }
}

// cells: [cells of the strip][i][j][class], `stride` from cell to cell.
template <class T, class A>
RFCN_ALWAYS_INLINE void fill_cells(const Call<T>& call, const Strip& strip, A* cells,
                                   int64_t stride) {
  const int64_t k = call.maps.k, classes = call.maps.classes;
  for (int32_t x = 0; x < strip.end - strip.begin; ++x) {
    std::memset(cells + x * stride, 0, k * k * classes * sizeof(A));
  }
  for (const int32_t r : call.lists.of(strip.picture, strip.y)) {
    const Range *rows = call.rois.rows(r), *columns = call.rois.columns(r);
    if (columns[0].begin >= strip.end || columns[k - 1].end <= strip.begin) continue;
    for (int64_t i = 0; i < k; ++i) {
      if (strip.y < rows[i].begin || strip.y >= rows[i].end) continue;
      for_each_pieces<A>(classes, [&](const auto& pieces, int64_t first) RFCN_INLINE_LAMBDA {
        add_bin_row(call, strip, r, i, pieces, first, cells + i * k * classes, stride);
      });
    }
  }
}

// From sums to a result that lies as they do.
template <class T, class A>
RFCN_ALWAYS_INLINE void round_cells(const A* sums, int64_t channels, T* cells, int64_t stride,
                                    int64_t count) {
  for (int64_t x = 0; x < count; ++x) {
    for_each_pieces<A>(channels, [&](const auto& pieces, int64_t first) RFCN_INLINE_LAMBDA {
      typename std::decay_t<decltype(pieces)>::Vector values[std::decay_t<decltype(pieces)>::kCount];
      pieces.load(sums + x * channels + first, values);
      pieces.store(values, cells + x * stride + first);
    });
  }
}

// Templates cannot be cloned for several vector widths: each dtype has functions of its own.
#define RFCN_DEFINE_FILL(T, A)                                                                  \
  RFCN_VECTORISE void fill(const Call<T>& call, const Strip& strip, A* cells, int64_t stride) { \
    fill_cells(call, strip, cells, stride);                                                     \
  }                                                                                             \
  RFCN_VECTORISE void round(const A* sums, int64_t channels, T* cells, int64_t stride,          \
                            int64_t count) {                                                    \
    round_cells(sums, channels, cells, stride, count);                                          \
  }
RFCN_DEFINE_FILL(float, float)
RFCN_DEFINE_FILL(double, double)
RFCN_DEFINE_FILL(Half, float)
RFCN_DEFINE_FILL(BFloat16, float)
#undef RFCN_DEFINE_FILL

// Whether the bins and classes of a cell lie in the order of its sums.
inline bool lies_by_bin(const ScoreMaps& maps) {
  return maps.stride.klass == 1 && maps.stride.j == maps.classes &&
         maps.stride.i == maps.k * maps.classes;
}

template <class T>
void fill_strip(const Call<T>& call, const Strip& strip, accumulate_t<T>* sums, T* result) {
  const ScoreMaps& maps = call.maps;
  const int64_t channels = maps.k * maps.k * maps.classes;
  T* cells = result + maps.offset(strip.picture, 0, 0, 0) + strip.y * maps.stride.y +
             strip.begin * maps.stride.x;
  const bool by_bin = lies_by_bin(maps);
  if constexpr (std::is_same_v<T, accumulate_t<T>>) {
    if (by_bin) return fill(call, strip, cells, maps.stride.x);
  }
  fill(call, strip, sums, channels);
  if (by_bin) return round(sums, channels, cells, maps.stride.x, strip.end - strip.begin);
  for (int32_t x = strip.begin; x < strip.end; ++x, cells += maps.stride.x, sums += channels) {
    scatter_classes(sums, maps, cells);
  }
}

template <class T>
void backward_by_strips(const Call<T>& call, T* result) {
  using A = accumulate_t<T>;
  const ScoreMaps& maps = call.maps;
  const int64_t channels = maps.k * maps.k * maps.classes;
  const int64_t fit = TilePlan::kBytes / std::max<int64_t>(1, channels * sizeof(A));
  const int64_t each = std::clamp<int64_t>(fit, 1, std::max<int64_t>(1, maps.width));
  const int64_t in_row = (maps.width + each - 1) / each, rows = maps.pictures * maps.height;
  torch::stable::parallel_for(0, rows * in_row, 1, [&](int64_t first, int64_t last) {
    const auto sums = scratch<A>(each * channels);
    for (int64_t s = first; s < last; ++s) {
      const int64_t row = s / in_row, begin = s % in_row * each;
      const Strip strip{row / maps.height, static_cast<int32_t>(row % maps.height),
                        static_cast<int32_t>(begin),
                        static_cast<int32_t>(std::min(maps.width, begin + each))};
      fill_strip(call, strip, sums.get(), result);
    }
  });
}

// Of bins [rois, classes, k, k] or of votes [rois, classes]: the gradient's shape says which.
Tensor backward(Tensor gradient, Tensor rois, double spatial_scale, int64_t semantics,
                std::vector<int64_t> size, std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = score_maps(size, stride);
  const int64_t count = rois.size(0);
  const PooledStrides strides = gradient_strides(gradient, count, maps);
  Tensor result = empty_like_maps(gradient, size, stride);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "psroi_pool_backward", [&] {
    const BinTables tables(rois.const_data_ptr<scalar_t>(), count, maps,
                           cutting<scalar_t>(semantics, spatial_scale, maps.k));
    RFCN_DISPATCH_MAPS(gradient.scalar_type(), "psroi_pool_backward", [&] {
      std::unique_ptr<scalar_t[]> copied;
      const Gradient<scalar_t> in = gradient_of(gradient, maps, strides, copied);
      scalar_t* out = result.mutable_data_ptr<scalar_t>();
      if (maps.stride.x == 1 && maps.stride.klass != 1) {
        backward_by_tiles(in, maps, tables, out);
      } else {
        const RowLists lists(tables, maps.height);
        backward_by_strips(Call<scalar_t>{in, maps, tables, lists}, out);
      }
    });
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("psroi_pool_backward", TORCH_BOX(&rfcn::backward));
  m.impl("psroi_vote_backward", TORCH_BOX(&rfcn::backward));
}
