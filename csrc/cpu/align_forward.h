// roi_align and psroi_align on the CPU, forward. The weights of a RoI are the same for all channels,
// so the kernel wants the channels of a cell side by side. Maps that lie so are read in place. Of
// planes, some channels at a time are copied to a tile that stays in the cache while every RoI reads
// it; few RoIs copy only the cells that they read.
#pragma once

#include "align_lines.h"
#include "align_plan.h"

namespace rfcn {

template <class T>
struct AlignForward {
  using A = accumulate_t<T>;
  const AlignPlan<A>& plan;
  const T* features;
  ScoreMaps maps;
  T* pooled;
  PooledStrides stride;

  // One group of bins of one RoI: `part` says which group and which channels. `from` has the
  // channels side by side, `lanes` of them (with padding).
  template <class From>
  void pool(const Plane<const From>& from, int64_t r, const TilePlan::Part& part, int64_t lanes,
            A* sums) const {
    const AlignBins& bins = plan.bins;
    weigh(from, plan.rows.of(r, part.i), plan.columns.of(r, part.j), lanes,
          Plane<A>{sums, 0, bins.columns() * lanes, lanes});
    T* out = pooled + r * stride.roi + part.klass * stride.klass +
             part.i * bins.rows() * stride.i + part.j * bins.columns() * stride.j;
    copy_bins(sums, in_tile(bins, lanes), out, stride, bins.rows(), bins.columns(), part.classes);
  }

  // run(RoI, group and all its channels, scratch for the sums of so many lanes)
  template <class Run>
  void for_each_roi(int64_t lanes, const Run& run) const {
    const int64_t chunks = (maps.classes + lanes - 1) / lanes;
    const int64_t count = static_cast<int64_t>(plan.picture.size());
    torch::stable::parallel_for(0, count * chunks, 1, [&](int64_t first, int64_t last) {
      std::vector<A> sums(plan.bins.rows() * plan.bins.columns() * lanes);
      for (int64_t n = first; n < last; ++n) {
        const int64_t r = n / chunks, klass = n % chunks * lanes;
        for (int64_t g = 0; g < maps.k * maps.k; ++g) {
          run(r, TilePlan::Part{plan.picture[r], g / maps.k, g % maps.k, klass,
                                std::min(lanes, maps.classes - klass)},
              sums.data());
        }
      }
    });
  }

  void in_place() const {
    for_each_roi(256, [&](int64_t r, const TilePlan::Part& part, A* sums) {
      const T* map = features + maps.offset(part.picture, part.klass, part.i, part.j);
      pool(Plane<const T>{map, 0, maps.stride.y, maps.stride.x}, r, part, part.classes, sums);
    });
  }

  // Each RoI by itself, from a copy of the cells that it reads.
  void by_rectangles() const {
    for_each_roi(64, [&](int64_t r, const TilePlan::Part& part, A* sums) {
      const Range rows = span(plan.rows.of(r, part.i)), columns = span(plan.columns.of(r, part.j));
      const int64_t lanes = part.classes, width = size(columns);
      std::vector<A> tile(size(rows) * width * lanes);
      ScoreMaps cut = maps;
      cut.height = size(rows), cut.width = width;
      load_tile(features + maps.offset(part.picture, part.klass, part.i, part.j) +
                    rows.begin * maps.stride.y + columns.begin * maps.stride.x,
                cut, part.classes, lanes, tile.data());
      const int64_t origin = -(rows.begin * width + columns.begin) * lanes;
      pool(Plane<const A>{tile.data(), origin, width * lanes, lanes}, r, part, lanes, sums);
    });
  }

  void by_tiles() const {
    const TilePlan tiles(maps, sizeof(A));
    const int64_t lanes = tiles.lanes, parts = parts_of_tile(tiles.tiles());
    torch::stable::parallel_for(0, tiles.tiles() * parts, 1, [&](int64_t first, int64_t last) {
      std::vector<A> tile(tiles.cells * lanes);
      std::vector<A> sums(plan.bins.rows() * plan.bins.columns() * lanes);
      for (int64_t t = first; t < last; ++t) {
        const TilePlan::Part part = tiles.part(t / parts);
        const std::vector<int64_t>& rois = plan.rois[part.picture];
        const int64_t count = rois.size(), share = (count + parts - 1) / parts;
        const int64_t begin = t % parts * share, end = std::min(count, begin + share);
        if (begin >= end) continue;
        load_tile(features + maps.offset(part.picture, part.klass, part.i, part.j), maps,
                  part.classes, lanes, tile.data());
        const Plane<const A> from{tile.data(), 0, maps.width * lanes, lanes};
        for (int64_t n = begin; n < end; ++n) pool(from, rois[n], part, lanes, sums.data());
      }
    });
  }

  // Few RoIs touch less memory than a copy of the whole map would.
  bool reads_little() const {
    int64_t cells = 0;
    for (int64_t r = 0; r < static_cast<int64_t>(plan.picture.size()); ++r) {
      int64_t rows = 0, columns = 0;
      for (int64_t g = 0; g < maps.k; ++g) {
        rows += size(span(plan.rows.of(r, g)));
        columns += size(span(plan.columns.of(r, g)));
      }
      cells += rows * columns;
    }
    return 2 * cells < maps.k * maps.k * maps.height * maps.width * maps.pictures;
  }

  // Half precision is read through a copy, which widens it once.
  void run() {
    if (maps.stride.klass == 1 && std::is_same_v<T, A>) {
      in_place();
    } else if (reads_little()) {
      by_rectangles();
    } else if (maps.k > 1 && maps.stride.klass != 1 && maps.stride.x != 1) {
      const auto copied = maps_by_bin(features, maps);
      features = copied.get();
      maps = order_by_bin(maps);
      run();
    } else {
      by_tiles();
    }
  }
};

}  // namespace rfcn
