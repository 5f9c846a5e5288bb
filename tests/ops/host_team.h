// Teams of threads on the host, for the kernels of csrc/block_*.h (csrc/block.h says what a team is).
#pragma once

#include <algorithm>
#include <barrier>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include "block.h"

namespace rfcn {

// Runs a lambda for one thread after the other, in an order of its own. Two orders that give
// different results betray a sync that is missing.
class HostTeam {
 public:
  HostTeam(int threads, int64_t shared_bytes, unsigned seed)
      : order_(threads), shared_(shared_bytes) {
    std::iota(order_.begin(), order_.end(), 0);
    if (seed != 0) std::shuffle(order_.begin(), order_.end(), std::mt19937(seed));
  }

  // What a block finds in shared memory: neither zeros nor what the last block left.
  void spoil() { std::memset(shared_.data(), 0xff, shared_.size()); }

  int size() const { return static_cast<int>(order_.size()); }
  void* shared() const { return shared_.data(); }
  void sync() const {}

  template <class F>
  void each(const F& f) const {
    for (const int thread : order_) f(thread);
  }

  template <int kAhead, class Fetch, class Test>
  void flag(int count, uint32_t* words, const Fetch& fetch, const Test& test) const {
    for (int first = 0; first < count; first += kWarp) {
      uint32_t word = 0;
      for (int n = first; n < std::min(count, first + kWarp); ++n) {
        if (test(n, fetch(n))) word |= 1u << (n % kWarp);
      }
      words[first / kWarp] = word;
    }
  }

  struct Warp {
    template <class F>
    uint32_t ballot(const F& f) const {
      uint32_t word = 0;
      for (int lane = 0; lane < kWarp; ++lane) word |= static_cast<uint32_t>(f(lane)) << lane;
      return word;
    }

    template <class F>
    void each(const F& f) const {
      for (int lane = 0; lane < kWarp; ++lane) f(lane);
    }
  };

  template <class F>
  void one_warp(const F& f) const {
    f(Warp{});
  }

 private:
  std::vector<int> order_;
  mutable std::vector<char> shared_;  // as long as asked for: a sanitizer sees what is beyond
};

// All tiles of a kernel, in an order that follows from the seed; 0 is the plain one.
template <class Kernel>
void run_on_host(const Kernel& kernel, int64_t tiles, int threads, unsigned seed) {
  HostTeam team(threads, kernel.shared_bytes(), seed);
  std::vector<int64_t> order(tiles);
  std::iota(order.begin(), order.end(), int64_t(0));
  if (seed != 0) std::shuffle(order.begin(), order.end(), std::mt19937(seed + 1));
  for (const int64_t tile : order) {
    team.spoil();
    kernel(team, tile);
  }
}

// One thread of the operating system for each thread of a block: slow, but a sanitizer sees every
// access that no sync orders.
class ThreadTeam {
 public:
  struct Block {
    Block(int size, int64_t shared_bytes)
        : all(size), shared(shared_bytes), votes(size) {
      for (int warp = 0; warp < size / kWarp; ++warp) {
        warps.push_back(std::make_unique<std::barrier<>>(kWarp));
      }
    }

    std::barrier<> all;
    std::vector<std::unique_ptr<std::barrier<>>> warps;
    std::vector<char> shared, votes;
  };

  ThreadTeam(Block& block, int thread) : block_(block), thread_(thread) {}

  int size() const { return static_cast<int>(block_.votes.size()); }
  void* shared() const { return block_.shared.data(); }
  void sync() const { block_.all.arrive_and_wait(); }

  template <class F>
  void each(const F& f) const {
    f(thread_);
  }

  template <int kAhead, class Fetch, class Test>
  void flag(int count, uint32_t* words, const Fetch& fetch, const Test& test) const {
    for (int n = thread_; n - lane() < count; n += size()) {
      const uint32_t word = ballot(n < count && test(n, fetch(n)));
      if (lane() == 0) words[n / kWarp] = word;
    }
  }

  struct Warp {
    const ThreadTeam& team;

    template <class F>
    uint32_t ballot(const F& f) const {
      return team.ballot(f(team.lane()));
    }

    template <class F>
    void each(const F& f) const {
      f(team.lane());
    }
  };

  template <class F>
  void one_warp(const F& f) const {
    if (thread_ < kWarp) f(Warp{*this});
  }

 private:
  int lane() const { return thread_ % kWarp; }

  uint32_t ballot(bool vote) const {
    std::barrier<>& warp = *block_.warps[thread_ / kWarp];
    block_.votes[thread_] = vote;
    warp.arrive_and_wait();
    uint32_t word = 0;
    for (int n = 0; n < kWarp; ++n) {
      word |= static_cast<uint32_t>(block_.votes[thread_ - lane() + n]) << n;
    }
    warp.arrive_and_wait();
    return word;
  }

  Block& block_;
  int thread_;
};

template <class Kernel>
void run_on_threads(const Kernel& kernel, int64_t tiles, int threads) {
  ThreadTeam::Block block(threads, kernel.shared_bytes());
  std::vector<std::thread> running;
  for (int thread = 0; thread < threads; ++thread) {
    running.emplace_back([&, thread] {
      const ThreadTeam team(block, thread);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        kernel(team, tile);
        team.sync();
      }
    });
  }
  for (std::thread& one : running) one.join();
}

}  // namespace rfcn
