// Soft-NMS (Bodla et al., arXiv 1704.04503, section 3): a box does not remove its neighbours but
// lowers their scores. The arithmetic of ONE pair, and of the groups that do not meet.
#pragma once

#include <cmath>

#include "nms.h"

namespace rfcn {

// How a score falls with the IoU u of a better box; the schema carries the number.
//   linear: s * (1 - u) where u is above the threshold.   gaussian: s * exp(-u * u / sigma).
enum class Decay : int32_t { linear = 0, gaussian = 1 };

template <class S>
struct SoftRules {
  Decay decay;
  S threshold, sigma;
  S least;  // a box whose score falls below is dropped
};

// In 0..1; 0 for boxes without area and for numbers that are not finite.
template <class S>
RFCN_HD S iou(const Box<S>& a, const Box<S>& b) {
  const S common = intersection(a, b);
  const S ratio = common / multiply_then_add(S(-1), common, a.area + b.area);
  return ratio > S(0) ? smaller(ratio, S(1)) : S(0);
}

template <class S>
RFCN_HD S linear_decay(S u, S threshold) {
  return u > threshold ? S(1) - u : S(1);
}

template <class S>
RFCN_HD S gaussian_decay(S u, S sigma) {
  return u > S(0) ? std::exp(-(u * u) / sigma) : S(1);
}

// The score of a box that is out: lower than any that is in.
template <class S>
RFCN_HD S out_of_play() {
#ifdef __CUDA_ARCH__
  return static_cast<S>(-INFINITY);
#else
  return -std::numeric_limits<S>::infinity();
#endif
}

// A score, or out_of_play if it is too low or NaN.
template <class S>
RFCN_HD S or_out(S score, S least) {
  return score >= least ? score : out_of_play<S>();
}

template <class S>
RFCN_HD S decayed(const SoftRules<S>& rules, S score, S u) {
  const S weight = rules.decay == Decay::linear ? linear_decay(u, rules.threshold)
                                                : gaussian_decay(u, rules.sigma);
  return or_out(score * weight, rules.least);
}

// Groups are sorted, so that a group is a run. Whether one starts at n, and the end of the one that
// does; without groups all boxes are one run.
RFCN_HD bool starts_run(const int64_t* groups, int64_t n) {
  return n == 0 || (groups != nullptr && groups[n] != groups[n - 1]);
}

RFCN_HD int64_t end_of_run(const int64_t* groups, int64_t begin, int64_t count) {
  if (groups == nullptr) return count;
  int64_t inside = begin, outside = count;
  while (outside - inside > 1) {
    const int64_t middle = inside + (outside - inside) / 2;
    (groups[middle] == groups[begin] ? inside : outside) = middle;
  }
  return outside;
}

}  // namespace rfcn
