// Brings maps, or pooled gradients, into the order that the other kernels read well: all classes of
// a cell and bin side by side. A block turns one square of classes against the axis that lies side
// by side in the source, through shared memory, so that both sides move whole cache lines.
#pragma once

#include "block.h"
#include "psroi_pool.h"

namespace rfcn {

// Maps that every bin reads (roi_average_pool) have only one bin to bring in order.
inline ScoreMaps with_own_bins(ScoreMaps maps) {
  if (maps.stride.i == 0 && maps.stride.j == 0) maps.k = 1;
  return maps;
}

// How a copy in order lies, for the same k.
inline ScoreMaps in_order(const ScoreMaps& maps) {
  const ScoreMaps own = with_own_bins(maps);
  ScoreMaps ordered = order_by_bin(own);
  if (own.k != maps.k) ordered.stride.i = ordered.stride.j = 0;
  ordered.k = maps.k;
  return ordered;
}

// Whether the copy pays before `rois` RoIs are pooled: a class that stands alone costs a cache
// sector for each row of a bin, in order a small part of one for each cell, and the copy costs
// every cell twice.
inline bool worth_ordering(const ScoreMaps& maps, int64_t rois) {
  if (maps.stride.klass <= 1 || maps.classes < 8) return false;
  const int64_t own = with_own_bins(maps).k, cells = maps.pictures * maps.height * maps.width;
  return 8 * rois * maps.k * maps.k > cells * own * own;
}

struct OrderPlan {
  static constexpr int kSide = 32;
  static constexpr int kThreads = 256;

  // One axis: its length, and the steps of source and target. The last two are those of the square:
  // the axis that lies side by side in the source, and the classes.
  struct Axis {
    int64_t size, from, to;
  };
  Axis axes[6];
  int64_t squares[2], tiles;

  explicit OrderPlan(const ScoreMaps& maps) {
    const ScoreMaps from = with_own_bins(maps), to = order_by_bin(from);
    const auto &f = from.stride, &t = to.stride;
    axes[0] = {from.pictures, f.picture, t.picture};
    axes[1] = {from.height, f.y, t.y};
    axes[2] = {from.k, f.i, t.i};
    axes[3] = {from.k, f.j, t.j};
    axes[4] = {from.width, f.x, t.x};
    axes[5] = {from.classes, f.klass, t.klass};
    if (f.y == from.width * f.x) join(1, 4);        // a plane is one long row
    if (f.i == from.k * f.j) join(2, 3);            // all bins lie in one row
    if (lies_closer(axes[3], axes[4])) swap(3, 4);  // else cells are side by side
    squares[0] = divide_up(axes[4].size, kSide);
    squares[1] = divide_up(axes[5].size, kSide);
    tiles = squares[0] * squares[1];
    for (int axis = 0; axis < 4; ++axis) tiles *= axes[axis].size;
  }

 private:
  static bool lies_closer(const Axis& a, const Axis& b) {
    return a.size > 1 && (b.size <= 1 || a.from < b.from);
  }

  // The outer axis becomes part of the inner one.
  void join(int outer, int inner) {
    axes[inner].size *= axes[outer].size;
    axes[outer] = {axes[inner].size == 0 ? 0 : 1, 0, 0};
  }

  void swap(int a, int b) {
    const Axis kept = axes[a];
    axes[a] = axes[b];
    axes[b] = kept;
  }
};

template <class T>
struct OrderKernel {
  static constexpr int kPitch = OrderPlan::kSide + 1;

  const T* from;
  OrderPlan plan;
  T* to;

  int64_t shared_bytes() const { return OrderPlan::kSide * kPitch * sizeof(T); }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t tile) const {
    constexpr int kSide = OrderPlan::kSide;
    const OrderPlan::Axis across = plan.axes[4], down = plan.axes[5];
    const int64_t first_down = tile % plan.squares[1] * kSide;
    tile /= plan.squares[1];
    const int64_t first_across = tile % plan.squares[0] * kSide;
    tile /= plan.squares[0];
    int64_t read = first_across * across.from + first_down * down.from;
    int64_t write = first_across * across.to + first_down * down.to;
    RFCN_UNROLL
    for (int axis = 3; axis >= 0; --axis) {
      const int64_t n = tile % plan.axes[axis].size;
      tile /= plan.axes[axis].size;
      read += n * plan.axes[axis].from;
      write += n * plan.axes[axis].to;
    }
    const int width = in_square(across.size - first_across);
    const int height = in_square(down.size - first_down);
    T* square = static_cast<T*>(team.shared());
    team.each([&](int thread) {
      const int x = thread % kSide;
      for (int y = thread / kSide; y < height && x < width; y += team.size() / kSide) {
        square[y * kPitch + x] = from[read + x * across.from + y * down.from];
      }
    });
    team.sync();
    team.each([&](int thread) {
      const int y = thread % kSide;
      for (int x = thread / kSide; x < width && y < height; x += team.size() / kSide) {
        to[write + x * across.to + y * down.to] = square[y * kPitch + x];
      }
    });
  }

 private:
  RFCN_DEVICE static int in_square(int64_t left) {
    return left < OrderPlan::kSide ? static_cast<int>(left) : OrderPlan::kSide;
  }
};

}  // namespace rfcn
