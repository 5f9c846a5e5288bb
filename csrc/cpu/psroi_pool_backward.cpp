// psroi_pool on the CPU, backward. The maps are cut into pieces that fit in the cache; one thread
// fills a piece, adding the RoIs in their order, and writes it once. No two threads meet, and the
// sums are the same at every run. Planes are cut by bin, all other orders by strips of cells.
#include <torch/csrc/stable/library.h>

#include "orders.h"
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
                       const std::vector<std::vector<int64_t>>& rois,
                       const std::vector<Range>& tables, T* result) {
  using A = accumulate_t<T>;
  const int64_t k = maps.k;
  const TilePlan plan(maps, sizeof(A));
  const int64_t lanes = plan.lanes;
  torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
    std::vector<A> tile(plan.cells * lanes), share(lanes);
    for (int64_t t = first; t < last; ++t) {
      const TilePlan::Part part = plan.part(t);
      std::fill(tile.begin(), tile.end(), A(0));
      for (const int64_t r : rois[part.picture]) {
        const Range rows = tables[r * 2 * k + part.i], columns = tables[r * 2 * k + k + part.j];
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
template <class T>
struct Strips {
  using A = accumulate_t<T>;
  Gradient<T> gradient;
  const ScoreMaps& maps;
  const std::vector<std::vector<int64_t>>& rois;
  const std::vector<Range>& tables;
  T* result;

  int64_t channels() const { return maps.k * maps.k * maps.classes; }

  int64_t cells() const {
    const int64_t bytes = std::max<int64_t>(1, channels() * static_cast<int64_t>(sizeof(A)));
    return std::clamp<int64_t>(TilePlan::kBytes / bytes, 1, std::max<int64_t>(1, maps.width));
  }

  void add_bin(int64_t r, int64_t i, int64_t j, Range strip, A* share, A* sums) const {
    const int64_t k = maps.k, bin = i * k + j;
    const Range rows = tables[r * 2 * k + i], all = tables[r * 2 * k + k + j];
    const Range columns{std::max(all.begin, strip.begin), std::min(all.end, strip.end)};
    if (size(columns) == 0) return;
    share_bin(gradient.of(r, bin), 0, maps.classes, size(rows) * size(all) * gradient.voters,
              share);
    add_to_bin(sums + bin * maps.classes, 0, channels(), Range{0, 1},
               Range{columns.begin - strip.begin, columns.end - strip.begin}, maps.classes, share);
  }

  void fill(int64_t picture, int32_t y, Range strip, A* share, A* sums) const {
    const int64_t k = maps.k;
    std::fill_n(sums, size(strip) * channels(), A(0));
    for (const int64_t r : rois[picture]) {
      for (int64_t i = 0; i < k; ++i) {
        const Range rows = tables[r * 2 * k + i];
        if (y < rows.begin || y >= rows.end) continue;
        for (int64_t j = 0; j < k; ++j) add_bin(r, i, j, strip, share, sums);
      }
    }
  }

  void store(int64_t picture, int32_t y, Range strip, const A* sums) const {
    const int64_t k = maps.k, classes = maps.classes;
    for (int64_t x = strip.begin; x < strip.end; ++x, sums += channels()) {
      T* cell = result + maps.offset(picture, 0, 0, 0) + y * maps.stride.y + x * maps.stride.x;
      for (int64_t i = 0; i < k; ++i) {
        copy(sums + i * k * classes, classes, int64_t(1), cell + i * maps.stride.i, maps.stride.j,
             maps.stride.klass, k, classes);
      }
    }
  }

  void run() const {
    const int64_t each = cells(), in_row = (maps.width + each - 1) / each;
    const int64_t rows = maps.pictures * maps.height;
    torch::stable::parallel_for(0, rows * in_row, 1, [&](int64_t first, int64_t last) {
      std::vector<A> sums(each * channels()), share(maps.classes);
      for (int64_t s = first; s < last; ++s) {
        const int64_t row = s / in_row, begin = s % in_row * each;
        const int64_t picture = row / maps.height;
        const int32_t y = static_cast<int32_t>(row % maps.height);
        const Range strip{static_cast<int32_t>(begin),
                          static_cast<int32_t>(std::min(maps.width, begin + each))};
        fill(picture, y, strip, share.data(), sums.data());
        store(picture, y, strip, sums.data());
      }
    });
  }
};

// Of bins [rois, classes, k, k] or of votes [rois, classes]: the gradient's shape says which.
Tensor backward(Tensor gradient, Tensor rois, double spatial_scale, int64_t semantics,
                std::vector<int64_t> size, std::vector<int64_t> stride) {
  check_rows(rois, kRoiColumns, "rois");
  const ScoreMaps maps = score_maps(size, stride);
  const int64_t count = rois.size(0);
  const PooledStrides strides = gradient_strides(gradient, count, maps);
  Tensor result = empty_like_maps(gradient, size, stride);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "psroi_pool_backward", [&] {
    using roi_t = scalar_t;
    const roi_t* rows = rois.const_data_ptr<roi_t>();
    const std::vector<Range> tables =
        tabulate(rows, count, maps, cutting<roi_t>(semantics, spatial_scale, maps.k));
    const auto lists = rois_by_picture(rows, count, maps.pictures);
    RFCN_DISPATCH_MAPS(gradient.scalar_type(), "psroi_pool_backward", [&] {
      std::unique_ptr<scalar_t[]> copied;
      const Gradient<scalar_t> in = gradient_of(gradient, maps, strides, copied);
      scalar_t* out = result.mutable_data_ptr<scalar_t>();
      if (maps.stride.x == 1 && maps.stride.klass != 1) {
        backward_by_tiles(in, maps, lists, tables, out);
      } else {
        Strips<scalar_t>{in, maps, lists, tables, out}.run();
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
