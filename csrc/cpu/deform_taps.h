// What the directions of deform_psroi_pool share on the CPU: their arguments, and the taps of one
// bin after another.
#pragma once

#include <vector>

#include "../deform_psroi_pool.h"
#include "../deform_tensors.h"
#include "tap_loops.h"

namespace rfcn {

// The taps of one bin. Without samples both lists are empty, and `nothing` is the bin's value.
template <class A>
struct BinTaps {
  TapList<A> rows, columns, row_slopes, column_slopes;
  A nothing;

  bool empty() const { return rows.count == 0 || columns.count == 0; }
};

// Makes the taps of one bin after another: one a thread. Without offsets a row or a column of bins
// shares its taps, and keeps them while the RoI is the same.
template <class A, class S>
class TapMaker {
 public:
  TapMaker(const DeformCall<S>& call, bool with_slopes)
      : call_(call), room_(2 * call.deforming.samples), lines_(2 * call.maps.k),
        taps_(lines_.size() * room_), slopes_(with_slopes ? lines_.size() * room_ : 0) {}

  BinTaps<A> make(int64_t r, int64_t group, int64_t i, int64_t j) {
    const int64_t row = line(r, group, 1, i, j), column = line(r, group, 0, i, j);
    return {list(taps_, row), list(taps_, column), list(slopes_, row), list(slopes_, column),
            static_cast<A>(call_.without_samples(r, group, i, j))};
  }

 private:
  struct Line {
    int64_t roi = -1, count = 0;
  };

  // Where the taps of the row (axis 1) or column (axis 0) of a bin are kept, once they are made.
  int64_t line(int64_t r, int64_t group, int64_t axis, int64_t i, int64_t j) {
    const int64_t at = axis * call_.maps.k + (axis == 0 ? j : i);
    if (lines_[at].roi == r && call_.offsets.data == nullptr) return at;
    lines_[at].roi = r;
    lines_[at].count = taps_of_samples(call_.samples(r, group, axis, i, j), call_.cells(axis),
                                       taps_.data() + at * room_,
                                       slopes_.empty() ? nullptr : slopes_.data() + at * room_);
    return at;
  }

  TapList<A> list(const std::vector<Tap<A>>& from, int64_t line) const {
    if (from.empty()) return {nullptr, 0};
    return {from.data() + line * room_, lines_[line].count};
  }

  const DeformCall<S>& call_;
  int64_t room_;
  std::vector<Line> lines_;
  std::vector<Tap<A>> taps_, slopes_;
};

// Calls body(group, first, count) for the classes of each group, [first, first + count) of all.
template <class Body>
void for_each_group(int64_t first, int64_t count, int64_t classes_each, const Body& body) {
  for (int64_t c = first; c < first + count;) {
    const int64_t group = c / classes_each;
    const int64_t stop = std::min(first + count, (group + 1) * classes_each);
    body(group, c, stop - c);
    c = stop;
  }
}

}  // namespace rfcn
