// The gradient of deform_psroi_pool to the maps on CUDA: one block makes a piece of one row of the
// maps of one bin. It finds the RoIs whose bins read the row, then each thread adds their shares, RoI
// after RoI, to cells that belong to it alone: no atomics, the same bits at every run.
#pragma once

#include "block_deform.h"

namespace rfcn {

// A block has `lanes` maps (groups x classes of each) times `piece` columns; a thread has one lane
// and one strip of columns.
struct DeformGatherPlan {
  static constexpr int kRois = 1024;               // looked through at a time
  static constexpr int kMostBatch = 32;            // RoIs whose taps are held at a time
  static constexpr int64_t kSumBytes = 16 * 1024;  // a block holds

  int64_t group_chunks, class_chunks, pieces, tiles;
  int groups, classes, lanes, piece, strips, columns, batch, threads;

  template <class A>
  static DeformGatherPlan of(const ScoreMaps& maps, int64_t all_groups, int64_t samples, A) {
    DeformGatherPlan plan;
    const int64_t each = maps.classes / all_groups;
    plan.class_chunks = divide_up(each, kMostThreads);
    plan.classes =
        static_cast<int>(plan.class_chunks == 0 ? 1 : divide_up(each, plan.class_chunks));
    const int fit = TapLines<A>::fit(1, samples);
    const int64_t most = std::clamp(kMostThreads / 2 / plan.classes, 1, fit);
    plan.group_chunks = divide_up(all_groups, most);
    plan.groups = static_cast<int>(divide_up(all_groups, plan.group_chunks));
    plan.lanes = plan.groups * plan.classes;
    const int64_t cells = std::max<int64_t>(1, kSumBytes / (plan.lanes * sizeof(A)));
    plan.pieces = divide_up(maps.width, cells);
    plan.piece = static_cast<int>(plan.pieces == 0 ? 1 : divide_up(maps.width, plan.pieces));
    plan.strips = std::clamp(kMostThreads / plan.lanes, 1, plan.piece);
    plan.columns = static_cast<int>(divide_up(plan.piece, plan.strips));
    plan.strips = static_cast<int>(divide_up(plan.piece, plan.columns));
    plan.batch = std::clamp(fit / plan.groups, 1, kMostBatch);
    plan.threads = whole_warps(plan.lanes * plan.strips);
    plan.tiles = maps.pictures * maps.height * maps.k * maps.k * plan.group_chunks *
                 plan.class_chunks * plan.pieces;
    return plan;
  }
};

template <class T>
struct DeformGatherKernel {
  using A = accumulate_t<T>;
  const T* gradient;
  PooledStrides stride;
  EitherCall call;
  int64_t count;  // of RoIs
  DeformGatherPlan plan;
  T* result;

  static DeformGatherPlan plan_for(const EitherCall& call) {
    return DeformGatherPlan::of(call.maps(), call.groups(), call.samples(), A(0));
  }

  RFCN_HD int lines() const { return plan.batch * plan.groups; }
  int64_t shared_bytes() const {
    return TapLines<A>::bytes(lines(), call.samples()) +
           (plan.piece * plan.lanes + lines()) * static_cast<int64_t>(sizeof(A)) +
           (FlagWalk::words_of(DeformGatherPlan::kRois) + DeformGatherPlan::kRois) *
               static_cast<int64_t>(sizeof(int32_t));
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t index) const {
    const Tile tile(*this, index);
    const Memory memory(*this, team.shared());
    team.each([&](int thread) {
      for (int n = thread; n < plan.piece * plan.lanes; n += team.size()) memory.sums[n] = A(0);
    });
    for (int64_t first = 0; first < count; first += DeformGatherPlan::kRois) {
      const int rois = static_cast<int>(
          count - first < DeformGatherPlan::kRois ? count - first : DeformGatherPlan::kRois);
      team.template flag<1>(
          rois, memory.flags, [&](int n) { return touches(tile, first + n); },
          [](int, bool touched) { return touched; });
      team.sync();
      team.each([&](int thread) {
        for (int n = thread; n < rois; n += team.size()) list(memory, n);
      });
      team.sync();
      const int found = rank(memory, rois);
      team.sync();  // the next flags may come before any batch does
      for (int at = 0; at < found; at += plan.batch) {
        const int here = found - at < plan.batch ? found - at : plan.batch;
        team.each([&](int thread) {
          for (int n = thread; n < here * plan.groups; n += team.size()) {
            make_line(memory, tile, first + memory.list[at + n / plan.groups], n);
          }
        });
        team.sync();
        team.each([&](int thread) { add(memory, tile, first, at, here, thread); });
        team.sync();
      }
    }
    team.sync();
    team.each([&](int thread) { store(memory, tile, team.size(), thread); });
  }

 private:
  // The rectangle of one block.
  struct Tile {
    int64_t picture, i, j, group, klass;  // the first group, and the first class within each
    int32_t y, x;

    RFCN_DEVICE Tile(const DeformGatherKernel& of, int64_t n) {
      const ScoreMaps& maps = of.call.maps();
      const DeformGatherPlan& plan = of.plan;
      x = static_cast<int32_t>(n % plan.pieces * plan.piece), n /= plan.pieces;
      klass = n % plan.class_chunks * plan.classes, n /= plan.class_chunks;
      group = n % plan.group_chunks * plan.groups, n /= plan.group_chunks;
      j = n % maps.k, n /= maps.k;
      i = n % maps.k, n /= maps.k;
      y = static_cast<int32_t>(n % maps.height);
      picture = n / maps.height;
    }
  };

  // flags: which RoIs read the row. list: those, in their order. rows: what the row weighs, for each
  // RoI of a batch and each group.
  struct Memory {
    TapLines<A> lines;
    A *sums, *rows;
    uint32_t* flags;
    int32_t* list;

    RFCN_DEVICE Memory(const DeformGatherKernel& of, void* shared)
        : lines(shared, of.lines(), of.call.samples()) {
      sums = reinterpret_cast<A*>(static_cast<char*>(shared) +
                                  TapLines<A>::bytes(of.lines(), of.call.samples()));
      rows = sums + of.plan.piece * of.plan.lanes;
      flags = reinterpret_cast<uint32_t*>(rows + of.lines());
      list = reinterpret_cast<int32_t*>(flags + FlagWalk::words_of(DeformGatherPlan::kRois));
    }
  };

  RFCN_DEVICE A weight_of_row(const Tile& tile, int64_t r, int64_t group) const {
    return call.ask([&](const auto& one) {
      return weight_of_cell<A>(one.samples(r, group, 1, tile.i, tile.j), one.maps.height, tile.y);
    });
  }

  RFCN_DEVICE bool touches(const Tile& tile, int64_t r) const {
    if (call.picture(r) != tile.picture) return false;
    for (int g = 0; g < plan.groups && tile.group + g < call.groups(); ++g) {
      if (weight_of_row(tile, r, tile.group + g) != A(0)) return true;
    }
    return false;
  }

  // How many of the first n flags are set.
  RFCN_DEVICE static int rank(const Memory& memory, int n) {
    int before = 0;
    for (int word = 0; word < n / kWarp; ++word) before += count_bits(memory.flags[word]);
    const uint32_t rest = (1u << n % kWarp) - 1;
    return rest == 0 ? before : before + count_bits(memory.flags[n / kWarp] & rest);
  }

  RFCN_DEVICE static void list(const Memory& memory, int n) {
    if (memory.flags[n / kWarp] >> (n % kWarp) & 1) memory.list[rank(memory, n)] = n;
  }

  RFCN_DEVICE void make_line(const Memory& memory, const Tile& tile, int64_t r, int n) const {
    const int64_t group = tile.group + n % plan.groups;
    memory.lines.counts[n] = 0;
    if (group >= call.groups()) return;
    memory.rows[n] = weight_of_row(tile, r, group);
    if (memory.rows[n] == A(0)) return;
    memory.lines.counts[n] = call.ask([&](const auto& one) {
      return taps_of_samples(one.samples(r, group, 0, tile.i, tile.j), one.maps.width,
                             memory.lines.line(n), static_cast<Tap<A>*>(nullptr));
    });
  }

  RFCN_DEVICE void add(const Memory& memory, const Tile& tile, int64_t first, int at, int here,
                       int thread) const {
    const int lane = thread % plan.lanes, strip = thread / plan.lanes;
    const int64_t each = call.maps().classes / call.groups();
    const int64_t c = tile.klass + lane % plan.classes, group = tile.group + lane / plan.classes;
    if (strip >= plan.strips || c >= each || group >= call.groups()) return;
    const int begin = strip * plan.columns;
    const int end = begin + plan.columns < plan.piece ? begin + plan.columns : plan.piece;
    const T* from = gradient + (group * each + c) * stride.klass + tile.i * stride.i +
                    tile.j * stride.j;
    for (int b = 0; b < here; ++b) {
      const int n = b * plan.groups + lane / plan.classes;
      if (memory.lines.counts[n] == 0) continue;
      const A share =
          static_cast<A>(from[(first + memory.list[at + b]) * stride.roi]) * memory.rows[n];
      const Tap<A>* taps = memory.lines.line(n);
      for (int m = 0; m < memory.lines.counts[n]; ++m) {
        const int x = taps[m].cell - tile.x;
        if (begin <= x && x < end) memory.sums[x * plan.lanes + lane] += share * taps[m].weight;
      }
    }
  }

  RFCN_DEVICE void store(const Memory& memory, const Tile& tile, int threads, int thread) const {
    const ScoreMaps& maps = call.maps();
    const int64_t each = maps.classes / call.groups();
    for (int n = thread; n < plan.piece * plan.lanes; n += threads) {
      // Neighbouring threads write what lies side by side: lanes or, of plain planes, columns.
      const bool planes = maps.stride.klass != 1;
      const int lane = planes ? n / plan.piece : n % plan.lanes;
      const int x = planes ? n % plan.piece : n / plan.lanes;
      const int64_t c = tile.klass + lane % plan.classes, group = tile.group + lane / plan.classes;
      if (c >= each || group >= call.groups() || tile.x + x >= maps.width) continue;
      T* map = result + maps.offset(tile.picture, group * each + c, tile.i, tile.j);
      map[tile.y * maps.stride.y + (tile.x + x) * maps.stride.x] =
          static_cast<T>(memory.sums[x * plan.lanes + lane]);
    }
  }
};

}  // namespace rfcn
