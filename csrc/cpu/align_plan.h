// What both directions of roi_align and psroi_align prepare on the CPU, and how they share the work.
#pragma once

#include "orders.h"
#include "roi_tables.h"
#include "taps.h"

namespace rfcn {

// The maps, the bins, and the weights of every RoI. Refuses a RoI that no kernel can use.
template <class A>
struct AlignPlan {
  ScoreMaps maps;
  AlignBins bins;
  Taps<A> rows, columns;
  std::vector<std::vector<int64_t>> rois;  // of each picture
  std::vector<int64_t> picture;            // of each RoI

  template <class S>
  AlignPlan(const ScoreMaps& maps, const AlignBins& bins, const S* roi, int64_t count,
            const Sampling<S>& sampling)
      : maps(maps), bins(bins),
        rows((check_rois(roi, count, maps.pictures), roi), count, Axis::y, sampling, bins.height,
             maps.k, maps.height),
        columns(roi, count, Axis::x, sampling, bins.width, maps.k, maps.width),
        rois(rois_by_picture(roi, count, maps.pictures)), picture(count) {
    for (int64_t r = 0; r < count; ++r) {
      picture[r] = static_cast<int64_t>(roi[r * kRoiColumns]);
    }
  }
};

// The cells that some lines read, as a rectangle.
template <class A>
Range span(const Lines<A>& lines) {
  Range all{INT32_MAX, 0};
  for (const Line* line = lines.line; line < lines.line + lines.count; ++line) {
    if (line->taps == 0) continue;
    all.begin = std::min(all.begin, lines.taps[line->first].cell);
    all.end = std::max(all.end, lines.taps[line->first + line->taps - 1].cell + 1);
  }
  return all.begin < all.end ? all : Range{0, 0};
}

// How often each tile is shared out so that all threads have work.
inline int64_t parts_of_tile(int64_t tiles) {
  const int64_t wanted = 2 * static_cast<int64_t>(torch::stable::get_num_threads());
  return std::max<int64_t>(1, wanted / std::max<int64_t>(1, tiles));
}

// bins[i][j][channel] to or from any strides.
template <class From, class To>
void copy_bins(const From* src, const PooledStrides& from, To* dst, const PooledStrides& to,
               int64_t rows, int64_t columns, int64_t channels) {
  if (from.i == columns * from.j && to.i == columns * to.j) columns *= rows, rows = 1;
  for (int64_t i = 0; i < rows; ++i) {
    copy(src + i * from.i, from.j, from.klass, dst + i * to.i, to.j, to.klass, columns, channels);
  }
}

// The bins of one group in a tile of so many lanes.
inline PooledStrides in_tile(const AlignBins& bins, int64_t lanes) {
  return {0, 1, bins.columns() * lanes, lanes};
}

}  // namespace rfcn
