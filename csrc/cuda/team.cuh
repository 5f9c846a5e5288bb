// A block of CUDA threads as a team, and the launch of a kernel written against one (block.h).
#pragma once

#include "../block.h"
#include "launch.cuh"

namespace rfcn {

class BlockTeam {
 public:
  __device__ int size() const { return static_cast<int>(blockDim.x); }

  __device__ void* shared() const {
    extern __shared__ __align__(16) unsigned char memory[];
    return memory;
  }

  __device__ void sync() const { __syncthreads(); }

  template <class F>
  __device__ void each(const F& f) const {
    f(static_cast<int>(threadIdx.x));
  }

  template <int kAhead, class Fetch, class Test>
  __device__ void flag(int count, uint32_t* words, const Fetch& fetch, const Test& test) const {
    for (int first = static_cast<int>(threadIdx.x); first - lane() < count;
         first += kAhead * size()) {
      decltype(fetch(0)) fetched[kAhead];
      RFCN_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        if (first + a * size() < count) fetched[a] = fetch(first + a * size());
      }
      RFCN_UNROLL
      for (int a = 0; a < kAhead; ++a) {
        const int n = first + a * size();
        const uint32_t word = __ballot_sync(~0u, n < count && test(n, fetched[a]));
        if (lane() == 0 && n < count) words[n / kWarp] = word;
      }
    }
  }

  struct Warp {
    template <class F>
    __device__ uint32_t ballot(const F& f) const {
      return __ballot_sync(~0u, f(lane()));
    }

    template <class F>
    __device__ void each(const F& f) const {
      f(lane());
    }
  };

  template <class F>
  __device__ void one_warp(const F& f) const {
    if (threadIdx.x < kWarp) f(Warp{});
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarp; }
};

// Registers for 1,024 threads on one processor, at least.
template <int kThreads, class Kernel>
__global__ void __launch_bounds__(kThreads, 1024 / kThreads)
    run_tiles(int64_t tiles, const Kernel kernel) {
  const BlockTeam team;
  for (int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    kernel(team, tile);
    team.sync();  // the next tile writes the same shared memory
  }
}

// kernel(team, tile) for 0 <= tile < tiles, on the stream of `like`. The caller holds the device
// guard.
template <int kThreads = kMostThreads, class Kernel>
void launch_tiles(const Kernel& kernel, int64_t tiles, int threads, const Tensor& like) {
  if (tiles == 0) return;
  const int64_t blocks = std::min<int64_t>(tiles, INT32_MAX), bytes = kernel.shared_bytes();
  require(bytes <= kMostShared, "k is too large for CUDA: a block would need ", bytes,
          " bytes of shared memory, and has ", kMostShared);
  run_tiles<kThreads><<<static_cast<unsigned>(blocks), threads, static_cast<size_t>(bytes),
                        current_stream(like)>>>(tiles, kernel);
  check_launch();
}

}  // namespace rfcn
