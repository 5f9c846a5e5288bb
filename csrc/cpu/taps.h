// Tables of weights: for each RoI and axis the cells of each bin, and the other way round the bins of
// each cell. They are the two factors of every weight, computed once for all channels.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <vector>

#include "../align.h"

namespace rfcn {

template <class A>
class Taps {
 public:
  // The bins of one axis of every RoI as lines of cells; `groups` parts of as many bins each.
  template <class S>
  Taps(const S* rois, int64_t count, Axis axis, const Sampling<S>& sampling, int64_t bins,
       int64_t groups, int64_t limit)
      : groups_(groups), parts_(count * groups) {
    std::vector<int64_t> base(count + 1);
    for (int64_t r = 0; r < count; ++r) {
      const auto side = samples_of(rois + r * kRoiColumns, axis, sampling, bins);
      base[r + 1] = base[r] + bins * std::min(limit, 2 * side.count);
    }
    taps_.resize(base[count]);
    lines_.resize(count * bins);
    torch::stable::parallel_for(0, count, 64, [&](int64_t first, int64_t last) {
      for (int64_t r = first; r < last; ++r) {
        const auto side = samples_of(rois + r * kRoiColumns, axis, sampling, bins);
        int64_t at = base[r];
        for (int64_t p = 0; p < bins; ++p) {
          const int64_t taps = taps_of_bin(side, p, limit, taps_.data() + at);
          lines_[r * bins + p] = {static_cast<int32_t>(p % (bins / groups)),
                                  static_cast<int32_t>(taps), at};
          at += taps;
        }
        for (int64_t g = 0; g < groups; ++g) {
          parts_[r * groups + g] = {r * bins + g * (bins / groups), bins / groups};
        }
      }
    });
  }

  Lines<A> of(int64_t r, int64_t group) const {
    const Part& part = parts_[r * groups_ + group];
    return {lines_.data() + part.line, part.count, taps_.data()};
  }

  // Lines of bins, one for each cell that a RoI reads, in the order of the cells.
  Taps transposed() const {
    Taps other(groups_, parts_.size(), taps_.size());
    torch::stable::parallel_for(0, static_cast<int64_t>(parts_.size()), 64,
                                [&](int64_t first, int64_t last) {
                                  for (int64_t n = first; n < last; ++n) other.turn(*this, n);
                                });
    return other;
  }

 private:
  struct Part {
    int64_t line, count;
  };

  Taps(int64_t groups, size_t parts, size_t taps)
      : groups_(groups), parts_(parts), lines_(taps), taps_(taps) {}

  // Each bin's cells ascend, so a cursor for each bin suffices.
  void turn(const Taps& from, int64_t n) {
    const Part& part = from.parts_[n];
    const Line* bins = from.lines_.data() + part.line;
    std::vector<int32_t> cursor(part.count, 0);
    int64_t at = part.count > 0 ? bins[0].first : 0;
    parts_[n] = {at, 0};
    for (;;) {
      int32_t next = INT32_MAX;
      for (int64_t b = 0; b < part.count; ++b) {
        if (cursor[b] < bins[b].taps) {
          next = std::min(next, from.taps_[bins[b].first + cursor[b]].cell);
        }
      }
      if (next == INT32_MAX) return;
      Line& line = lines_[parts_[n].line + parts_[n].count++];
      line = {next, 0, at};
      for (int64_t b = 0; b < part.count; ++b) {
        if (cursor[b] == bins[b].taps) continue;
        const Tap<A>& tap = from.taps_[bins[b].first + cursor[b]];
        if (tap.cell != next) continue;
        taps_[at++] = {bins[b].place, tap.weight};
        ++line.taps;
        ++cursor[b];
      }
    }
  }

  int64_t groups_;
  std::vector<Part> parts_;
  std::vector<Line> lines_;
  std::vector<Tap<A>> taps_;
};

}  // namespace rfcn
