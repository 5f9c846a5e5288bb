// roi_align and psroi_align on CUDA. Small kernels first write the weights of every RoI as tables;
// then one thread computes one element with the functions of align.h. The backward gathers over the
// RoIs instead of scattering with atomics: the same bits at every run.
#include "../align_tensors.h"
#include "launch.cuh"

namespace rfcn {
namespace {

// The RoIs of a call, in their own dtype.
template <class S>
struct Rois {
  const S* rows;
  int64_t count, pictures;
  Sampling<S> sampling;
};

template <class A, class S>
struct TabulateBins {
  Rois<S> rois;
  Axis axis;
  BinTable<A> table;

  __device__ void operator()(int64_t n) const {
    tabulate_bin(rois.rows, rois.pictures, axis, rois.sampling, table, n);
  }
};

template <class A, class S>
struct TabulateCells {
  Rois<S> rois;
  Axis axis;
  CellTable<A> table;

  __device__ void operator()(int64_t n) const {
    tabulate_cell(rois.rows, rois.pictures, axis, rois.sampling, table, n);
  }
};

// Room for tables on the device, for as long as it lives.
template <class Element>
struct Room {
  Tensor memory;

  Room(int64_t count, const Tensor& like)
      : memory(torch::stable::empty({count * static_cast<int64_t>(sizeof(Element))},
                                    torch::headeronly::ScalarType::Byte, std::nullopt,
                                    like.device())) {}

  Element* data() { return reinterpret_cast<Element*>(memory.mutable_data_ptr<uint8_t>()); }
};

template <class A>
struct BinRoom {
  Room<Line> lines;
  Room<Tap<A>> taps;
  BinTable<A> table;

  template <class S>
  BinRoom(const Rois<S>& rois, Axis axis, int64_t bins, int64_t limit, const Tensor& like)
      : lines(rois.count * bins, like),
        taps(rois.count * bins * BinTable<A>::most_taps(rois.sampling.ratio, limit), like),
        table{lines.data(), taps.data(), bins,
              BinTable<A>::most_taps(rois.sampling.ratio, limit), limit} {
    for_each(rois.count * bins, like, TabulateBins<A, S>{rois, axis, table});
  }
};

template <class A>
struct CellRoom {
  Room<A> weights;
  Room<Range> ranges;
  CellTable<A> table;

  template <class S>
  CellRoom(const Rois<S>& rois, Axis axis, int64_t bins, int64_t limit, const Tensor& like)
      : weights(rois.count * limit * bins, like), ranges(rois.count * limit, like),
        table{weights.data(), ranges.data(), bins, limit} {
    for_each(rois.count * limit, like, TabulateCells<A, S>{rois, axis, table});
  }
};

// n counts the result in its own memory order, so that neighbouring threads write neighbours:
// [roi][i][j][channel], or [roi][channel][i][j].
template <class T, class S>
struct Forward {
  using A = accumulate_t<T>;
  const T* features;
  ScoreMaps maps;
  AlignBins bins;
  const S* rois;
  BinTable<A> rows, columns;
  bool channels_last;
  T* pooled;

  __device__ void operator()(int64_t n) const {
    const int64_t at = n;
    int64_t klass = 0;
    if (channels_last) klass = n % maps.classes, n /= maps.classes;
    const int64_t j = n % bins.width, i = n / bins.width % bins.height;
    n /= bins.width * bins.height;
    if (!channels_last) klass = n % maps.classes, n /= maps.classes;
    const Line row = rows.lines[n * bins.height + i], column = columns.lines[n * bins.width + j];
    if (row.taps == 0 || column.taps == 0) {  // not the place to ask which picture
      pooled[at] = static_cast<T>(A(0));
      return;
    }
    const T* map = features + maps.offset(static_cast<int64_t>(rois[n * kRoiColumns]), klass,
                                          i / bins.rows(), j / bins.columns());
    pooled[at] = static_cast<T>(mean_of_samples(map, maps.stride.y, maps.stride.x, row, column,
                                                rows.taps, columns.taps));
  }
};

// n counts the cells in memory order, so that neighbouring threads write neighbouring gradients:
// [..][y][x][class] where the classes of a cell lie side by side, [class][..][y][x] elsewhere.
template <class T, class S>
struct Backward {
  using A = accumulate_t<T>;
  const T* gradient;
  PooledStrides stride;
  const S* rois;
  int64_t count;
  CellTable<A> rows, columns;
  ScoreMaps maps;
  AlignBins bins;
  T* result;

  __device__ void operator()(int64_t n) const {
    int64_t klass = 0;
    const bool classes_first = maps.stride.klass == 1;
    if (classes_first) klass = n % maps.classes, n /= maps.classes;
    const int64_t x = n % maps.width, y = n / maps.width % maps.height;
    n /= maps.width * maps.height;
    const int64_t j = n % maps.k, i = n / maps.k % maps.k;
    n /= maps.k * maps.k;
    if (!classes_first) klass = n % maps.classes, n /= maps.classes;
    const Range own_rows{static_cast<int32_t>(i * bins.rows()),
                         static_cast<int32_t>((i + 1) * bins.rows())};
    const Range own_columns{static_cast<int32_t>(j * bins.columns()),
                            static_cast<int32_t>((j + 1) * bins.columns())};
    result[maps.offset(n, klass, i, j) + y * maps.stride.y + x * maps.stride.x] =
        static_cast<T>(gradient_of_samples(gradient + klass * stride.klass, stride, rois, count,
                                           rows, columns, own_rows, own_columns, n, y, x));
  }
};

template <class S>
Rois<S> rois_of(const AlignCall& call) {
  return {call.rois.const_data_ptr<S>(), call.rois.size(0), call.maps.pictures,
          call.numbers.of<S>()};
}

struct Cuda {
  struct Guard {
    torch::stable::accelerator::DeviceGuard guard;
    explicit Guard(const Tensor& tensor) : guard(tensor.get_device_index()) {}
  };

  static void forward(const AlignCall& call, const Tensor& features, Tensor& pooled) {
    const ScoreMaps& maps = call.maps;
    const AlignBins& bins = call.bins;
    const bool channels_last = bin_strides(pooled, call.rois.size(0), maps, bins).klass == 1;
    RFCN_DISPATCH_BOXES(call.rois.scalar_type(), "align", [&] {
      using roi_t = scalar_t;
      const Rois<roi_t> rois = rois_of<roi_t>(call);
      RFCN_DISPATCH_MAPS(features.scalar_type(), "align", [&] {
        using A = accumulate_t<scalar_t>;
        BinRoom<A> y(rois, Axis::y, bins.height, maps.height, features);
        BinRoom<A> x(rois, Axis::x, bins.width, maps.width, features);
        for_each(pooled.numel(), features,
                 Forward<scalar_t, roi_t>{features.const_data_ptr<scalar_t>(), maps, bins,
                                          rois.rows, y.table, x.table, channels_last,
                                          pooled.mutable_data_ptr<scalar_t>()});
      });
    });
  }

  static void backward(const AlignCall& call, const Tensor& gradient, Tensor& result) {
    const ScoreMaps& maps = call.maps;
    const AlignBins& bins = call.bins;
    const PooledStrides stride = bin_strides(gradient, call.rois.size(0), maps, bins);
    RFCN_DISPATCH_BOXES(call.rois.scalar_type(), "align_backward", [&] {
      using roi_t = scalar_t;
      const Rois<roi_t> rois = rois_of<roi_t>(call);
      RFCN_DISPATCH_MAPS(gradient.scalar_type(), "align_backward", [&] {
        using A = accumulate_t<scalar_t>;
        CellRoom<A> y(rois, Axis::y, bins.height, maps.height, gradient);
        CellRoom<A> x(rois, Axis::x, bins.width, maps.width, gradient);
        for_each(result.numel(), gradient,
                 Backward<scalar_t, roi_t>{gradient.const_data_ptr<scalar_t>(), stride, rois.rows,
                                           rois.count, y.table, x.table, maps, bins,
                                           result.mutable_data_ptr<scalar_t>()});
      });
    });
  }
};

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) {
  m.impl("psroi_align", TORCH_BOX(&rfcn::AlignOps<rfcn::Cuda>::psroi_align));
  m.impl("psroi_align_backward", TORCH_BOX(&rfcn::AlignOps<rfcn::Cuda>::psroi_align_backward));
  m.impl("roi_align", TORCH_BOX(&rfcn::AlignOps<rfcn::Cuda>::roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&rfcn::AlignOps<rfcn::Cuda>::roi_align_backward));
}
