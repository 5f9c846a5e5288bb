// soft_nms on the CPU: groups in parallel, and in each the best box against all that are left, in
// vectors. Boxes that are out are swept away now and then.
#include <torch/csrc/stable/library.h>

#include "../soft_nms.h"
#include "../tensors.h"

namespace rfcn {
namespace {

constexpr int64_t kLanes = 16;

// The boxes of a group in columns and in their order, filled up to whole vectors with boxes that
// are out of play.
template <class S>
struct Rivals {
  std::vector<S> x1, y1, x2, y2, area, score, overlap;
  std::vector<int64_t> index;

  Rivals(const S* boxes, const S* scores, int64_t begin, int64_t end, S least) {
    for (int64_t n = begin; n < end; ++n) {
      const S given = or_out(scores[n], least);
      if (given != out_of_play<S>()) push(box_of(boxes + 4 * n), given, n);
    }
    fill_up();
  }

  int64_t count() const { return static_cast<int64_t>(score.size()); }
  Box<S> box(int64_t n) const { return {x1[n], y1[n], x2[n], y2[n], area[n]}; }

  // Drops what is out of play; the others stay in order.
  void sweep() {
    int64_t left = 0;
    for (int64_t n = 0; n < count(); ++n) {
      if (score[n] == out_of_play<S>()) continue;
      x1[left] = x1[n], y1[left] = y1[n], x2[left] = x2[n], y2[left] = y2[n];
      area[left] = area[n], score[left] = score[n], index[left++] = index[n];
    }
    for (auto* column : {&x1, &y1, &x2, &y2, &area, &score}) column->resize(left);
    index.resize(left);
    fill_up();
  }

 private:
  void push(const Box<S>& box, S given, int64_t n) {
    x1.push_back(box.x1), y1.push_back(box.y1), x2.push_back(box.x2), y2.push_back(box.y2);
    area.push_back(box.area), score.push_back(given), index.push_back(n);
  }

  void fill_up() {
    while (count() % kLanes != 0) push({}, out_of_play<S>(), -1);
    overlap.resize(score.size());
  }
};

template <class S>
struct View {
  const S *x1, *y1, *x2, *y2, *area;
  S *score, *overlap;
  int64_t count;

  explicit View(Rivals<S>& of)
      : x1(of.x1.data()), y1(of.y1.data()), x2(of.x2.data()), y2(of.y2.data()),
        area(of.area.data()), score(of.score.data()), overlap(of.overlap.data()),
        count(of.count()) {}
};

template <class S>
inline void overlaps_with(const View<S> all, const Box<S>& box) {
  for (int64_t n = 0; n < all.count; ++n) {
    all.overlap[n] = iou(box, {all.x1[n], all.y1[n], all.x2[n], all.y2[n], all.area[n]});
  }
}

template <class S>
inline void decay_linearly(const View<S> all, S threshold, S least) {
  for (int64_t n = 0; n < all.count; ++n) {
    all.score[n] = or_out(all.score[n] * linear_decay(all.overlap[n], threshold), least);
  }
}

// The first of the highest scores.
template <class S>
inline int64_t place_of_best(const View<S> all) {
  S best[kLanes];
  std::fill_n(best, kLanes, out_of_play<S>());
  for (int64_t n = 0; n < all.count; n += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      best[lane] = larger(best[lane], all.score[n + lane]);
    }
  }
  const S highest = *std::max_element(best, best + kLanes);
  return std::find(all.score, all.score + all.count, highest) - all.score;
}

// Plain functions, which can be cloned for several vector widths; templates cannot.
RFCN_VECTORISE void overlaps(const View<float> all, const Box<float>& box) {
  overlaps_with(all, box);
}
RFCN_VECTORISE void overlaps(const View<double> all, const Box<double>& box) {
  overlaps_with(all, box);
}
RFCN_VECTORISE void decay_all(const View<float> all, float threshold, float least) {
  decay_linearly(all, threshold, least);
}
RFCN_VECTORISE void decay_all(const View<double> all, double threshold, double least) {
  decay_linearly(all, threshold, least);
}
RFCN_VECTORISE int64_t best_of(const View<float> all) { return place_of_best(all); }
RFCN_VECTORISE int64_t best_of(const View<double> all) { return place_of_best(all); }

template <class S>
void rescore_run(Rivals<S> rivals, const SoftRules<S>& rules, int64_t limit, S* rescored) {
  constexpr int64_t kTakesASweep = 32;
  for (int64_t taken = 0; taken < limit && rivals.count() > 0; ++taken) {
    const View<S> all(rivals);
    const int64_t best = best_of(all);
    if (all.score[best] == out_of_play<S>()) return;
    rescored[rivals.index[best]] = all.score[best];
    all.score[best] = out_of_play<S>();
    overlaps(all, rivals.box(best));
    if (rules.decay == Decay::linear) {
      decay_all(all, rules.threshold, rules.least);
    } else {
      for (int64_t n = 0; n < all.count; ++n) {
        if (all.overlap[n] > S(0)) all.score[n] = decayed(rules, all.score[n], all.overlap[n]);
      }
    }
    if (taken % kTakesASweep == kTakesASweep - 1) rivals.sweep();
  }
}

Tensor soft_nms(Tensor boxes, Tensor scores, std::optional<Tensor> groups, int64_t decay,
                double threshold, double sigma, double score_threshold, int64_t limit) {
  check_scored_boxes(boxes, scores, decay);
  const int64_t count = boxes.size(0), most = limit < 0 ? count : limit;
  const int64_t* group_of = group_numbers(groups, count);
  Tensor rescored = torch::stable::empty({count}, boxes.scalar_type());
  std::vector<int64_t> begins;
  for (int64_t n = 0; n < count; ++n) {
    if (starts_run(group_of, n)) begins.push_back(n);
  }
  RFCN_DISPATCH_BOXES(boxes.scalar_type(), "soft_nms", [&] {
    const scalar_t* rows = boxes.const_data_ptr<scalar_t>();
    const scalar_t* given = scores.const_data_ptr<scalar_t>();
    scalar_t* out = rescored.mutable_data_ptr<scalar_t>();
    std::fill_n(out, count, out_of_play<scalar_t>());
    const SoftRules<scalar_t> rules{
        static_cast<Decay>(decay), static_cast<scalar_t>(threshold),
        static_cast<scalar_t>(sigma), static_cast<scalar_t>(score_threshold)};
    const int64_t runs = static_cast<int64_t>(begins.size());
    torch::stable::parallel_for(0, runs, 1, [&](int64_t first, int64_t last) {
      for (int64_t run = first; run < last; ++run) {
        const int64_t begin = begins[run], end = end_of_run(group_of, begin, count);
        rescore_run(Rivals<scalar_t>(rows, given, begin, end, rules.least), rules, most, out);
      }
    });
  });
  return rescored;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) { m.impl("soft_nms", TORCH_BOX(&rfcn::soft_nms)); }
