// Backward of psroi_pool, psroi_vote and roi_average_pool: one block makes a piece of one row of the
// gradient of some maps. It finds the RoIs whose bins touch the row, then each thread adds their
// shares, RoI after RoI, to cells that belong to it alone: no atomics, the same bits at every run.
#pragma once

#include <algorithm>

#include "block_tables.h"

namespace rfcn {

// How rows are shared out. A block makes a rectangle of `lanes` maps (bin columns x classes) times
// `piece` columns; a thread has one lane and `columns` of the columns, one strip of the piece.
struct GatherPlan {
  static constexpr int kRois = 4096;                // looked through at a time
  static constexpr int64_t kSumBytes = 20 * 1024;   // a block holds; several blocks share a processor
  static constexpr int kUsualThreads = 192;
  static constexpr int kAlone = 64;                 // classes from which a bin needs no company

  int64_t chunks, bin_chunks, pieces, tiles;
  int classes, bins;  // of a block: lanes = bins * classes
  int piece, strips, columns, pitch, threads;

  // rows: of all pictures and bin rows together.
  GatherPlan(int64_t rows, int64_t all_classes, int64_t all_bins, int64_t width,
             int64_t sum_bytes) {
    chunks = divide_up(all_classes, kMostThreads);
    classes = static_cast<int>(chunks == 0 ? 0 : divide_up(all_classes, chunks));
    const int64_t most = classes >= kAlone ? 1 : kMostThreads / std::max(1, classes);
    bin_chunks = divide_up(all_bins, most);
    bins = static_cast<int>(divide_up(all_bins, bin_chunks));
    const int lanes = std::max(1, classes * bins);
    pitch = lanes | 1;  // odd: a walk over columns meets every bank
    const int64_t fit = std::max<int64_t>(1, kSumBytes / (pitch * sum_bytes));
    pieces = divide_up(width, fit);
    piece = static_cast<int>(pieces == 0 ? 0 : divide_up(width, pieces));
    strips = static_cast<int>(std::clamp<int64_t>(kUsualThreads / lanes, 1, std::max(1, piece)));
    columns = static_cast<int>(divide_up(piece, strips));
    strips = static_cast<int>(columns == 0 ? 1 : divide_up(piece, columns));
    threads = whole_warps(lanes * strips);
    tiles = rows * chunks * bin_chunks * pieces;
  }

  int64_t shared_bytes(int64_t sum_bytes) const {
    return FlagWalk::words_of(kRois) * static_cast<int64_t>(sizeof(uint32_t)) +
           piece * pitch * sum_bytes;
  }
};

RFCN_HD Range intersection(Range a, Range b) {
  return {a.begin > b.begin ? a.begin : b.begin, a.end < b.end ? a.end : b.end};
}

RFCN_HD bool contains(Range range, int32_t cell) { return range.begin <= cell && cell < range.end; }

// The rectangle of one block.
struct GatherTile {
  int64_t picture, klass;
  int32_t i, j, y;     // bin row (0 where a lane has all bins), first bin column, row of the map
  int classes, lanes;  // here: the last block of a row may have fewer
  Range columns;

  // Rows change fastest: blocks that run together then read the same gradients.
  RFCN_HD GatherTile(const GatherPlan& plan, const ScoreMaps& maps, int64_t bin_rows,
                     int64_t bin_columns, int64_t tile) {
    y = static_cast<int32_t>(tile % maps.height);
    tile /= maps.height;
    const int64_t first = tile % plan.pieces * plan.piece, last = first + plan.piece;
    columns = {static_cast<int32_t>(first),
               static_cast<int32_t>(last < maps.width ? last : maps.width)};
    tile /= plan.pieces;
    klass = tile % plan.chunks * plan.classes;
    tile /= plan.chunks;
    j = static_cast<int32_t>(tile % plan.bin_chunks * plan.bins);
    tile /= plan.bin_chunks;
    i = static_cast<int32_t>(tile % bin_rows);
    picture = tile / bin_rows;
    classes = plan.classes;
    if (maps.classes - klass < classes) classes = static_cast<int>(maps.classes - klass);
    const int64_t bins = bin_columns - j < plan.bins ? bin_columns - j : plan.bins;
    lanes = static_cast<int>(bins) * classes;
  }

  RFCN_HD int bins() const { return lanes / classes; }
};

// The sums of one block in shared memory, and whose they are.
template <class A>
struct GatherSums {
  A* sums;  // [column of the piece][lane]
  const GatherPlan& plan;
  const GatherTile& tile;

  // The columns of one thread; none if it has no lane.
  RFCN_HD Range strip(int thread) const {
    const int32_t begin = tile.columns.begin + thread / tile.lanes * plan.columns;
    const Range own{begin, begin + plan.columns};
    return thread < tile.lanes * plan.strips ? intersection(own, tile.columns) : Range{0, 0};
  }

  RFCN_HD A& at(int32_t x, int lane) const {
    return sums[(x - tile.columns.begin) * plan.pitch + lane];
  }

  RFCN_DEVICE void add(Range columns, int lane, A share) const {
    for (int32_t x = columns.begin; x < columns.end; ++x) at(x, lane) += share;
  }

  // To the maps, whichever of their axes lies side by side; `map` points at (0, 0) of lane 0.
  template <class Team, class T>
  RFCN_DEVICE void store(const Team& team, const ScoreMaps::Strides& stride, T* map) const {
    team.each([&](int thread) {
      if (stride.x == 1 && stride.klass != 1) {  // a warp stores rows
        for (int lane = thread / kWarp; lane < tile.lanes; lane += team.size() / kWarp) {
          T* row = map + lane / tile.classes * stride.j + lane % tile.classes * stride.klass;
          for (int32_t x = tile.columns.begin + thread % kWarp; x < tile.columns.end; x += kWarp) {
            row[x] = static_cast<T>(at(x, lane));
          }
        }
        return;
      }
      const Range own = strip(thread);  // neighbouring threads store neighbouring maps
      const int n = thread % tile.lanes, bins = tile.bins();
      const bool by_class = stride.klass <= stride.j || bins == 1;
      const int j = by_class ? n / tile.classes : n % bins;
      const int c = by_class ? n % tile.classes : n / bins;
      T* cell = map + j * stride.j + c * stride.klass;
      for (int32_t x = own.begin; x < own.end; ++x) {
        cell[x * stride.x] = static_cast<T>(at(x, j * tile.classes + c));
      }
    });
  }
};

// What both kernels below share: where gradients come from and where they go.
template <class T>
struct Gather {
  using A = accumulate_t<T>;
  const T* gradient;
  PooledStrides stride;
  RoiTables tables;
  ScoreMaps maps;
  GatherPlan plan;
  T* result;

  int64_t shared_bytes() const { return plan.shared_bytes(sizeof(A)); }

  // add(sums, walk, first, thread) adds the RoIs that the walk names, counted from RoI `first`.
  template <class Team, class Add>
  RFCN_DEVICE void make(const Team& team, const GatherTile& tile, Range bin_rows,
                        Range bin_columns, const Add& add) const {
    uint32_t* flags = static_cast<uint32_t*>(team.shared());
    A* memory = reinterpret_cast<A*>(flags + FlagWalk::words_of(GatherPlan::kRois));
    const GatherSums<A> sums{memory, plan, tile};
    team.each([&](int thread) {
      const Range own = sums.strip(thread);
      for (int32_t x = own.begin; x < own.end; ++x) sums.at(x, thread % tile.lanes) = A(0);
    });
    for (int64_t first = 0; first < tables.count; first += GatherPlan::kRois) {
      const int64_t left = tables.count - first;
      const int count = left < GatherPlan::kRois ? static_cast<int>(left) : GatherPlan::kRois;
      if (first > 0) team.sync();
      const Range *top = tables.rows(bin_rows.begin) + first,
                  *bottom = tables.rows(bin_rows.end - 1) + first;
      team.template flag<2>(
          count, flags, [&](int n) { return Range{top[n].begin, bottom[n].end}; },
          [&](int n, Range rows) {
            return contains(rows, tile.y) && tables.pictures[first + n] == tile.picture &&
                   size(intersection(tile.columns,
                                     {tables.columns(bin_columns.begin)[first + n].begin,
                                      tables.columns(bin_columns.end - 1)[first + n].end})) > 0;
          });
      team.sync();
      team.each([&](int thread) { add(sums, FlagWalk(flags, count), first, thread); });
    }
    team.sync();
    T* map = result + maps.offset(tile.picture, tile.klass, tile.i, tile.j) +
             tile.y * maps.stride.y;
    sums.store(team, maps.stride, map);
  }
};

// Position-sensitive: a lane is one class of one bin column, and its bin row is the block's.
template <class T>
struct PsroiGather : Gather<T> {
  using typename Gather<T>::A;
  int64_t voters;  // 1, or k * k where the gradient is that of a vote, which its bins share first

  static GatherPlan plan_for(const ScoreMaps& maps) {
    return GatherPlan(maps.pictures * maps.height * maps.k, maps.classes, maps.k, maps.width,
                      sizeof(A));
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t index) const {
    const GatherTile tile(this->plan, this->maps, this->maps.k, this->maps.k, index);
    const Range rows{tile.i, tile.i + 1}, columns{tile.j, tile.j + tile.bins()};
    this->make(team, tile, rows, columns,
               [&](const GatherSums<A>& sums, FlagWalk walk, int64_t first, int thread) {
                 add(tile, sums, walk, first, thread);
               });
  }

 private:
  // RoIs whose gradients are on their way at once; wide ones fill the registers sooner.
  static constexpr int kAhead = sizeof(T) == 8 ? 3 : 4;

  RFCN_DEVICE void add(const GatherTile& tile, const GatherSums<A>& sums, FlagWalk walk,
                       int64_t first, int thread) const {
    const Range own = sums.strip(thread);
    if (size(own) == 0) return;
    const int lane = thread % tile.lanes, j = tile.j + lane / tile.classes;
    const int64_t klass = tile.klass + lane % tile.classes;
    const Range *rows = this->tables.rows(tile.i) + first,
                *columns = this->tables.columns(j) + first;
    const T* from = this->gradient + first * this->stride.roi + klass * this->stride.klass +
                    tile.i * this->stride.i + j * this->stride.j;
    int roi[kAhead];
    do {
      Range height[kAhead], width[kAhead];
      T share[kAhead];
      RFCN_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        roi[a] = walk.next();
        if (roi[a] < 0) continue;
        height[a] = rows[roi[a]];
        width[a] = columns[roi[a]];
        share[a] = from[roi[a] * this->stride.roi];
      }
      RFCN_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        if (roi[a] < 0) continue;
        const Range mine = intersection(width[a], own);
        if (mine.begin >= mine.end) continue;
        sums.add(mine, lane, static_cast<A>(share[a]) /
                                 static_cast<A>(voters * size(height[a]) * size(width[a])));
      }
    } while (roi[kAhead - 1] >= 0);
  }
};

// One channel for all bins: a lane is one channel, and takes every bin that touches the row. The
// maps are [pictures, channels, k, k, height, width] with strides 0 for the bins.
template <class T>
struct AverageGather : Gather<T> {
  using typename Gather<T>::A;

  static GatherPlan plan_for(const ScoreMaps& maps) {
    return GatherPlan(maps.pictures * maps.height, maps.classes, 1, maps.width, sizeof(A));
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t index) const {
    const GatherTile tile(this->plan, this->maps, 1, 1, index);
    const Range all{0, static_cast<int32_t>(this->maps.k)};
    this->make(team, tile, all, all,
               [&](const GatherSums<A>& sums, FlagWalk walk, int64_t first, int thread) {
                 const Range own = sums.strip(thread);
                 if (size(own) == 0) return;
                 for (int n = walk.next(); n >= 0; n = walk.next()) {
                   for (int32_t i = 0; i < all.end; ++i) {
                     const Range rows = this->tables.rows(i)[first + n];
                     if (!contains(rows, tile.y)) continue;
                     add_row(tile, sums, own, rows, first + n, i, thread % tile.lanes);
                   }
                 }
               });
  }

 private:
  // Bins whose gradients are on their way at once; wide ones fill the registers sooner.
  static constexpr int kAhead = sizeof(T) == 8 ? 4 : 8;

  RFCN_DEVICE void add_row(const GatherTile& tile, const GatherSums<A>& sums, Range own,
                           Range rows, int64_t r, int32_t i, int lane) const {
    const int32_t k = static_cast<int32_t>(this->maps.k);
    const T* from = this->gradient + r * this->stride.roi + i * this->stride.i +
                    (tile.klass + lane) * this->stride.klass;
    for (int32_t j = 0; j < k; j += kAhead) {
      Range columns[kAhead];
      T share[kAhead];
      RFCN_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        if (j + a >= k) continue;
        columns[a] = this->tables.columns(j + a)[r];
        share[a] = from[(j + a) * this->stride.j];
      }
      RFCN_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        if (j + a >= k) continue;
        const Range mine = intersection(columns[a], own);
        if (mine.begin >= mine.end) continue;
        sums.add(mine, lane, static_cast<A>(share[a]) /
                                 static_cast<A>(size(rows) * size(columns[a])));
      }
    }
  }
};

}  // namespace rfcn
