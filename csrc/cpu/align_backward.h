// roi_align and psroi_align on the CPU, backward. The maps are cut into pieces that fit in the cache,
// some rows and some channels of one group. One thread fills a piece, adding the RoIs in their
// order, and writes it once: no two threads meet, and the sums are the same at every run.
#pragma once

#include "align_lines.h"
#include "align_plan.h"

namespace rfcn {

// The lines whose place is in `range`, from lines in the order of their places.
template <class A>
Lines<A> within(const Lines<A>& lines, Range range) {
  const auto before = [](const Line& line, int32_t place) { return line.place < place; };
  const Line* end = lines.line + lines.count;
  const Line* first = std::lower_bound(lines.line, end, range.begin, before);
  return {first, std::lower_bound(first, end, range.end, before) - first, lines.taps};
}

template <class T>
struct AlignBackward {
  using A = accumulate_t<T>;
  const AlignPlan<A>& plan;
  const T* gradient;
  PooledStrides stride;
  ScoreMaps maps;
  T* result;

  // As many rows as fit in the cache with a vector of channels, and few enough for all threads.
  int64_t rows_of_band() const {
    const int64_t row = maps.width * TilePlan::kLanes * static_cast<int64_t>(sizeof(A));
    const int64_t fit = std::max<int64_t>(1, TilePlan::kBytes / std::max<int64_t>(1, row));
    if (fit < maps.height) return fit;
    const int64_t parts = parts_of_tile(TilePlan(maps, sizeof(A)).tiles());
    return std::max<int64_t>(1, (maps.height + parts - 1) / parts);
  }

  void run() const {
    if (maps.height == 0 || maps.width == 0) return;
    const Taps<A> by_row = plan.rows.transposed(), by_column = plan.columns.transposed();
    const int64_t each = rows_of_band(), bands = (maps.height + each - 1) / each;
    ScoreMaps band = maps;
    band.height = each;
    const TilePlan tiles(band, sizeof(A));
    const int64_t lanes = tiles.lanes;
    torch::stable::parallel_for(0, tiles.tiles() * bands, 1, [&](int64_t first, int64_t last) {
      std::vector<A> tile(tiles.cells * lanes);
      std::vector<A> bins(plan.bins.rows() * plan.bins.columns() * lanes);
      for (int64_t t = first; t < last; ++t) {
        const int64_t begin = t % bands * each;
        const Range rows{static_cast<int32_t>(begin),
                         static_cast<int32_t>(std::min(maps.height, begin + each))};
        const TilePlan::Part part = tiles.part(t / bands);
        fill(part, rows, by_row, by_column, lanes, bins.data(), tile.data());
        ScoreMaps cut = maps;
        cut.height = size(rows);
        store_tile(tile.data(), cut, part.classes, lanes,
                   result + maps.offset(part.picture, part.klass, part.i, part.j) +
                       begin * maps.stride.y);
      }
    });
  }

  void fill(const TilePlan::Part& part, Range band, const Taps<A>& by_row, const Taps<A>& by_column,
            int64_t lanes, A* bins, A* tile) const {
    const int64_t height = plan.bins.rows(), width = plan.bins.columns(), row = maps.width * lanes;
    std::fill_n(tile, size(band) * row, A(0));
    for (const int64_t r : plan.rois[part.picture]) {
      const Lines<A> rows = within(by_row.of(r, part.i), band);
      const Lines<A> columns = by_column.of(r, part.j);
      if (rows.count == 0 || columns.count == 0) continue;
      const T* given = gradient + r * stride.roi + part.klass * stride.klass +
                       part.i * height * stride.i + part.j * width * stride.j;
      copy_bins(given, stride, bins, in_tile(plan.bins, lanes), height, width, part.classes);
      weigh_and_add(Plane<const A>{bins, 0, width * lanes, lanes}, rows, columns, lanes,
                    Plane<A>{tile, -band.begin * row, row, lanes});
    }
  }
};

}  // namespace rfcn
