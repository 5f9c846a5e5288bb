// What both directions of the pooling operators prepare on the CPU before the parallel part.
#pragma once

#include <torch/csrc/stable/ops.h>

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
  torch::stable::parallel_for(0, count, 256, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      tabulate_cells(rois + r * kRoiColumns, true, cutting, maps.height, maps.width,
                     tables.data() + r * 2 * maps.k);
    }
  });
  return tables;
}

// The same for max pooling: bins.ranges() ranges a RoI (cells_of_entry).
template <class S>
std::vector<Range> tabulate_bins(const S* rois, int64_t count, const ScoreMaps& maps, Bins bins,
                                 double scale) {
  check_rois(rois, count, maps.pictures);
  std::vector<Range> tables(count * bins.ranges());
  for (int64_t r = 0; r < count; ++r) {
    for (int64_t e = 0; e < bins.ranges(); ++e) {
      tables[r * bins.ranges() + e] =
          cells_of_entry(rois + r * kRoiColumns, static_cast<S>(scale), bins, e, maps.height,
                         maps.width);
    }
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

// The RoIs of a call, each with its picture and the cells of its bins.
struct BinTables {
  int64_t k, pictures;
  std::vector<Range> ranges;
  std::vector<int64_t> picture;

  template <class S>
  BinTables(const S* rois, int64_t count, const ScoreMaps& maps, const Cutting<S>& cutting)
      : k(maps.k), pictures(maps.pictures), ranges(tabulate(rois, count, maps, cutting)),
        picture(count) {
    for (int64_t r = 0; r < count; ++r) {
      picture[r] = static_cast<int64_t>(rois[r * kRoiColumns]);
    }
  }

  int64_t count() const { return static_cast<int64_t>(picture.size()); }
  const Range* rows(int64_t r) const { return ranges.data() + r * 2 * k; }
  const Range* columns(int64_t r) const { return rows(r) + k; }

  std::vector<std::vector<int64_t>> by_picture() const {
    std::vector<std::vector<int64_t>> lists(pictures);
    for (int64_t r = 0; r < count(); ++r) lists[picture[r]].push_back(r);
    return lists;
  }
};

// The RoIs that touch each row of each picture, in their order.
class RowLists {
 public:
  struct List {
    const int32_t *first, *last;
    const int32_t* begin() const { return first; }
    const int32_t* end() const { return last; }
  };

  RowLists(const BinTables& rois, int64_t height)
      : height_(height), ends_(rois.pictures * height + 1) {
    require(rois.count() <= INT32_MAX, "rois: ", rois.count(), " are too many");
    const auto for_each_row = [&](const auto& body) {
      for (int64_t r = 0; r < rois.count(); ++r) {
        const Range* rows = rois.rows(r);  // the bins of a RoI go down
        int64_t* at = ends_.data() + rois.picture[r] * height_;
        for (int32_t y = rows[0].begin; y < rows[rois.k - 1].end; ++y) body(r, at + y);
      }
    };
    for_each_row([](int64_t, int64_t* end) { ++end[1]; });
    for (size_t row = 1; row < ends_.size(); ++row) ends_[row] += ends_[row - 1];
    entries_.resize(ends_.back());
    // Filling a list moves its beginning to its end, where the next begins.
    for_each_row([&](int64_t r, int64_t* end) { entries_[(*end)++] = static_cast<int32_t>(r); });
  }

  List of(int64_t picture, int64_t y) const {
    const int64_t row = picture * height_ + y;
    return {entries_.data() + (row > 0 ? ends_[row - 1] : 0), entries_.data() + ends_[row]};
  }

 private:
  int64_t height_;
  std::vector<int64_t> ends_;
  std::vector<int32_t> entries_;
};

}  // namespace rfcn
