// deform_psroi_pool on the CPU, forward. Classes of a group share their taps, so the kernel wants all
// classes of a cell side by side; maps in another order are brought by bin first, unless few RoIs
// read less than that copy would.
#include <torch/csrc/stable/library.h>

#include "deform_taps.h"
#include "orders.h"
#include "roi_tables.h"

namespace rfcn {
namespace {

template <class T, class S>
struct Forward {
  using A = accumulate_t<T>;
  const T* features;
  DeformCall<S> call;
  T* pooled;

  void bin(TapMaker<A, S>& maker, int64_t r, int64_t i, int64_t j) const {
    const ScoreMaps& maps = call.maps;
    const T* map = features + maps.offset(call.picture(r), 0, i, j);
    T* out = pooled + ((r * maps.k + i) * maps.k + j) * maps.classes;
    const int64_t each = maps.classes / call.offsets.groups;
    for_each_group(0, maps.classes, each, [&](int64_t g, int64_t c, int64_t n) {
      const BinTaps<A> taps = maker.make(r, g, i, j);
      if (taps.empty()) {
        std::fill_n(out + c, n, static_cast<T>(taps.nothing));
      } else if (maps.stride.klass == 1) {
        tap_means(map + c, maps.stride.y, maps.stride.x, taps.rows, taps.columns, n, out + c);
      } else {
        for (int64_t one = c; one < c + n; ++one) {
          tap_means(map + one * maps.stride.klass, maps.stride.y, maps.stride.x, taps.rows,
                    taps.columns, 1, out + one);
        }
      }
    });
  }

  void run(int64_t count) const {
    torch::stable::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
      TapMaker<A, S> maker(call, false);
      for (int64_t r = first; r < last; ++r) {
        for (int64_t i = 0; i < call.maps.k; ++i) {
          for (int64_t j = 0; j < call.maps.k; ++j) bin(maker, r, i, j);
        }
      }
    });
  }
};

// Few RoIs touch less memory than a copy of the whole map would.
bool reads_little(const DeformArguments& given, const ScoreMaps& maps) {
  const int64_t cells = 4 * given.samples * given.samples;
  return given.count() * cells < maps.height * maps.width * maps.pictures;
}

Tensor deform_psroi_pool(Tensor features, Tensor rois, std::optional<Tensor> offsets,
                         double spatial_scale, int64_t samples, double offset_scale) {
  const ScoreMaps maps = score_maps(features.sizes(), features.strides());
  const DeformArguments given{rois, offsets, spatial_scale, samples, offset_scale};
  given.check(maps);
  Tensor pooled = empty_pooled(features, given.count(), maps);
  RFCN_DISPATCH_BOXES(rois.scalar_type(), "deform_psroi_pool", [&] {
    DeformCall<scalar_t> call = given.call<scalar_t>(maps);
    check_rois(call.rois, given.count(), maps.pictures);
    RFCN_DISPATCH_MAPS(features.scalar_type(), "deform_psroi_pool", [&] {
      const scalar_t* from = features.const_data_ptr<scalar_t>();
      std::unique_ptr<scalar_t[]> copied;
      if (maps.stride.klass != 1 && maps.classes > 1 && !reads_little(given, maps)) {
        copied = maps_by_bin(from, maps);
        from = copied.get();
        call.maps = order_by_bin(maps);
      }
      Forward{from, call, pooled.mutable_data_ptr<scalar_t>()}.run(given.count());
    });
  });
  return pooled;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("deform_psroi_pool", TORCH_BOX(&rfcn::deform_psroi_pool));
}
