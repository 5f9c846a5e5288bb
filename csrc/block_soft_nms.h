// soft_nms in one kernel: a block for every group. It takes the best box and lowers the scores of
// the others, until none is left.
#pragma once

#include "block.h"
#include "soft_nms.h"

namespace rfcn {

// Tile n is the group that starts at box n, if one does.
template <class S>
struct SoftNmsRuns {
  static constexpr int kThreads = 256;  // a power of two

  const S* boxes;
  const int64_t* groups;  // sorted, or null: all one group
  int64_t count, limit;
  SoftRules<S> rules;
  S* scores;    // falls on the way; at the end all are out of play
  S* rescored;  // the score with which a box was taken, or out of play

  struct Best {
    S score;
    int64_t box;
  };

  int64_t tiles() const { return count; }
  int64_t shared_bytes() const { return kThreads * static_cast<int64_t>(sizeof(Best)); }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t tile) const {
    if (!starts_run(groups, tile)) return;
    const int64_t end = end_of_run(groups, tile, count);
    Best* best = static_cast<Best*>(team.shared());
    team.each([&](int thread) {
      Best own{out_of_play<S>(), count};
      for (int64_t n = tile + thread; n < end; n += team.size()) {
        rescored[n] = out_of_play<S>();
        scores[n] = or_out(scores[n], rules.least);
        own = better(own, {scores[n], n});
      }
      best[thread] = own;
    });
    for (int64_t taken = 0; taken < limit; ++taken) {
      team.sync();
      for (int half = team.size() / 2; half > 0; half /= 2) {
        team.each([&](int thread) {
          if (thread < half) best[thread] = better(best[thread], best[thread + half]);
        });
        team.sync();
      }
      const Best winner = best[0];
      if (winner.score == out_of_play<S>()) return;
      team.sync();  // all have read it
      const Box<S> box = box_of(boxes + 4 * winner.box);
      team.each([&](int thread) {
        Best own{out_of_play<S>(), count};
        for (int64_t n = tile + thread; n < end; n += team.size()) {
          if (scores[n] == out_of_play<S>()) continue;
          if (n == winner.box) {
            rescored[n] = winner.score;
            scores[n] = out_of_play<S>();
            continue;
          }
          scores[n] = decayed(rules, scores[n], iou(box, box_of(boxes + 4 * n)));
          own = better(own, {scores[n], n});
        }
        best[thread] = own;
      });
    }
  }

 private:
  // The higher score; of equal ones the lower box.
  RFCN_DEVICE static Best better(Best a, Best b) {
    return b.score > a.score || (b.score == a.score && b.box < a.box) ? b : a;
  }
};

}  // namespace rfcn
