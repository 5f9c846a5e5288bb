// What both directions of psroi_pool prepare on the CPU before the parallel part.
#pragma once

#include <memory>
#include <vector>

#include "../tensors.h"
#include "tiles.h"

namespace rfcn {

// 2k ranges a RoI (tabulate_cells). Refuses a RoI that no kernel can use, by its row.
template <class S>
std::vector<Range> tabulate(const S* rois, int64_t count, const ScoreMaps& maps, double scale) {
  check_rois(rois, count, maps.pictures);
  std::vector<Range> tables(count * 2 * maps.k);
  for (int64_t r = 0; r < count; ++r) {
    tabulate_cells(rois + r * kRoiColumns, true, static_cast<S>(scale), maps.k, maps.height,
                   maps.width, tables.data() + r * 2 * maps.k);
  }
  return tables;
}

// The RoIs of each picture, in their order.
template <class S>
std::vector<std::vector<int64_t>> rois_by_picture(const S* rois, int64_t count, int64_t pictures) {
  std::vector<std::vector<int64_t>> lists(pictures);
  for (int64_t r = 0; r < count; ++r) {
    lists[static_cast<int64_t>(rois[r * kRoiColumns])].push_back(r);
  }
  return lists;
}

// Memory that is not zeroed first.
template <class T>
std::unique_ptr<T[]> scratch(int64_t count) {
  return std::unique_ptr<T[]>(new T[count]);
}

// from [rows][classes][k*k] to [rows][k*k][classes], or any strides of the source that lead there.
// Serves maps (a row is a cell) and pooled gradients (a row is a RoI).
template <class From, class To>
void gather_classes(const From* src, int64_t stride_class, int64_t stride_i, int64_t stride_j,
                    int64_t k, int64_t classes, To* dst) {
  if (stride_i == k * stride_j) {
    copy(src, stride_j, stride_class, dst, classes, int64_t(1), k * k, classes);
    return;
  }
  for (int64_t i = 0; i < k; ++i) {
    copy(src + i * stride_i, stride_j, stride_class, dst + i * k * classes, classes, int64_t(1), k,
         classes);
  }
}

}  // namespace rfcn
