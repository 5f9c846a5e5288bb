// roi_pool on the CPU, backward. One thread owns some channels of a picture and adds the RoIs in
// their order: no two threads meet, and the sums are the same at every run and thread count. A small
// bin is added cell by cell for all channels at once, masked by who won there: vectors, no scatter.
#include <torch/csrc/stable/library.h>

#include "../roi_pool_tensors.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

// Bins with more cells are cheaper channel by channel.
constexpr int64_t kMostMasked = 32;

// Where the sums of the channels lie: all channels of a cell side by side.
template <class A>
struct Sums {
  A* at;
  int64_t stride_y, stride_x;
};

// One bin: what came back and where it won, for `lanes` channels.
template <class A>
inline void add_to_winners(const Sums<A> sums, Range rows, Range columns, int64_t width,
                           const A* gradient, const int32_t* cells, int64_t lanes) {
  for (int32_t y = rows.begin; y < rows.end; ++y) {
    for (int32_t x = columns.begin; x < columns.end; ++x) {
      A* sum = sums.at + y * sums.stride_y + x * sums.stride_x;
      const int32_t cell = static_cast<int32_t>(y * width + x);
      for (int64_t lane = 0; lane < lanes; ++lane) {
        sum[lane] += cells[lane] == cell ? gradient[lane] : A(0);
      }
    }
  }
}

// A template cannot be cloned for several vector widths, so the dtype that matters gets a function.
RFCN_VECTORISE void add_masked(const Sums<float> sums, Range rows, Range columns, int64_t width,
                               const float* gradient, const int32_t* cells, int64_t lanes) {
  add_to_winners(sums, rows, columns, width, gradient, cells, lanes);
}

void add_masked(const Sums<double> sums, Range rows, Range columns, int64_t width,
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
    if (y < rows.begin || y >= rows.end) continue;  // nobody's forward gave this cell
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
    for (const int64_t r : lists[picture]) {
      const Lanes<T, A> came(gradient + r * of_gradient.roi + channel * of_gradient.klass,
                             of_gradient, bins, lanes, scratch.gradient);
      const Lanes<int32_t, int32_t> won(cells + r * of_cells.roi + channel * of_cells.klass,
                                        of_cells, bins, lanes, scratch.cells);
      const Range* rows = tables.data() + r * bins.ranges();
      const Range* columns = rows + bins.rows;
      for (int64_t i = 0; i < bins.rows; ++i) {
        for (int64_t j = 0; j < bins.columns; ++j) {
          add_bin(sums, rows[i], columns[j], maps.width, came.at + i * came.i + j * came.j,
                  won.at + i * won.i + j * won.j, lanes);
        }
      }
    }
  }

  // Straight into a result whose channels lie side by side and are wide enough to add in. A piece is
  // as many channels as give every thread two, so that the bins are read in long runs.
  void in_place() const {
    const int64_t wanted = 2 * static_cast<int64_t>(torch::stable::get_num_threads());
    const int64_t each =
        std::max<int64_t>(TilePlan::kLanes, (maps.classes + wanted - 1) / wanted);
    const int64_t pieces = (maps.classes + each - 1) / each;
    torch::stable::parallel_for(0, maps.pictures * pieces, 1, [&](int64_t first, int64_t last) {
      Scratch scratch(bins, each);
      for (int64_t n = first; n < last; ++n) {
        const int64_t picture = n / pieces, channel = n % pieces * each;
        const int64_t lanes = std::min(each, maps.classes - channel);
        T* out = result + maps.offset(picture, channel, 0, 0);
        for (int64_t y = 0; y < maps.height; ++y) {
          for (int64_t x = 0; x < maps.width; ++x) {
            std::fill_n(out + y * maps.stride.y + x * maps.stride.x, lanes, T(0));
          }
        }
        add(picture, channel, lanes, Sums<A>{out, maps.stride.y, maps.stride.x}, scratch);
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

  void run() const {
    if constexpr (std::is_same_v<T, A>) {
      if (maps.stride.klass == 1) return in_place();
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
