// The cells of all bins of all RoIs as tables: in shared memory for one RoI, or in global memory
// for a gather over many.
#pragma once

#include "block.h"
#include "psroi_pool.h"

namespace rfcn {

// RoI rows of either dtype. Which of the two is the same for all threads, and tells only here.
struct Rois {
  const void* rows;
  bool wide;  // double, not float
  int64_t count;
  double scale;
  Semantics semantics;

  // The picture of RoI r, or -1 if no kernel can use the RoI.
  RFCN_HD int64_t picture(int64_t r, int64_t pictures) const {
    return wide ? picture_of<double>(r, pictures) : picture_of<float>(r, pictures);
  }

  // Entry e of RoI r: the rows of bin row e, or for e >= k the columns of bin column e - k. Empty
  // if no kernel can use the RoI.
  RFCN_HD Range cells(int64_t r, int64_t e, const ScoreMaps& maps) const {
    return wide ? cells_of<double>(r, e, maps) : cells_of<float>(r, e, maps);
  }

 private:
  template <class S>
  RFCN_HD const S* row(int64_t r) const {
    return static_cast<const S*>(rows) + r * kRoiColumns;
  }

  template <class S>
  RFCN_HD int64_t picture_of(int64_t r, int64_t pictures) const {
    return is_valid(row<S>(r), pictures) ? static_cast<int64_t>(row<S>(r)[0]) : -1;
  }

  template <class S>
  RFCN_HD Range cells_of(int64_t r, int64_t e, const ScoreMaps& maps) const {
    const S* roi = row<S>(r);
    if (!is_valid(roi, maps.pictures)) return {0, 0};
    const bool across = e >= maps.k;
    const Cutting<S> cutting{semantics, static_cast<S>(scale), maps.k};
    const Side<S> side = across ? roi_side(cutting, roi[1], roi[3])
                                : roi_side(cutting, roi[2], roi[4]);
    return bin_cells(side, across ? e - maps.k : e, across ? maps.width : maps.height);
  }
};

// Tables of all RoIs: entry by entry, so that neighbouring threads, which look at neighbouring
// RoIs, read neighbouring ranges.
struct RoiTables {
  const Range* ranges;      // [2k][count]
  const int64_t* pictures;  // [count], -1 for a RoI that no kernel can use
  int64_t count, k;

  RFCN_HD const Range* rows(int64_t i) const { return ranges + i * count; }
  RFCN_HD const Range* columns(int64_t j) const { return ranges + (k + j) * count; }

  // How many 8-byte words hold both tables.
  static int64_t words(int64_t count, int64_t k) { return (2 * k + 1) * count; }
};

// Element n of the tables; they are one piece of memory of RoiTables::words.
RFCN_HD void tabulate_element(int64_t n, const Rois& rois, const ScoreMaps& maps, int64_t* memory) {
  const int64_t entry = n / rois.count, r = n % rois.count;
  if (entry == 2 * maps.k) {
    memory[n] = rois.picture(r, maps.pictures);
  } else {
    reinterpret_cast<Range*>(memory)[n] = rois.cells(r, entry, maps);
  }
}

inline RoiTables tables_in(const int64_t* memory, int64_t count, int64_t k) {
  return {reinterpret_cast<const Range*>(memory), memory + 2 * k * count, count, k};
}

// The table of RoI r in shared memory: its picture, then 2k ranges.
struct RoiTable {
  int64_t* picture;
  Range* ranges;

  static int64_t bytes(int64_t k) { return (1 + 2 * k) * static_cast<int64_t>(sizeof(Range)); }

  RFCN_HD explicit RoiTable(void* shared)
      : picture(static_cast<int64_t*>(shared)), ranges(static_cast<Range*>(shared) + 1) {}

  template <class Team>
  RFCN_DEVICE void fill(const Team& team, const Rois& rois, int64_t r,
                        const ScoreMaps& maps) const {
    team.each([&](int thread) {
      for (int64_t e = thread; e < 2 * maps.k; e += team.size()) {
        ranges[e] = rois.cells(r, e, maps);
      }
      if (thread == team.size() - 1) *picture = rois.picture(r, maps.pictures);
    });
    team.sync();
  }
};

}  // namespace rfcn
