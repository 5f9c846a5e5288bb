// What the backward operators over bins share on CUDA: the kernels of block_gather.h.
#pragma once

#include "../block_gather.h"
#include "pooling.cuh"

namespace rfcn {

// Gradients whose classes lie apart are brought in order first: each is read once for every row of
// cells that its bin touches.
inline ScoreMaps as_maps(const PooledStrides& stride, int64_t rois, int64_t classes, int64_t k) {
  return {rois, classes, k, 1, 1, {stride.roi, stride.klass, stride.i, stride.j, 1, 1}};
}

// Kernel: PsroiGather or AverageGather; `more` are its own members.
template <template <class> class Kernel, class T, class... More>
void gather(const Tensor& gradient, PooledStrides stride, const RoiTables& tables,
            const ScoreMaps& maps, Tensor& result, More... more) {
  const T* data = gradient.const_data_ptr<T>();
  std::optional<Tensor> copy;
  if (stride.klass > 1) {
    const ScoreMaps pooled = as_maps(stride, tables.count, maps.classes, tables.k);
    copy = copy_in_order(data, pooled, gradient);
    data = copy->template const_data_ptr<T>();
    const ScoreMaps::Strides lies = in_order(pooled).stride;
    stride = {lies.picture, lies.klass, lies.i, lies.j};
  }
  const Kernel<T> kernel{{data, stride, tables, maps, Kernel<T>::plan_for(maps),
                          result.mutable_data_ptr<T>()}, more...};
  launch_tiles(kernel, kernel.plan.tiles, kernel.plan.threads, gradient);
}

}  // namespace rfcn
