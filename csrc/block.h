// What one block of CUDA threads does is written in the files block_*.h without a word of CUDA, so
// that a host test runs the very code of the kernels (tests/ops/host_team.h).
//
// A kernel is a struct called as kernel(team, tile). Tiles are independent of each other. A team is
// the threads that share one tile:
//   team.size()                            how many, a multiple of 32
//   team.shared()                          memory that they share, aligned for any type
//   team.each(f)                           every thread runs f(thread)
//   team.sync()                            what was written before is seen after, by all
//   team.flag<A>(count, words, fetch, test)   bit n of words = test(n, fetch(n)), 0 <= n < count; a
//                                          thread has A fetches on their way. Then sync.
//   team.one_warp(f)                       the first 32 threads run f(warp) in step;
//                                          bit l of warp.ballot(g) = g(l), for the 32 lanes;
//                                          every lane runs warp.each(g)
// On CUDA every thread runs all of the code, and a lambda for itself alone; on the host the code
// runs once, and a lambda for one thread after the other. So what stands outside the lambdas
// branches alike in all threads, and what outlives a lambda lies in shared memory.
#pragma once

#include <cstddef>

#include "portable.h"

namespace rfcn {

constexpr int kWarp = 32;
constexpr int kMostThreads = 256;           // of a team, unless its kernel says otherwise
constexpr int64_t kMostShared = 48 * 1024;  // bytes that every GPU gives without being asked twice

RFCN_HD int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

inline int whole_warps(int64_t threads) {
  return static_cast<int>(divide_up(threads, kWarp)) * kWarp;
}

// The lowest bit of a word that is not 0.
RFCN_HD int lowest_bit(uint32_t word) {
#ifdef __CUDA_ARCH__
  return __ffs(static_cast<int>(word)) - 1;
#else
  return __builtin_ctz(word);
#endif
}

RFCN_HD int highest_bit(uint64_t word) {
#ifdef __CUDA_ARCH__
  return 63 - __clzll(static_cast<long long>(word));
#else
  return 63 - __builtin_clzll(word);
#endif
}

RFCN_HD int count_bits(uint64_t word) {
#ifdef __CUDA_ARCH__
  return __popcll(word);
#else
  return __builtin_popcountll(word);
#endif
}

// Walks over the set bits of flags, in order.
class FlagWalk {
 public:
  RFCN_HD FlagWalk(const uint32_t* words, int flags) : words_(words), count_(words_of(flags)) {}

  // The next flag that is set; -1 at the end, also when asked again.
  RFCN_HD int next() {
    while (rest_ == 0) {
      if (at_ + 1 >= count_) return -1;
      rest_ = words_[++at_];
    }
    const int bit = lowest_bit(rest_);
    rest_ &= rest_ - 1;
    return at_ * 32 + bit;
  }

  RFCN_HD static constexpr int words_of(int flags) { return (flags + 31) / 32; }

 private:
  const uint32_t* words_;
  int count_, at_ = -1;
  uint32_t rest_ = 0;
};

// Elements that one instruction loads or stores.
template <class T, int kWidth>
struct alignas(kWidth * sizeof(T)) Pack {
  T lane[kWidth];
};

// As many elements as 16 bytes hold, the widest load there is.
template <class T>
constexpr int kFullPack = 16 / static_cast<int>(sizeof(T));

}  // namespace rfcn
