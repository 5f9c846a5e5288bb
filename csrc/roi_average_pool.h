// Average pooling of RoIs: the bins of psroi_pool, all read from the same maps. Forward is
// pooled_score over maps of k x k bins that lie on the same cells; here is the arithmetic of ONE
// gradient element, to which every bin over a cell adds.
#pragma once

#include "psroi_pool.h"

namespace rfcn {

// Features [pictures, channels, height, width], whose sizes and strides these lists hold, as score
// maps that every bin reads.
template <class List>
ScoreMaps shared_maps(const List& size, const List& stride, int64_t k) {
  return {size[0], size[1], k, size[2], size[3], {stride[0], stride[1], 0, 0, stride[2], stride[3]}};
}

// The gradient of one cell of one channel, gathered over the RoIs and bins in their order, so that
// it is the same at every run: what a CUDA thread computes. `tables` holds 2k ranges a RoI
// (tabulate_cells); `gradient` points at this channel in bin (0, 0) of RoI 0.
template <class T, class S>
RFCN_HD accumulate_t<T> gradient_of_shared_cell(const T* gradient, const PooledStrides& stride,
                                                const S* rois, int64_t count, const Range* tables,
                                                int64_t k, int64_t picture, int64_t y, int64_t x) {
  accumulate_t<T> sum = 0;
  for (int64_t r = 0; r < count; ++r) {
    if (static_cast<int64_t>(rois[r * kRoiColumns]) != picture) continue;
    const Range* ranges = tables + r * 2 * k;  // a row never valid has empty ones
    for (int64_t i = 0; i < k; ++i) {
      if (y < ranges[i].begin || y >= ranges[i].end) continue;
      for (int64_t j = 0; j < k; ++j) {
        sum += share_of_cell(gradient[r * stride.roi + i * stride.i + j * stride.j], 1, ranges[i],
                             ranges[k + j], y, x);
      }
    }
  }
  return sum;
}

}  // namespace rfcn
