// Forward of psroi_pool, psroi_vote and roi_average_pool: one block pools some bins and classes of
// one RoI. Neighbouring threads take neighbouring classes, so that maps whose classes lie side by
// side are read and written whole cache lines at a time.
#pragma once

#include <algorithm>

#include "block_tables.h"

namespace rfcn {

// How one RoI is shared out. A thread takes `lane`, one pack of classes, and every groups-th bin.
struct PoolPlan {
  static constexpr int64_t kBlocks = 1024;  // enough to fill a large GPU

  int64_t chunks, parts, tiles;  // blocks a RoI: pieces of its classes, times pieces of its bins
  int lanes, groups;             // packs of classes, times bins at a time, in a block
  int bins;                      // of a part
  int threads;

  // With `whole` the bins of a RoI stay together, as a vote needs them.
  PoolPlan(int64_t rois, int64_t packs, int64_t all_bins, int most_lanes, bool whole) {
    chunks = divide_up(packs, most_lanes);
    lanes = static_cast<int>(chunks == 0 ? 0 : divide_up(packs, chunks));
    const int64_t fit = std::max<int64_t>(1, kMostThreads / std::max(1, lanes));
    int64_t rounds = divide_up(all_bins, fit);
    groups = static_cast<int>(divide_up(all_bins, rounds));
    parts = 1;
    if (!whole && rois * chunks > 0) {
      rounds = divide_up(rounds, std::clamp<int64_t>(kBlocks / (rois * chunks), 1, rounds));
      parts = divide_up(all_bins, rounds * groups);
    }
    bins = static_cast<int>(std::min(all_bins, rounds * groups));
    threads = whole_warps(std::max(1, lanes * groups));
    tiles = rois * chunks * parts;
  }
};

// The means of a pack of maps over rows x columns: mean_of_bin, in the same order of additions, with
// several cells on their way at once. `map` points at cell (0, 0) of the first map.
template <int kWidth, class Index, class T>
RFCN_HD void means_of_cells(const T* map, Index stride_y, Index stride_x, Range rows, Range columns,
                            accumulate_t<T>* mean) {
  using A = accumulate_t<T>;
  constexpr int kAhead = kWidth == 1 ? 8 : 4;
  const int64_t area = size(rows) * size(columns);
  RFCN_UNROLL
  for (int v = 0; v < kWidth; ++v) mean[v] = A(0);
  if (area == 0) return;
  const Index turn = stride_y - static_cast<Index>(columns.end - 1 - columns.begin) * stride_x;
  Index at = static_cast<Index>(rows.begin) * stride_y + static_cast<Index>(columns.begin) * stride_x;
  int32_t y = rows.begin, x = columns.begin;
  while (y < rows.end) {
    Pack<T, kWidth> cells[kAhead];
    RFCN_UNROLL
    for (int a = 0; a < kAhead; ++a) {
      if (y < rows.end) {
        cells[a] = *reinterpret_cast<const Pack<T, kWidth>*>(map + at);
        const bool last = ++x == columns.end;
        at += last ? turn : stride_x;
        x = last ? columns.begin : x;
        y += last;
      } else {
        cells[a] = {};  // adding 0 changes no sum
      }
    }
    RFCN_UNROLL
    for (int a = 0; a < kAhead; ++a) {
      RFCN_UNROLL
      for (int v = 0; v < kWidth; ++v) mean[v] += static_cast<A>(cells[a].lane[v]);
    }
  }
  RFCN_UNROLL
  for (int v = 0; v < kWidth; ++v) mean[v] /= static_cast<A>(area);
}

// What both kernels below read. A pack is kWidth classes side by side, aligned as a whole.
template <class T, int kWidth>
struct PoolSource {
  const T* features;
  ScoreMaps maps;
  bool narrow;  // one map, whatever its strides, spans less than 2^31 elements
  Rois rois;

  static bool spans_little(const ScoreMaps& maps) {
    return maps.height == 0 || maps.width == 0 ||
           (maps.height - 1) * maps.stride.y + (maps.width - 1) * maps.stride.x +
                   maps.stride.y + maps.stride.x <= INT32_MAX;
  }

  // Whether packs lie as this width asks.
  static bool fits(const T* features, const ScoreMaps& maps) {
    const auto& stride = maps.stride;
    if (kWidth == 1) return true;
    if (stride.klass != 1 || maps.classes % kWidth != 0) return false;
    for (const int64_t one : {stride.picture, stride.i, stride.j, stride.y, stride.x}) {
      if (one % kWidth != 0) return false;
    }
    return reinterpret_cast<uintptr_t>(features) % (kWidth * sizeof(T)) == 0;
  }

  RFCN_DEVICE void means(const RoiTable& table, int64_t klass, int bin,
                         accumulate_t<T>* mean) const {
    const int k = static_cast<int>(maps.k), i = bin / k, j = bin % k;
    const Range rows = table.ranges[i], columns = table.ranges[k + j];
    // A RoI of no picture has no cells: its pointer is never followed, but must be one.
    const T* map = features + maps.offset(*table.picture < 0 ? 0 : *table.picture, klass, i, j);
    if (narrow) {
      means_of_cells<kWidth>(map, static_cast<int32_t>(maps.stride.y),
                             static_cast<int32_t>(maps.stride.x), rows, columns, mean);
    } else {
      means_of_cells<kWidth>(map, maps.stride.y, maps.stride.x, rows, columns, mean);
    }
  }
};

// pooled: [rois][i][j][class].
template <class T, int kWidth>
struct PoolKernel {
  PoolSource<T, kWidth> source;
  PoolPlan plan;
  T* pooled;

  static PoolPlan plan_for(int64_t rois, const ScoreMaps& maps) {
    return PoolPlan(rois, maps.classes / kWidth, maps.k * maps.k, kMostThreads, false);
  }

  int64_t shared_bytes() const { return RoiTable::bytes(source.maps.k); }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t tile) const {
    const ScoreMaps& maps = source.maps;
    const int all = static_cast<int>(maps.k * maps.k);
    const int first = static_cast<int>(tile % plan.parts) * plan.bins;
    const int last = first + plan.bins < all ? first + plan.bins : all;
    const int64_t chunk = tile / plan.parts % plan.chunks, r = tile / plan.parts / plan.chunks;
    const RoiTable table(team.shared());
    table.fill(team, source.rois, r, maps);
    team.each([&](int thread) {
      const int64_t klass = (chunk * plan.lanes + thread % plan.lanes) * kWidth;
      if (thread >= plan.lanes * plan.groups || klass >= maps.classes) return;
      for (int bin = first + thread / plan.lanes; bin < last; bin += plan.groups) {
        accumulate_t<T> mean[kWidth];
        source.means(table, klass, bin, mean);
        Pack<T, kWidth> out;
        RFCN_UNROLL
        for (int v = 0; v < kWidth; ++v) out.lane[v] = static_cast<T>(mean[v]);
        T* to = pooled + (r * all + bin) * maps.classes + klass;
        *reinterpret_cast<Pack<T, kWidth>*>(to) = out;
      }
    });
  }
};

// votes: [rois][class]. The means of the bins meet in shared memory and are added bin after bin, so
// that neither the shape of a block nor the GPU changes the sum.
template <class T, int kWidth>
struct VoteKernel {
  using A = accumulate_t<T>;
  static constexpr int kMostClasses = 64;           // of a block
  static constexpr int64_t kMeanBytes = 16 * 1024;  // held at a time

  PoolSource<T, kWidth> source;
  PoolPlan plan;
  T* votes;

  static PoolPlan plan_for(int64_t rois, const ScoreMaps& maps) {
    PoolPlan plan(rois, maps.classes / kWidth, maps.k * maps.k, kMostClasses / kWidth, true);
    // The bins whose means are held at a time: whole rounds of the block.
    const int64_t round = plan.groups * std::max(1, plan.lanes) * kWidth * sizeof(A);
    plan.bins = static_cast<int>(std::min<int64_t>(
        plan.bins, std::max<int64_t>(1, kMeanBytes / round) * plan.groups));
    return plan;
  }

  RFCN_HD int classes_of_block() const { return plan.lanes * kWidth; }

  int64_t shared_bytes() const {
    return RoiTable::bytes(source.maps.k) +
           (plan.bins + 1) * classes_of_block() * static_cast<int64_t>(sizeof(A));
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t tile) const {
    const int64_t chunk = tile % plan.chunks, r = tile / plan.chunks;
    const int all = static_cast<int>(source.maps.k * source.maps.k);
    const RoiTable table(team.shared());
    A* sums = reinterpret_cast<A*>(table.ranges + 2 * source.maps.k);
    A* means = sums + classes_of_block();
    table.fill(team, source.rois, r, source.maps);
    for (int first = 0; first < all; first += plan.bins) {
      const int last = first + plan.bins < all ? first + plan.bins : all;
      team.each([&](int thread) { hold_means(table, chunk, first, last, thread, means); });
      team.sync();
      team.each([&](int thread) {
        for (int c = thread; c < classes_of_block(); c += team.size()) {
          const int64_t klass = chunk * classes_of_block() + c;
          if (klass >= source.maps.classes) break;
          A sum = first == 0 ? A(0) : sums[c];
          for (int b = 0; b < last - first; ++b) sum += means[b * classes_of_block() + c];
          sums[c] = sum;
          if (last == all) {
            votes[r * source.maps.classes + klass] = static_cast<T>(sum / static_cast<A>(all));
          }
        }
      });
      team.sync();
    }
  }

 private:
  RFCN_DEVICE void hold_means(const RoiTable& table, int64_t chunk, int first, int last, int thread,
                              A* means) const {
    const int lane = thread % plan.lanes;
    const int64_t klass = (chunk * plan.lanes + lane) * kWidth;
    if (thread >= plan.lanes * plan.groups || klass >= source.maps.classes) return;
    for (int bin = first + thread / plan.lanes; bin < last; bin += plan.groups) {
      A mean[kWidth];
      source.means(table, klass, bin, mean);
      A* to = means + (bin - first) * classes_of_block() + lane * kWidth;
      RFCN_UNROLL
      for (int v = 0; v < kWidth; ++v) to[v] = mean[v];
    }
  }
};

}  // namespace rfcn
