// psroi_pool and psroi_vote on the CPU, forward. The classes of a bin share its cells, so the kernels
// want all classes of a cell side by side (kept by bin). Maps that lie so are read in place. Of plain
// planes, one bin at a time is copied to a tile that stays in the cache while every RoI reads it, so
// each map is touched once. Any other order is brought by bin first.
#include <torch/csrc/stable/library.h>

#include "orders.h"
#include "pieces.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

template <class T>
struct Call {
  const T* features;
  const ScoreMaps& maps;
  const BinTables& rois;

  // The maps of bin (i, j) that RoI r reads, from class `klass` on.
  const T* map(int64_t r, int64_t klass, int64_t i, int64_t j) const {
    return features + maps.offset(rois.picture[r], klass, i, j);
  }
};

// The sums over a bin, for the classes that the pieces cover. `map` points at cell (0, 0).
template <class T, class Cut>
RFCN_ALWAYS_INLINE void sum_bin(const T* map, const ScoreMaps& maps, Range rows, Range columns,
                                const Cut& pieces, typename Cut::Vector* sums) {
  typename Cut::Vector classes[Cut::kCount];
  for (int piece = 0; piece < Cut::kCount; ++piece) sums[piece] = typename Cut::Vector{};
  for (int32_t y = rows.begin; y < rows.end; ++y) {
    const T* cell = map + y * maps.stride.y + columns.begin * maps.stride.x;
    for (int32_t x = columns.begin; x < columns.end; ++x, cell += maps.stride.x) {
      pieces.load(cell, classes);
      for (int piece = 0; piece < Cut::kCount; ++piece) sums[piece] += classes[piece];
    }
  }
}

inline int64_t area_of(Range rows, Range columns) {
  return std::max<int64_t>(1, size(rows) * size(columns));
}

// One RoI of maps that lie by bin. pooled: [i][j][class].
template <class T>
RFCN_ALWAYS_INLINE void pool_by_bin(const Call<T>& call, int64_t r, T* pooled) {
  using A = accumulate_t<T>;
  const int64_t k = call.maps.k, classes = call.maps.classes;
  const Range *rows = call.rois.rows(r), *columns = call.rois.columns(r);
  for_each_pieces<A>(classes, [&](const auto& pieces, int64_t first) RFCN_INLINE_LAMBDA {
    using Cut = std::decay_t<decltype(pieces)>;
    typename Cut::Vector sums[Cut::kCount];
    for (int64_t bin = 0; bin < k * k; ++bin) {
      const int64_t i = bin / k, j = bin % k;
      sum_bin(call.map(r, first, i, j), call.maps, rows[i], columns[j], pieces, sums);
      for (auto& sum : sums) sum /= static_cast<A>(area_of(rows[i], columns[j]));
      pieces.store(sums, pooled + bin * classes + first);
    }
  });
}

// votes: [class].
template <class T>
RFCN_ALWAYS_INLINE void vote_by_bin(const Call<T>& call, int64_t r, T* votes) {
  using A = accumulate_t<T>;
  const int64_t k = call.maps.k, classes = call.maps.classes;
  const Range *rows = call.rois.rows(r), *columns = call.rois.columns(r);
  for_each_pieces<A>(classes, [&](const auto& pieces, int64_t first) RFCN_INLINE_LAMBDA {
    using Cut = std::decay_t<decltype(pieces)>;
    typename Cut::Vector sums[Cut::kCount], all[Cut::kCount] = {};
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        sum_bin(call.map(r, first, i, j), call.maps, rows[i], columns[j], pieces, sums);
        const A share = A(1) / static_cast<A>(area_of(rows[i], columns[j]));
        for (int piece = 0; piece < Cut::kCount; ++piece) all[piece] += sums[piece] * share;
      }
    }
    for (auto& sum : all) sum /= static_cast<A>(k * k);
    pieces.store(all, votes + first);
  });
}

// Templates cannot be cloned for several vector widths: each dtype has functions of its own.
#define RFCN_DEFINE_ROI(T)                                                       \
  RFCN_VECTORISE void pool_roi(const Call<T>& call, int64_t r, T* pooled) {      \
    pool_by_bin(call, r, pooled);                                                \
  }                                                                              \
  RFCN_VECTORISE void vote_roi(const Call<T>& call, int64_t r, T* votes) {       \
    vote_by_bin(call, r, votes);                                                 \
  }
RFCN_DEFINE_ROI(float)
RFCN_DEFINE_ROI(double)
RFCN_DEFINE_ROI(Half)
RFCN_DEFINE_ROI(BFloat16)
#undef RFCN_DEFINE_ROI

// means: [lanes], of one bin of one RoI, from a tile of its maps.
template <class A, class Body>
void for_each_mean(const A* tile, const TilePlan::Part& part, int64_t lanes, const ScoreMaps& maps,
                   const BinTables& rois, const std::vector<int64_t>& of_picture, A* means,
                   const Body& body) {
  for (const int64_t r : of_picture) {
    means_of_bin(tile, maps.width * lanes, lanes, rois.rows(r)[part.i], rois.columns(r)[part.j],
                 lanes, means);
    body(r);
  }
}

// Where the scores of all bins go: [rois][i][j][class].
template <class T>
struct ToBins {
  using A = accumulate_t<T>;
  T* pooled;

  void by_bin(const Call<T>& call, int64_t r) const {
    pool_roi(call, r, pooled + r * call.maps.k * call.maps.k * call.maps.classes);
  }

  void one(const Call<T>& call, int64_t r, int64_t klass) const {
    const ScoreMaps& maps = call.maps;
    const Range *rows = call.rois.rows(r), *columns = call.rois.columns(r);
    for (int64_t bin = 0; bin < maps.k * maps.k; ++bin) {
      const int64_t i = bin / maps.k, j = bin % maps.k;
      pooled[(r * maps.k * maps.k + bin) * maps.classes + klass] = static_cast<T>(mean_of_bin(
          call.map(r, klass, i, j), maps.stride.y, maps.stride.x, rows[i], columns[j]));
    }
  }

  void by_tiles(const Call<T>& call) const {
    const int64_t k = call.maps.k, classes = call.maps.classes;
    const TilePlan plan(call.maps, sizeof(A));
    const auto lists = call.rois.by_picture();
    torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
      std::vector<A> tile(plan.cells * plan.lanes), means(plan.lanes);
      for (int64_t t = first; t < last; ++t) {
        const TilePlan::Part part = plan.part(t);
        if (lists[part.picture].empty()) continue;
        load_tile(call.features + call.maps.offset(part.picture, part.klass, part.i, part.j),
                  call.maps, part.classes, plan.lanes, tile.data());
        T* bin = pooled + (part.i * k + part.j) * classes + part.klass;
        for_each_mean(tile.data(), part, plan.lanes, call.maps, call.rois, lists[part.picture],
                      means.data(), [&](int64_t r) {
                        std::copy_n(means.data(), part.classes, bin + r * k * k * classes);
                      });
      }
    });
  }
};

// Where the votes go: [rois][class].
template <class T>
struct ToVotes {
  using A = accumulate_t<T>;
  static constexpr int64_t kParts = 16;  // of the bins, when they are worked on side by side
  T* votes;

  void by_bin(const Call<T>& call, int64_t r) const {
    vote_roi(call, r, votes + r * call.maps.classes);
  }

  void one(const Call<T>& call, int64_t r, int64_t klass) const {
    const ScoreMaps& maps = call.maps;
    const Range *rows = call.rois.rows(r), *columns = call.rois.columns(r);
    A sum = 0;
    for (int64_t i = 0; i < maps.k; ++i) {
      for (int64_t j = 0; j < maps.k; ++j) {
        sum += mean_of_bin(call.map(r, klass, i, j), maps.stride.y, maps.stride.x, rows[i],
                           columns[j]);
      }
    }
    votes[r * maps.classes + klass] = static_cast<T>(sum / static_cast<A>(maps.k * maps.k));
  }

  // Each part of the bins adds up its own votes; the parts do not depend on the number of threads,
  // so neither do the sums.
  void by_tiles(const Call<T>& call) const {
    const int64_t bins = call.maps.k * call.maps.k, classes = call.maps.classes;
    const int64_t parts = std::min(bins, kParts), count = call.rois.count();
    const TilePlan plan(call.maps, sizeof(A));
    const auto lists = call.rois.by_picture();
    std::vector<A> sums(parts * count * classes);
    torch::stable::parallel_for(0, parts * plan.pictures * plan.chunks, 1, [&](int64_t first,
                                                                             int64_t last) {
      std::vector<A> tile(plan.cells * plan.lanes), means(plan.lanes);
      for (int64_t n = first; n < last; ++n) {
        const int64_t chunk = n % plan.chunks, rest = n / plan.chunks;
        const int64_t picture = rest / parts, at = rest % parts;
        if (lists[picture].empty()) continue;
        for (int64_t bin = at * bins / parts; bin < (at + 1) * bins / parts; ++bin) {
          const TilePlan::Part part = plan.part((picture * bins + bin) * plan.chunks + chunk);
          load_tile(call.features + call.maps.offset(picture, part.klass, part.i, part.j),
                    call.maps, part.classes, plan.lanes, tile.data());
          A* own = sums.data() + at * count * classes + part.klass;
          for_each_mean(tile.data(), part, plan.lanes, call.maps, call.rois, lists[picture],
                        means.data(), [&](int64_t r) {
                          A* sum = own + r * classes;
                          for (int64_t c = 0; c < part.classes; ++c) sum[c] += means[c];
                        });
        }
      }
    });
    torch::stable::parallel_for(0, count * classes, 4096, [&](int64_t first, int64_t last) {
      for (int64_t n = first; n < last; ++n) {
        A sum = 0;
        for (int64_t part = 0; part < parts; ++part) sum += sums[part * count * classes + n];
        votes[n] = static_cast<T>(sum / static_cast<A>(bins));
      }
    });
  }
};

// Few RoIs touch less memory than a copy of the whole map would.
template <class T>
bool reads_little(const Call<T>& call) {
  const ScoreMaps& maps = call.maps;
  int64_t cells = 0;
  for (int64_t r = 0; r < call.rois.count(); ++r) {
    int64_t rows = 0, columns = 0;
    for (int64_t p = 0; p < maps.k; ++p) {
      rows += size(call.rois.rows(r)[p]);
      columns += size(call.rois.columns(r)[p]);
    }
    cells += rows * columns;
  }
  return 4 * cells < maps.k * maps.k * maps.height * maps.width * maps.pictures;
}

template <class Body>
void for_each_roi(int64_t count, const Body& body) {
  torch::stable::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) body(r);
  });
}

// Result: ToBins or ToVotes.
template <class T, class Result>
void pool(const Call<T>& call, const Result& result) {
  const ScoreMaps& maps = call.maps;
  const int64_t count = call.rois.count();
  if (maps.stride.klass == 1) {
    for_each_roi(count, [&](int64_t r) { result.by_bin(call, r); });
  } else if (reads_little(call)) {
    for_each_roi(count, [&](int64_t r) {
      for (int64_t c = 0; c < maps.classes; ++c) result.one(call, r, c);
    });
  } else if (maps.stride.x == 1) {
    result.by_tiles(call);
  } else {
    const auto copied = maps_by_bin(call.features, maps);
    const ScoreMaps ordered = order_by_bin(maps);
    const Call<T> again{copied.get(), ordered, call.rois};
    for_each_roi(count, [&](int64_t r) { result.by_bin(again, r); });
  }
}

// Result: ToBins or ToVotes, to which `result` is the memory.
template <template <class> class Result>
void run(const Tensor& features, const Tensor& rois, double spatial_scale, int64_t semantics,
         const ScoreMaps& maps, Tensor& result) {
  check_rows(rois, kRoiColumns, "rois");
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "psroi_pool", [&] {
    const BinTables tables(rois.const_data_ptr<scalar_t>(), rois.size(0), maps,
                           cutting<scalar_t>(semantics, spatial_scale, maps.k));
    RFCN_DISPATCH_MAPS(features.scalar_type(), "psroi_pool", [&] {
      pool(Call<scalar_t>{features.const_data_ptr<scalar_t>(), maps, tables},
           Result<scalar_t>{result.mutable_data_ptr<scalar_t>()});
    });
  });
}

Tensor psroi_pool(Tensor features, Tensor rois, double spatial_scale, int64_t semantics) {
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  Tensor pooled = empty_pooled(features, rois.size(0), maps);
  run<ToBins>(features, rois, spatial_scale, semantics, maps, pooled);
  return pooled;
}

Tensor psroi_vote(Tensor features, Tensor rois, double spatial_scale, int64_t semantics) {
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  Tensor votes = empty_votes(features, rois.size(0), maps);
  run<ToVotes>(features, rois, spatial_scale, semantics, maps, votes);
  return votes;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("psroi_pool", TORCH_BOX(&rfcn::psroi_pool));
  m.impl("psroi_vote", TORCH_BOX(&rfcn::psroi_vote));
}
