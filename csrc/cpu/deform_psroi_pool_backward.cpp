// deform_psroi_pool on the CPU, backward. To the maps: one thread fills a tile (one bin, some
// classes), adding the RoIs in their order, and writes it once. To the offsets: each bin is a sum of
// its own. No two threads meet, and the sums are the same at every run.
#include <torch/csrc/stable/library.h>

#include "deform_taps.h"
#include "orders.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

// gradient: [rois][i][j][class].
template <class T, class S>
struct ToMaps {
  using A = accumulate_t<T>;
  const T* gradient;
  DeformCall<S> call;
  T* result;

  void add(TapMaker<A, S>& maker, int64_t r, const TilePlan::Part& part, int64_t lanes, A* given,
           A* tile) const {
    const int64_t k = call.maps.k, classes = call.maps.classes, groups = call.offsets.groups;
    const T* in = gradient + ((r * k + part.i) * k + part.j) * classes + part.klass;
    for (int64_t c = 0; c < part.classes; ++c) given[c] = static_cast<A>(in[c]);
    const auto add_group = [&](int64_t g, int64_t c, int64_t n) {
      const BinTaps<A> taps = maker.make(r, g, part.i, part.j);
      const int64_t at = c - part.klass, width = groups == 1 ? lanes : n;  // whole vectors
      add_taps(tile + at, call.maps.width * lanes, lanes, taps.rows, taps.columns, width,
               given + at);
    };
    for_each_group(part.klass, part.classes, classes / groups, add_group);
  }

  void run(int64_t count) const {
    const ScoreMaps& maps = call.maps;
    const auto lists = rois_by_picture(call.rois, count, maps.pictures);
    const TilePlan plan(maps, sizeof(A));
    const int64_t lanes = plan.lanes;
    torch::stable::parallel_for(0, plan.tiles(), 1, [&](int64_t first, int64_t last) {
      TapMaker<A, S> maker(call, false);
      std::vector<A> tile(plan.cells * lanes), given(lanes);
      for (int64_t t = first; t < last; ++t) {
        const TilePlan::Part part = plan.part(t);
        std::fill(tile.begin(), tile.end(), A(0));
        for (const int64_t r : lists[part.picture]) {
          add(maker, r, part, lanes, given.data(), tile.data());
        }
        store_tile(tile.data(), maps, part.classes, lanes,
                   result + maps.offset(part.picture, part.klass, part.i, part.j));
      }
    });
  }
};

// gradient: [rois][i][j][class]; maps: by bin; result: [rois][i][j][group][x, y].
template <class T, class S>
struct ToOffsets {
  using A = accumulate_t<T>;
  const T* gradient;
  const T* features;
  DeformCall<S> call;
  S* result;

  // How the gradient-weighted sum over the classes of a group changes as its bin moves.
  A slope(const T* map, const T* given, TapList<A> rows, TapList<A> columns, int64_t classes,
          A* by_class) const {
    tap_means(map, call.maps.stride.y, call.maps.stride.x, rows, columns, classes, by_class);
    A sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += static_cast<A>(given[c]) * by_class[c];
    return sum;
  }

  void bin(TapMaker<A, S>& maker, int64_t r, int64_t i, int64_t j, A* by_class) const {
    const int64_t k = call.maps.k, classes = call.maps.classes, groups = call.offsets.groups;
    const int64_t each = classes / groups, bin = (r * k + i) * k + j;
    const T* map = features + call.maps.offset(call.picture(r), 0, i, j);
    for (int64_t g = 0; g < groups; ++g) {
      const BinTaps<A> taps = maker.make(r, g, i, j);
      A x = taps.nothing, y = taps.nothing;
      if (!taps.empty()) {
        const T* given = gradient + bin * classes + g * each;
        const T* here = map + g * each;
        x = slope(here, given, taps.rows, taps.column_slopes, each, by_class);
        y = slope(here, given, taps.row_slopes, taps.columns, each, by_class);
      }
      S* out = result + (bin * groups + g) * 2;
      out[0] = call.by_offset(static_cast<S>(x), r, 0);
      out[1] = call.by_offset(static_cast<S>(y), r, 1);
    }
  }

  void run(int64_t count) const {
    torch::stable::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
      TapMaker<A, S> maker(call, true);
      std::vector<A> by_class(call.maps.classes);
      for (int64_t r = first; r < last; ++r) {
        for (int64_t i = 0; i < call.maps.k; ++i) {
          for (int64_t j = 0; j < call.maps.k; ++j) bin(maker, r, i, j, by_class.data());
        }
      }
    });
  }
};

Tensor deform_psroi_pool_backward(Tensor gradient, Tensor rois, std::optional<Tensor> offsets,
                                  double spatial_scale, int64_t samples, double offset_scale,
                                  std::vector<int64_t> size, std::vector<int64_t> stride) {
  const ScoreMaps maps = score_maps(size, stride);
  const DeformArguments given{rois, offsets, spatial_scale, samples, offset_scale};
  given.check(maps);
  given.strides_of(gradient, maps);
  Tensor result = empty_like_maps(gradient, size, stride);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "deform_psroi_pool_backward", [&] {
    const DeformCall<scalar_t> call = given.call<scalar_t>(maps);
    check_rois(call.rois, given.count(), maps.pictures);
    RFCN_DISPATCH_MAPS(gradient.scalar_type(), "deform_psroi_pool_backward", [&] {
      std::unique_ptr<scalar_t[]> copied;
      const scalar_t* in = gradient_by_bin(gradient, copied);
      ToMaps{in, call, result.mutable_data_ptr<scalar_t>()}.run(given.count());
    });
  });
  return result;
}

Tensor deform_psroi_pool_offsets_backward(Tensor gradient, Tensor features, Tensor rois,
                                          Tensor offsets, double spatial_scale, int64_t samples,
                                          double offset_scale) {
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const DeformArguments given{rois, offsets, spatial_scale, samples, offset_scale};
  given.check(maps);
  given.strides_of(gradient, maps);
  require(gradient.scalar_type() == features.scalar_type(),
          "the gradient must have the dtype of features");
  Tensor result = empty_offsets(offsets);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "deform_psroi_pool_offsets_backward", [&] {
    using roi_t = scalar_t;
    DeformCall<roi_t> call = given.call<roi_t>(maps);
    check_rois(call.rois, given.count(), maps.pictures);
    RFCN_DISPATCH_MAPS(features.scalar_type(), "deform_psroi_pool_offsets_backward", [&] {
      std::unique_ptr<scalar_t[]> copied_gradient, copied_maps;
      const scalar_t* in = gradient_by_bin(gradient, copied_gradient);
      const scalar_t* from = features.const_data_ptr<scalar_t>();
      if (maps.stride.klass != 1 && maps.classes > 1) {
        copied_maps = maps_by_bin(from, maps);
        from = copied_maps.get();
        call.maps = order_by_bin(maps);
      }
      ToOffsets{in, from, call, result.mutable_data_ptr<roi_t>()}.run(given.count());
    });
  });
  return result;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("deform_psroi_pool_backward", TORCH_BOX(&rfcn::deform_psroi_pool_backward));
  m.impl("deform_psroi_pool_offsets_backward",
         TORCH_BOX(&rfcn::deform_psroi_pool_offsets_backward));
}
