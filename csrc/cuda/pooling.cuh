// What the operators over bins share on CUDA: RoIs and tables from tensors, and the launches of the
// kernels in block_pool.h and block_order.h.
#pragma once

#include "../block_order.h"
#include "../block_pool.h"
#include "team.cuh"

namespace rfcn {

inline Rois rois_of(const Tensor& rois, double spatial_scale, int64_t semantics) {
  using torch::headeronly::ScalarType;
  check_rows(rois, kRoiColumns, "rois");
  const bool wide = rois.scalar_type() == ScalarType::Double;
  require(wide || rois.scalar_type() == ScalarType::Float, "rois must be float32 or float64");
  const auto cut = cutting<double>(semantics, spatial_scale, 1);
  return {rois.data_ptr(), wide, rois.size(0), spatial_scale, cut.semantics};
}

inline Tensor scratch(int64_t numel, torch::headeronly::ScalarType dtype, const Tensor& like) {
  return torch::stable::empty({numel}, dtype, std::nullopt, like.device());
}

struct TabulateElement {
  Rois rois;
  ScoreMaps maps;
  int64_t* memory;

  __device__ void operator()(int64_t n) const { tabulate_element(n, rois, maps, memory); }
};

// Where the tables of all RoIs find room.
inline Tensor table_memory(const Rois& rois, const ScoreMaps& maps, const Tensor& like) {
  return scratch(RoiTables::words(rois.count, maps.k), torch::headeronly::ScalarType::Long, like);
}

// The tables of all RoIs, made anew in `memory`, for as long as it lives.
inline RoiTables tabulate(const Rois& rois, const ScoreMaps& maps, const Tensor& memory) {
  int64_t* data = memory.mutable_data_ptr<int64_t>();
  for_each(memory.numel(), memory, TabulateElement{rois, maps, data});
  return tables_in(data, rois.count, maps.k);
}

// A copy of the maps, or of pooled gradients as maps, that lies as in_order() says.
template <class T>
Tensor copy_in_order(const T* from, const ScoreMaps& maps, const Tensor& like) {
  const OrderPlan plan(maps);
  const ScoreMaps own = with_own_bins(maps);
  const int64_t numel =
      own.pictures * own.classes * own.k * own.k * own.height * own.width;
  Tensor copy = scratch(numel, like.scalar_type(), like);
  const OrderKernel<T> kernel{from, plan, copy.mutable_data_ptr<T>()};
  launch_tiles(kernel, plan.tiles, OrderPlan::kThreads, like);
  return copy;
}

template <template <class, int> class Kernel, int kWidth, class T>
void pool_packs(const T* features, const ScoreMaps& maps, const Rois& rois, T* pooled,
                const Tensor& like) {
  using Source = PoolSource<T, kWidth>;
  const Source source{features, maps, Source::spans_little(maps), rois};
  const Kernel<T, kWidth> kernel{source, Kernel<T, kWidth>::plan_for(rois.count, maps), pooled};
  launch_tiles(kernel, kernel.plan.tiles, kernel.plan.threads, like);
}

// Kernel: PoolKernel or VoteKernel.
template <template <class, int> class Kernel, class T>
void pool(const Tensor& features, ScoreMaps maps, const Rois& rois, Tensor& pooled) {
  const T* data = features.const_data_ptr<T>();
  std::optional<Tensor> copy;
  if (worth_ordering(maps, rois.count)) {
    copy = copy_in_order(data, maps, features);
    data = copy->template const_data_ptr<T>();
    maps = in_order(maps);
  }
  T* out = pooled.mutable_data_ptr<T>();
  if (PoolSource<T, kFullPack<T>>::fits(data, maps)) {
    pool_packs<Kernel, kFullPack<T>>(data, maps, rois, out, features);
  } else {
    pool_packs<Kernel, 1>(data, maps, rois, out, features);
  }
}

}  // namespace rfcn
