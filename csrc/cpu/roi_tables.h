// What both directions of psroi_pool prepare on the CPU before the parallel part.
#pragma once

#include <vector>

#include "../roi_pool.h"
#include "../tensors.h"
#include "tiles.h"

namespace rfcn {

// 2k ranges a RoI (tabulate_cells). Refuses a RoI that no kernel can use, by its row.
template <class S>
std::vector<Range> tabulate(const S* rois, int64_t count, const ScoreMaps& maps,
                            const Cutting<S>& cutting) {
  check_rois(rois, count, maps.pictures);
  std::vector<Range> tables(count * 2 * maps.k);
  for (int64_t r = 0; r < count; ++r) {
    tabulate_cells(rois + r * kRoiColumns, true, cutting, maps.height, maps.width,
                   tables.data() + r * 2 * maps.k);
  }
  return tables;
}

// The same for max pooling: bins.ranges() ranges a RoI (tabulate_max_pool).
template <class S>
std::vector<Range> tabulate_bins(const S* rois, int64_t count, const ScoreMaps& maps, Bins bins,
                                 double scale) {
  check_rois(rois, count, maps.pictures);
  std::vector<Range> tables(count * bins.ranges());
  for (int64_t r = 0; r < count; ++r) {
    tabulate_max_pool(rois + r * kRoiColumns, true, static_cast<S>(scale), bins, maps.height,
                      maps.width, tables.data() + r * bins.ranges());
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

}  // namespace rfcn
