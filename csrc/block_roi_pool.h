// roi_pool in three kernels. Forward: one block pools some channels of one RoI. Backward: the tables
// of all RoIs, then the gather of block_gather.h, in which a cell takes the gradients of the bins
// that it has won, RoI after RoI.
#pragma once

#include "block_gather.h"
#include "roi_pool.h"

namespace rfcn {

// Results in memory order: [roi][i][j][channel] where the channels of a cell lie side by side,
// [roi][channel][i][j] elsewhere. Neighbouring threads write neighbours.
template <class T, class S>
struct MaxPoolKernel {
  static constexpr int64_t kElements = 2048;  // of a block, about

  const T* features;
  ScoreMaps maps;
  const S* rois;
  int64_t count;
  S scale;
  Bins bins;
  T* pooled;
  int32_t* cells;  // or null

  // Channels of a block: whole warps of them, since they may be what lies side by side.
  RFCN_HD int64_t each() const {
    const int64_t warps = kElements / bins.count() / kWarp;
    return (warps > 1 ? warps : 1) * kWarp;
  }
  int64_t tiles() const { return count * divide_up(maps.classes, each()); }
  int64_t shared_bytes() const { return bins.ranges() * static_cast<int64_t>(sizeof(Range)); }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t tile) const {
    const int64_t most = each(), chunks = divide_up(maps.classes, most), r = tile / chunks;
    const int64_t first = tile % chunks * most, left = maps.classes - first;
    const uint32_t channels = static_cast<uint32_t>(left < most ? left : most);
    const S* roi = rois + r * kRoiColumns;
    Range* ranges = static_cast<Range*>(team.shared());
    const bool valid = is_valid(roi, maps.pictures);
    team.each([&](int thread) {
      for (int64_t e = thread; e < bins.ranges(); e += team.size()) {
        ranges[e] = valid ? cells_of_entry(roi, scale, bins, e, maps.height, maps.width)
                          : Range{0, 0};
      }
    });
    team.sync();
    const T* map = features + (valid ? maps.offset(static_cast<int64_t>(roi[0]), first, 0, 0) : 0);
    const bool last = maps.stride.klass == 1;
    const uint32_t all = static_cast<uint32_t>(bins.count());
    const uint32_t across = static_cast<uint32_t>(bins.columns);
    team.each([&](int thread) {
      for (uint32_t n = thread; n < channels * all; n += team.size()) {
        const uint32_t channel = last ? n % channels : n / all, bin = last ? n / channels : n % all;
        const auto best = best_of_bin(map + channel * maps.stride.klass, maps.stride.y,
                                      maps.stride.x, maps.width, ranges[bin / across],
                                      ranges[bins.rows + bin % across]);
        const int64_t at = last ? (r * all + bin) * maps.classes + first + channel
                                : (r * maps.classes + first + channel) * all + bin;
        pooled[at] = static_cast<T>(best.value);
        if (cells != nullptr) cells[at] = best.cell;
      }
    });
  }
};

// RoiTables for bins that need not be square: as many entries a side as the longer one has. Element
// n of the memory, as tabulate_element of block_tables.h.
RFCN_HD int64_t longer_side(Bins bins) {
  return bins.rows > bins.columns ? bins.rows : bins.columns;
}

template <class S>
RFCN_HD void tabulate_max_pool(int64_t n, const S* rois, int64_t count, S scale, Bins bins,
                               const ScoreMaps& maps, int64_t* memory) {
  const int64_t k = longer_side(bins), entry = n / count;
  const S* roi = rois + n % count * kRoiColumns;
  const bool valid = is_valid(roi, maps.pictures);
  if (entry == 2 * k) {
    memory[n] = valid ? static_cast<int64_t>(roi[0]) : -1;
    return;
  }
  const bool across = entry >= k;
  const int64_t e = across ? entry - k + bins.rows : entry;
  const bool exists = valid && e < (across ? bins.ranges() : bins.rows);
  reinterpret_cast<Range*>(memory)[n] =
      exists ? cells_of_entry(roi, scale, bins, e, maps.height, maps.width) : Range{0, 0};
}

// A lane is one channel, and takes from every bin that touches the row what its cells have won.
template <class T>
struct MaxGather : Gather<T> {
  using typename Gather<T>::A;
  Bins bins;
  const int32_t* cells;
  PooledStrides of_cells;

  static GatherPlan plan_for(const ScoreMaps& maps) {
    return GatherPlan(maps.pictures * maps.height, maps.classes, 1, maps.width, sizeof(A));
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t index) const {
    const GatherTile tile(this->plan, this->maps, 1, 1, index);
    const Range rows{0, static_cast<int32_t>(bins.rows)};
    const Range columns{0, static_cast<int32_t>(bins.columns)};
    this->make(team, tile, rows, columns,
               [&](const GatherSums<A>& sums, FlagWalk walk, int64_t first, int thread) {
                 const Range own = sums.strip(thread);
                 if (size(own) == 0) return;
                 for (int n = walk.next(); n >= 0; n = walk.next()) {
                   for (int32_t i = 0; i < rows.end; ++i) {
                     if (!contains(this->tables.rows(i)[first + n], tile.y)) continue;
                     add_row(tile, sums, own, first + n, i, thread % tile.lanes);
                   }
                 }
               });
  }

 private:
  // Bins whose cells and gradients are on their way at once; wide ones fill the registers sooner.
  static constexpr int kAhead = sizeof(T) == 8 ? 3 : 4;

  RFCN_DEVICE void add_row(const GatherTile& tile, const GatherSums<A>& sums, Range own, int64_t r,
                           int32_t i, int lane) const {
    const int32_t columns = static_cast<int32_t>(bins.columns);
    const int64_t channel = tile.klass + lane;
    const T* from = this->gradient + r * this->stride.roi + i * this->stride.i +
                    channel * this->stride.klass;
    const int32_t* won = cells + r * of_cells.roi + i * of_cells.i + channel * of_cells.klass;
    const int64_t row = static_cast<int64_t>(tile.y) * this->maps.width;
    for (int32_t j = 0; j < columns; j += kAhead) {
      bool near[kAhead];
      int32_t cell[kAhead];
      T arrived[kAhead];
      RFCN_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        near[a] = j + a < columns &&
                  size(intersection(this->tables.columns(j + a)[r], own)) > 0;
        if (!near[a]) continue;
        cell[a] = won[(j + a) * of_cells.j];
        arrived[a] = from[(j + a) * this->stride.j];
      }
      RFCN_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        if (!near[a]) continue;
        const int64_t x = cell[a] - row;  // of another row: not within the map's width
        if (x < own.begin || x >= own.end) continue;
        sums.at(static_cast<int32_t>(x), lane) += static_cast<A>(arrived[a]);
      }
    }
  }
};

}  // namespace rfcn
