// nms on the CPU: each box, best first, is held against the boxes kept so far, so it ends as soon
// as enough are kept. The kept boxes lie in columns, and a cheap bound on a block of them decides
// whether the exact quotient is needed at all.
#include <torch/csrc/stable/library.h>

#include <limits>
#include <unordered_map>

#include "../nms.h"
#include "../tensors.h"

namespace rfcn {
namespace {

constexpr int64_t kBlock = 64;

// Columns of kept boxes, filled up to whole blocks with boxes that meet nothing.
template <class S>
struct KeptBoxes {
  std::vector<S> x1, y1, x2, y2, area;
  int64_t count = 0;

  void add(const Box<S>& box) {
    if (count % kBlock == 0) {
      const S far = std::numeric_limits<S>::max();
      for (auto* column : {&x1, &y1}) column->resize(count + kBlock, far);
      for (auto* column : {&x2, &y2}) column->resize(count + kBlock, -far);
      area.resize(count + kBlock, S(0));
    }
    x1[count] = box.x1, y1[count] = box.y1, x2[count] = box.x2, y2[count] = box.y2;
    area[count++] = box.area;
  }

  Box<S> box(int64_t n) const { return {x1[n], y1[n], x2[n], y2[n], area[n]}; }
};

template <class S>
struct Columns {
  const S *x1, *y1, *x2, *y2, *area;
};

template <class S>
inline bool may_suppress_block(const Columns<S> kept, const Box<S>& box, S bound) {
  int found = 0;
  for (int64_t n = 0; n < kBlock; ++n) {
    const Box<S> other{kept.x1[n], kept.y1[n], kept.x2[n], kept.y2[n], kept.area[n]};
    found |= may_suppress(other, box, bound);
  }
  return found != 0;
}

// The first block from `block` on that may hold a suppressor, or `blocks`.
template <class S>
inline int64_t next_block(const Columns<S> kept, int64_t block, int64_t blocks, const Box<S>& box,
                          S bound) {
  for (; block < blocks; ++block) {
    const int64_t at = block * kBlock;
    const Columns<S> here{kept.x1 + at, kept.y1 + at, kept.x2 + at, kept.y2 + at, kept.area + at};
    if (may_suppress_block(here, box, bound)) break;
  }
  return block;
}

RFCN_VECTORISE int64_t suspicious_block(const Columns<float> kept, int64_t block, int64_t blocks,
                                        const Box<float>& box, float bound) {
  return next_block(kept, block, blocks, box, bound);
}

RFCN_VECTORISE int64_t suspicious_block(const Columns<double> kept, int64_t block, int64_t blocks,
                                        const Box<double>& box, double bound) {
  return next_block(kept, block, blocks, box, bound);
}

template <class S>
bool is_suppressed(const KeptBoxes<S>& kept, const Box<S>& box, S threshold) {
  const Columns<S> columns{kept.x1.data(), kept.y1.data(), kept.x2.data(), kept.y2.data(),
                           kept.area.data()};
  const int64_t blocks = (kept.count + kBlock - 1) / kBlock;
  const S bound = below(threshold);
  for (int64_t block = 0;; ++block) {
    block = suspicious_block(columns, block, blocks, box, bound);
    if (block >= blocks) return false;
    const int64_t end = std::min(kept.count, (block + 1) * kBlock);
    for (int64_t n = block * kBlock; n < end; ++n) {
      if (suppresses(kept.box(n), box, threshold)) return true;
    }
  }
}

template <class S>
void keep_best(const S* rows, const int64_t* groups, int64_t count, S threshold, int64_t limit,
               bool* keep) {
  std::unordered_map<int64_t, KeptBoxes<S>> kept;
  std::fill_n(keep, count, false);
  for (int64_t n = 0, total = 0; n < count && total < limit; ++n) {
    const Box<S> box = box_of(rows + 4 * n);
    KeptBoxes<S>& rivals = kept[groups == nullptr ? 0 : groups[n]];
    if (is_suppressed(rivals, box, threshold)) continue;
    rivals.add(box);
    keep[n] = true;
    ++total;
  }
}

Tensor nms(Tensor boxes, std::optional<Tensor> groups, double threshold, int64_t limit) {
  check_rows(boxes, 4, "boxes");
  const int64_t count = boxes.size(0);
  const int64_t* group_of = group_numbers(groups, count);
  Tensor keep = torch::stable::empty({count}, torch::headeronly::ScalarType::Bool);
  RFCN_DISPATCH_BOXES(boxes.scalar_type(), "nms", [&] {
    keep_best(boxes.const_data_ptr<scalar_t>(), group_of, count, static_cast<scalar_t>(threshold),
              limit < 0 ? count : limit, keep.mutable_data_ptr<bool>());
  });
  return keep;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) { m.impl("nms", TORCH_BOX(&rfcn::nms)); }
