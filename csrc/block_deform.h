// deform_psroi_pool on CUDA: what the blocks of its kernels share, and the two that go bin by bin.
// A slot is one bin of one RoI and one group of classes. A block makes the taps of its slots in
// shared memory, then its threads read the maps, neighbouring threads neighbouring classes.
#pragma once

#include <algorithm>

#include "block.h"
#include "deform_psroi_pool.h"

namespace rfcn {

// The call with positions in either dtype. Which of the two is the same for all threads.
struct EitherCall {
  bool wide;  // double, not float
  DeformCall<float> single;
  DeformCall<double> twice;

  template <class F>
  RFCN_DEVICE auto ask(const F& f) const {
    return wide ? f(twice) : f(single);
  }

  RFCN_HD const ScoreMaps& maps() const { return wide ? twice.maps : single.maps; }
  RFCN_HD int64_t groups() const { return wide ? twice.offsets.groups : single.offsets.groups; }
  RFCN_HD int64_t samples() const {
    return wide ? twice.deforming.samples : single.deforming.samples;
  }

  // The picture of RoI r, or -1 if no kernel can use the RoI.
  RFCN_DEVICE int64_t picture(int64_t r) const {
    return ask([&](const auto& call) { return call.has_picture(r) ? call.picture(r) : -1; });
  }
};

// Lists of taps in shared memory. An odd pitch, so that threads that walk over neighbouring lists
// meet different banks.
template <class A>
struct TapLines {
  static constexpr int64_t kBytes = 16 * 1024;  // of taps, unless a kernel asks for more

  Tap<A>* taps;
  int32_t* counts;
  int pitch;

  RFCN_HD static int pitch_of(int64_t samples) { return static_cast<int>(2 * samples) + 1; }
  RFCN_HD static int64_t bytes(int64_t lines, int64_t samples) {
    return lines * (pitch_of(samples) * static_cast<int64_t>(sizeof(Tap<A>)) + 8);
  }
  // How many things of so many lines fit, at least one.
  static int fit(int64_t lines, int64_t samples) {
    return static_cast<int>(std::max<int64_t>(1, kBytes / bytes(lines, samples)));
  }

  RFCN_HD TapLines(void* memory, int64_t lines, int64_t samples)
      : taps(static_cast<Tap<A>*>(memory)), pitch(pitch_of(samples)) {
    counts = reinterpret_cast<int32_t*>(taps + lines * pitch);
  }

  RFCN_HD Tap<A>* line(int64_t n) const { return taps + n * pitch; }
};

// A bin of a RoI and a group of classes, in the order [roi][i][j][group].
struct DeformSlot {
  int64_t r, i, j, group;

  RFCN_HD DeformSlot(int64_t n, int64_t k, int64_t groups) {
    group = n % groups;
    n /= groups;
    j = n % k;
    i = n / k % k;
    r = n / (k * k);
  }
};

// How slots are shared out: `lanes` threads for each of a block's `slots`. With `whole` one block
// sees all classes of a group, else a thread has one class.
struct SlotPlan {
  int64_t all, chunks, tiles;
  int lanes, slots, threads;

  SlotPlan(int64_t rois, const ScoreMaps& maps, int64_t groups, int most_lanes, bool whole,
           int fit) {
    const int64_t each = maps.classes / groups;
    all = rois * maps.k * maps.k * groups;
    chunks = whole ? 1 : divide_up(each, most_lanes);
    lanes = static_cast<int>(whole ? std::clamp<int64_t>(each, 1, most_lanes)
                                   : divide_up(each, std::max<int64_t>(1, chunks)));
    slots = std::clamp(kMostThreads / std::max(1, lanes), 1, fit);
    threads = whole_warps(std::max(1, lanes * slots));
    tiles = divide_up(all, slots) * chunks;
  }
};

// Both lists of taps of each slot of a block, and their slopes if wanted: list 2n + axis of slot n.
template <class A>
struct SlotTaps {
  TapLines<A> taps, slopes;

  RFCN_HD static int64_t bytes(int slots, int64_t samples, bool sloping) {
    return TapLines<A>::bytes(2 * slots, samples) * (sloping ? 2 : 1);
  }

  RFCN_HD SlotTaps(void* memory, int slots, int64_t samples, bool sloping)
      : taps(memory, 2 * slots, samples),
        slopes(static_cast<char*>(memory) +
                   (sloping ? TapLines<A>::bytes(2 * slots, samples) : int64_t(0)),
               2 * slots, samples) {}

  template <class Team>
  RFCN_DEVICE void make(const Team& team, const EitherCall& call, int64_t first, int slots,
                        int64_t all, bool sloping) const {
    team.each([&](int thread) {
      for (int n = thread; n < 2 * slots; n += team.size()) {
        if (first + n / 2 >= all) return;
        const DeformSlot slot(first + n / 2, call.maps().k, call.groups());
        Tap<A>* steep = sloping ? slopes.line(n) : nullptr;
        taps.counts[n] = call.ask([&](const auto& c) {
          if (!c.has_picture(slot.r)) return int64_t(0);
          return taps_of_samples(c.samples(slot.r, slot.group, n % 2, slot.i, slot.j),
                                 c.cells(n % 2), taps.line(n), steep);
        });
      }
    });
    team.sync();
  }

  RFCN_HD bool empty(int slot) const {
    return taps.counts[2 * slot] == 0 || taps.counts[2 * slot + 1] == 0;
  }

  // The sum over rows x columns of one map.
  template <class T>
  RFCN_HD A sum(const T* map, const ScoreMaps& maps, int slot, const TapLines<A>& rows,
                const TapLines<A>& columns) const {
    A sum = 0;
    for (int n = 0; n < taps.counts[2 * slot + 1]; ++n) {
      const Tap<A> row = rows.line(2 * slot + 1)[n];
      const T* line = map + row.cell * maps.stride.y;
      for (int m = 0; m < taps.counts[2 * slot]; ++m) {
        const Tap<A> column = columns.line(2 * slot)[m];
        const A weight = row.weight * column.weight;
        sum += weight * static_cast<A>(line[column.cell * maps.stride.x]);
      }
    }
    return sum;
  }
};

// pooled: [rois][i][j][class].
template <class T>
struct DeformKernel {
  using A = accumulate_t<T>;
  const T* features;
  EitherCall call;
  SlotPlan plan;
  T* pooled;

  static SlotPlan plan_for(int64_t rois, const EitherCall& call) {
    const int fit = TapLines<A>::fit(2, call.samples());
    return SlotPlan(rois, call.maps(), call.groups(), kMostThreads, false, fit);
  }

  int64_t shared_bytes() const {
    return SlotTaps<A>::bytes(plan.slots, call.samples(), false);
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t tile) const {
    const ScoreMaps& maps = call.maps();
    const int64_t chunk = tile % plan.chunks, first = tile / plan.chunks * plan.slots;
    const int64_t each = maps.classes / call.groups();
    const SlotTaps<A> taps(team.shared(), plan.slots, call.samples(), false);
    taps.make(team, call, first, plan.slots, plan.all, false);
    team.each([&](int thread) {
      const int own = thread / plan.lanes;
      const int64_t n = first + own, c = chunk * plan.lanes + thread % plan.lanes;
      if (own >= plan.slots || n >= plan.all || c >= each) return;
      const DeformSlot slot(n, maps.k, call.groups());
      const int64_t picture = call.picture(slot.r), klass = slot.group * each + c;
      A score = 0;
      if (taps.empty(own)) {
        if (picture >= 0) {
          score = call.ask([&](const auto& one) {
            return static_cast<A>(one.without_samples(slot.r, slot.group, slot.i, slot.j));
          });
        }
      } else {
        const T* map = features + maps.offset(picture, klass, slot.i, slot.j);
        score = taps.sum(map, maps, own, taps.taps, taps.taps);
      }
      pooled[((slot.r * maps.k + slot.i) * maps.k + slot.j) * maps.classes + klass] =
          static_cast<T>(score);
    });
  }
};

// The gradient of the offsets, [rois][i][j][group][x, y] in the dtype of positions. A group's classes
// are summed by its lanes, then over the lanes in their order.
template <class T>
struct DeformOffsetsKernel {
  using A = accumulate_t<T>;
  const T* gradient;
  PooledStrides stride;
  const T* features;
  EitherCall call;
  SlotPlan plan;
  void* result;

  static SlotPlan plan_for(int64_t rois, const EitherCall& call) {
    const int fit = TapLines<A>::fit(4, call.samples());
    return SlotPlan(rois, call.maps(), call.groups(), kWarp, true, fit);
  }

  RFCN_HD int64_t sums_bytes() const { return 2 * plan.threads * static_cast<int64_t>(sizeof(A)); }
  int64_t shared_bytes() const {
    return sums_bytes() + SlotTaps<A>::bytes(plan.slots, call.samples(), true);
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t tile) const {
    const int64_t first = tile * plan.slots;
    A* sums = static_cast<A*>(team.shared());
    const SlotTaps<A> taps(static_cast<char*>(team.shared()) + sums_bytes(), plan.slots,
                           call.samples(), true);
    taps.make(team, call, first, plan.slots, plan.all, true);
    team.each([&](int thread) { add_classes(taps, first, thread, sums + 2 * thread); });
    team.sync();
    team.each([&](int thread) {
      for (int n = thread; n < 2 * plan.slots && first + n / 2 < plan.all; n += team.size()) {
        A sum = 0;
        for (int lane = 0; lane < plan.lanes; ++lane) {
          sum += sums[2 * (n / 2 * plan.lanes + lane) + n % 2];
        }
        write(taps, first, n / 2, n % 2, sum);
      }
    });
  }

 private:
  RFCN_DEVICE void add_classes(const SlotTaps<A>& taps, int64_t first, int thread, A* sum) const {
    const ScoreMaps& maps = call.maps();
    const int own = thread / plan.lanes;
    const int64_t each = maps.classes / call.groups();
    sum[0] = sum[1] = A(0);
    if (own >= plan.slots || first + own >= plan.all || taps.empty(own)) return;
    const DeformSlot slot(first + own, maps.k, call.groups());
    const int64_t picture = call.picture(slot.r);
    for (int64_t c = thread % plan.lanes; c < each; c += plan.lanes) {
      const int64_t klass = slot.group * each + c;
      const T* map = features + maps.offset(picture, klass, slot.i, slot.j);
      const A given = static_cast<A>(gradient[slot.r * stride.roi + klass * stride.klass +
                                              slot.i * stride.i + slot.j * stride.j]);
      sum[0] += given * taps.sum(map, maps, own, taps.taps, taps.slopes);
      sum[1] += given * taps.sum(map, maps, own, taps.slopes, taps.taps);
    }
  }

  RFCN_DEVICE void write(const SlotTaps<A>& taps, int64_t first, int own, int axis, A sum) const {
    const DeformSlot slot(first + own, call.maps().k, call.groups());
    const bool usable = call.picture(slot.r) >= 0;
    if (usable && taps.empty(own)) {
      sum = call.ask([&](const auto& one) {
        return static_cast<A>(one.without_samples(slot.r, slot.group, slot.i, slot.j));
      });
    }
    const int64_t at = 2 * (first + own) + axis;
    if (call.wide) {
      static_cast<double*>(result)[at] =
          usable ? call.twice.by_offset(static_cast<double>(sum), slot.r, axis) : 0.0;
    } else {
      static_cast<float*>(result)[at] =
          usable ? call.single.by_offset(static_cast<float>(sum), slot.r, axis) : 0.0f;
    }
  }
};

}  // namespace rfcn
