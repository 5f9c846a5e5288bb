// Non-maximum suppression: the arithmetic of ONE pair of boxes. Boxes are half-open (x1, y1, x2, y2).
#pragma once

#include <limits>

#include "portable.h"

namespace rfcn {

template <class S>
struct Box {
  S x1, y1, x2, y2, area;
};

template <class S>
RFCN_HD Box<S> box_of(const S* row) {
  return {row[0], row[1], row[2], row[3], (row[2] - row[0]) * (row[3] - row[1])};
}

template <class S>
RFCN_HD S smaller(S a, S b) {
  return b < a ? b : a;
}
template <class S>
RFCN_HD S larger(S a, S b) {
  return a < b ? b : a;
}

template <class S>
RFCN_HD S intersection(const Box<S>& a, const Box<S>& b) {
  const S width = larger(S(0), smaller(a.x2, b.x2) - larger(a.x1, b.x1));
  const S height = larger(S(0), smaller(a.y2, b.y2) - larger(a.y1, b.y1));
  return width * height;
}

// A bound a little below the threshold: rounding then only ever costs a look at the exact quotient.
template <class S>
S below(S threshold) {
  return threshold * (S(1) - 16 * std::numeric_limits<S>::epsilon());
}

// False only where suppresses() is. Spares most pairs the division. bound: below(threshold).
template <class S>
RFCN_HD bool may_suppress(const Box<S>& a, const Box<S>& b, S bound) {
  const S common = intersection(a, b);
  return (common > S(0)) & !(common < bound * (a.area + b.area - common));  // & makes vectors
}

// Whether the better box `a` removes box `b`: IoU > threshold. Two empty boxes give 0 / 0, which is
// above nothing.
template <class S>
RFCN_HD bool suppresses(const Box<S>& a, const Box<S>& b, S threshold) {
  const S common = intersection(a, b);
  // Written so that no multiply-add can be fused: the product inside `common` is rounded first.
#ifdef __CUDA_ARCH__
  return common / multiply_then_add(S(-1), common, a.area + b.area) > threshold;
#else
  return common / (a.area + b.area - common) > threshold;
#endif
}

}  // namespace rfcn
