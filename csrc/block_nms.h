// nms in two kernels: NmsPairs looks at every pair of boxes and packs the answers into words of 64
// bits, NmsWalk goes through the words, best boxes first, and crosses out what a kept box suppresses.
#pragma once

#include "block.h"
#include "nms.h"

namespace rfcn {

constexpr int kWordBoxes = 64;

// bits[word * count + b], for every box b from that word on: which of the 64 boxes of `word`, all
// better than b, suppress it. Words beyond the diagonal are never written nor read.
template <class S>
struct NmsPairs {
  struct alignas(16) Corners {
    S x1, y1, x2, y2;
  };

  const S* boxes;
  const int64_t* groups;  // or null: all one group
  int64_t count, words;
  S threshold, bound;  // see may_suppress
  uint64_t* bits;

  // Row y of the triangle of words has words - y tiles. Rows y and words - 1 - y make one full row.
  int64_t tiles() const { return divide_up(words, 2) * (words + 1); }
  int64_t shared_bytes() const {
    return kWordBoxes * static_cast<int64_t>(sizeof(Corners) + sizeof(S) + sizeof(int64_t));
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t tile) const {
    const int64_t y = tile / (words + 1), x = tile % (words + 1);
    const bool upper = x < words - y;
    const int64_t row = upper ? y : words - 1 - y;
    const int64_t column = upper ? y + x : row + (x - (words - y));
    if (!upper && row == y) return;  // the middle row of an odd number has no partner
    Corners* corners = static_cast<Corners*>(team.shared());
    int64_t* group = reinterpret_cast<int64_t*>(corners + kWordBoxes);
    S* area = reinterpret_cast<S*>(group + kWordBoxes);
    team.each([&](int thread) {
      const int64_t n = row * kWordBoxes + thread;
      if (thread >= kWordBoxes || n >= count) return;
      const Box<S> box = box_of(boxes + 4 * n);
      corners[thread] = {box.x1, box.y1, box.x2, box.y2};
      area[thread] = box.area;
      group[thread] = groups == nullptr ? 0 : groups[n];
    });
    team.sync();
    team.each([&](int thread) {
      const int64_t n = column * kWordBoxes + thread;
      if (thread >= kWordBoxes || n >= count) return;
      const Box<S> box = box_of(boxes + 4 * n);
      const int64_t own = groups == nullptr ? 0 : groups[n];
      const int better = row == column ? thread : kWordBoxes;  // a later row's word is full
      uint64_t found = 0;
      for (int b = 0; b < better; ++b) {
        const Corners c = corners[b];
        const Box<S> other{c.x1, c.y1, c.x2, c.y2, area[b]};
        if (!may_suppress(other, box, bound) || group[b] != own) continue;
        if (suppresses(other, box, threshold)) found |= uint64_t(1) << b;
      }
      bits[row * count + n] = found;
    });
  }
};

// One block. alive: 32 boxes a word, in shared memory or, for very many boxes, elsewhere.
struct NmsWalk {
  static constexpr int kThreads = 1024;
  static constexpr int64_t kAliveBytes = 40 * 1024;  // of shared memory

  const uint64_t* bits;
  int64_t count, words, limit;
  uint32_t* elsewhere;  // two words for each 64 boxes, or null: shared memory
  bool* keep;

  static int64_t alive_words(int64_t words) { return 2 * words; }
  static bool needs_elsewhere(int64_t words) { return alive_words(words) * 4 > kAliveBytes; }

  struct State {
    uint64_t kept;     // which of the 64 boxes of the last word
    int64_t total[2];  // how many before word w, at w % 2: nobody waits to overwrite it
    uint64_t own[kWordBoxes];  // of the next word: which of its boxes suppress each other
  };

  int64_t shared_bytes() const {
    return sizeof(State) + (elsewhere != nullptr ? 0 : alive_words(words) * 4);
  }

  template <class Team>
  RFCN_DEVICE void operator()(const Team& team, int64_t) const {
    State& state = *static_cast<State*>(team.shared());
    uint32_t* alive = elsewhere != nullptr ? elsewhere : reinterpret_cast<uint32_t*>(&state + 1);
    team.each([&](int thread) {
      for (int64_t n = thread; n < 2 * words; n += team.size()) {
        const int64_t left = count - n * kWarp;
        alive[n] = left >= kWarp ? ~0u : left > 0 ? (1u << left) - 1 : 0u;
      }
      if (thread == 0) state.total[0] = 0;
      load_own(0, thread, state);
    });
    team.sync();
    int64_t word = 0;
    for (bool more = true; more && word < words; ++word) {
      team.one_warp([&](const auto& warp) { decide(warp, word, alive, state); });
      team.sync();
      const uint64_t kept = state.kept;
      more = state.total[(word + 1) % 2] < limit;
      const int64_t next = (word + 1) * kWordBoxes;
      if (!more || next >= count) continue;
      if (kept != 0) {
        const uint64_t* column = bits + word * count + next;
        team.template flag<8>(
            static_cast<int>(count - next), alive + next / kWarp,
            [&](int n) {
              const bool lives = alive[(next + n) / kWarp] >> (n % kWarp) & 1;
              return lives ? column[n] : ~uint64_t(0);  // once dead, always dead
            },
            [&](int, uint64_t found) { return (found & kept) == 0; });
      }
      team.each([&](int thread) { load_own(word + 1, thread, state); });
      team.sync();
    }
    team.each([&](int thread) {  // the limit was reached: what follows is dropped
      for (int64_t n = word * kWordBoxes + thread; n < count; n += team.size()) keep[n] = false;
    });
  }

 private:
  RFCN_DEVICE void load_own(int64_t word, int thread, State& state) const {
    const int64_t n = word * kWordBoxes + thread;
    if (thread < kWordBoxes) state.own[thread] = n < count ? bits[word * count + n] : 0;
  }

  // The boxes of one word among themselves: a box stays if it is alive and no box that stays
  // suppresses it. Only better boxes count, so the first answer is right from the first round on,
  // the second from the second, and once a round changes nothing all are.
  template <class Warp>
  RFCN_DEVICE void decide(const Warp& warp, int64_t word, const uint32_t* alive,
                          State& state) const {
    const uint64_t living = static_cast<uint64_t>(alive[2 * word + 1]) << 32 | alive[2 * word];
    uint64_t stays = living, before;
    do {
      before = stays;
      const uint32_t low = warp.ballot([&](int lane) {
        return (living >> lane & 1) != 0 && (state.own[lane] & before) == 0;
      });
      const uint32_t high = warp.ballot([&](int lane) {
        return (living >> (lane + kWarp) & 1) != 0 && (state.own[lane + kWarp] & before) == 0;
      });
      stays = static_cast<uint64_t>(high) << 32 | low;
    } while (stays != before);
    const int64_t room = limit - state.total[word % 2];
    for (int excess = count_bits(stays) - static_cast<int>(room < 64 ? room : 64); excess > 0;
         --excess) {
      stays &= ~(uint64_t(1) << highest_bit(stays));
    }
    warp.each([&](int lane) {
      for (int half = 0; half < 2; ++half) {
        const int64_t n = word * kWordBoxes + half * kWarp + lane;
        if (n < count) keep[n] = stays >> (half * kWarp + lane) & 1;
      }
      if (lane != 0) return;
      state.kept = stays;
      state.total[(word + 1) % 2] = state.total[word % 2] + count_bits(stays);
    });
  }
};

}  // namespace rfcn
