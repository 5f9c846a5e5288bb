// The kernels over bins, called as csrc/cuda/pooling.cuh and gathering.cuh launch them.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "block_gather.h"
#include "block_order.h"
#include "block_pool.h"
#include "host_team.h"

namespace rfcn {

// The maps and RoIs of one call. seed: the order of threads and blocks, or -1 for real threads.
struct Call {
  int64_t sizes[5];  // pictures, classes, k, height, width
  int64_t strides[6];
  const void* rois;
  int64_t count, wide, semantics, seed;
  double scale;

  ScoreMaps maps() const {
    const int64_t* s = strides;
    return {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], {s[0], s[1], s[2], s[3], s[4], s[5]}};
  }

  Rois rows() const { return {rois, wide != 0, count, scale, static_cast<Semantics>(semantics)}; }

  template <class Kernel>
  void run(const Kernel& kernel, int64_t tiles, int threads) const {
    if (seed < 0) {
      run_on_threads(kernel, tiles, threads);
    } else {
      run_on_host(kernel, tiles, threads, static_cast<unsigned>(seed));
    }
  }
};

template <int kWidth, class T>
void forward(const Call& call, const T* features, bool narrow, T* pooled, T* votes) {
  const ScoreMaps maps = call.maps();
  const PoolSource<T, kWidth> source{features, maps, narrow, call.rows()};
  using Pool = PoolKernel<T, kWidth>;
  using Vote = VoteKernel<T, kWidth>;
  const Pool pool{source, Pool::plan_for(call.count, maps), pooled};
  call.run(pool, pool.plan.tiles, pool.plan.threads);
  const Vote vote{source, Vote::plan_for(call.count, maps), votes};
  call.run(vote, vote.plan.tiles, vote.plan.threads);
}

// Both ops in packs if `packs` says so and the maps allow it, which is told.
template <class T>
bool forward(const Call& call, const T* features, bool packs, T* pooled, T* votes) {
  const bool narrow = PoolSource<T, 1>::spans_little(call.maps()) && call.seed % 2 == 0;
  if (!packs) {
    forward<1>(call, features, narrow, pooled, votes);
  } else if (PoolSource<T, kFullPack<T>>::fits(features, call.maps())) {
    forward<kFullPack<T>>(call, features, narrow, pooled, votes);
  } else {
    return false;
  }
  return true;
}

template <template <class> class Kernel, class T, class... More>
void backward(const Call& call, const T* gradient, const int64_t* stride, T* result, More... more) {
  const ScoreMaps maps = call.maps();
  std::vector<int64_t> memory(RoiTables::words(call.count, maps.k));
  for (int64_t n = 0; n < static_cast<int64_t>(memory.size()); ++n) {
    tabulate_element(n, call.rows(), maps, memory.data());
  }
  const RoiTables tables = tables_in(memory.data(), call.count, maps.k);
  const Kernel<T> kernel{{gradient, {stride[0], stride[1], stride[2], stride[3]}, tables, maps,
                          Kernel<T>::plan_for(maps), result}, more...};
  call.run(kernel, kernel.plan.tiles, kernel.plan.threads);
}

template <class T>
void order(const Call& call, const T* from, T* to) {
  const OrderKernel<T> kernel{from, OrderPlan(call.maps()), to};
  call.run(kernel, kernel.plan.tiles, OrderPlan::kThreads);
}

}  // namespace rfcn

// What Python calls, for each dtype.
#define RFCN_HOST_CALLS(T, NAME)                                                                  \
  extern "C" bool forward_##NAME(const rfcn::Call* call, const T* features, bool packs,           \
                                 T* pooled, T* votes) {                                           \
    return rfcn::forward(*call, features, packs, pooled, votes);                                  \
  }                                                                                               \
  extern "C" void psroi_backward_##NAME(const rfcn::Call* call, const T* gradient,                \
                                        const int64_t* stride, int64_t voters, T* result) {       \
    rfcn::backward<rfcn::PsroiGather>(*call, gradient, stride, result, voters);                   \
  }                                                                                               \
  extern "C" void average_backward_##NAME(const rfcn::Call* call, const T* gradient,              \
                                          const int64_t* stride, T* result) {                     \
    rfcn::backward<rfcn::AverageGather>(*call, gradient, stride, result);                         \
  }                                                                                               \
  extern "C" void order_##NAME(const rfcn::Call* call, const T* from, T* to) {                    \
    rfcn::order(*call, from, to);                                                                 \
  }
