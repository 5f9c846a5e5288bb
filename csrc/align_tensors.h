// Tensors to and from the plain structs of align.h: shared by the CPU and the CUDA kernels.
#pragma once

#include "align.h"
#include "tensors.h"

namespace rfcn {

// The numbers of a call as they come; `of<S>()` has them in the dtype of the RoIs.
struct SamplingNumbers {
  double scale;
  int64_t ratio;
  bool aligned;

  template <class S>
  Sampling<S> of() const {
    require(ratio >= 0 && ratio <= 1024, "sampling_ratio must be in 0..1024, not ", ratio);
    return {static_cast<S>(scale), ratio, aligned};
  }
};

// Bins each with its own maps.
inline AlignBins own_bins(const ScoreMaps& maps) { return {maps.k, maps.k, maps.k}; }

// Bins that share one map of each channel.
inline AlignBins shared_bins(const std::vector<int64_t>& output_size) {
  require(output_size.size() == 2 && output_size[0] > 0 && output_size[1] > 0,
          "output_size must be two numbers above 0");
  return {output_size[0], output_size[1], 1};
}

inline PooledStrides bin_strides(const Tensor& pooled, int64_t rois, const ScoreMaps& maps,
                                 const AlignBins& bins) {
  require(pooled.dim() == 4 && pooled.size(0) == rois && pooled.size(1) == maps.classes &&
              pooled.size(2) == bins.height && pooled.size(3) == bins.width,
          "the gradient must have the shape [rois, channels, height, width] of the result");
  return {pooled.stride(0), pooled.stride(1), pooled.stride(2), pooled.stride(3)};
}

// The operators themselves. A Device has
//   Guard guard(tensor)           makes the tensor's device the current one
//   forward(call, features, pooled), backward(call, gradient, result)
struct AlignCall {
  ScoreMaps maps;
  AlignBins bins;
  Tensor rois;
  SamplingNumbers numbers;
};

template <class Device>
struct AlignOps {
  static Tensor psroi_align(Tensor features, Tensor rois, double scale, int64_t ratio) {
    const ScoreMaps maps = score_maps(features.sizes(), features.strides());
    return forward({maps, own_bins(maps), rois, {scale, ratio, true}}, features,
                   [&] { return empty_pooled(features, rois.size(0), maps); });
  }

  static Tensor roi_align(Tensor features, Tensor rois, std::vector<int64_t> output_size,
                          double scale, int64_t ratio, bool aligned) {
    const ScoreMaps maps = shared_maps(features.sizes(), features.strides());
    const AlignBins bins = shared_bins(output_size);
    return forward({maps, bins, rois, {scale, ratio, aligned}}, features,
                   [&] { return empty_shared_bins(features, rois.size(0), maps, bins.height,
                                              bins.width); });
  }

  static Tensor psroi_align_backward(Tensor gradient, Tensor rois, double scale, int64_t ratio,
                                     std::vector<int64_t> size, std::vector<int64_t> stride) {
    const ScoreMaps maps = score_maps(size, stride);
    return backward({maps, own_bins(maps), rois, {scale, ratio, true}}, gradient, size, stride);
  }

  static Tensor roi_align_backward(Tensor gradient, Tensor rois, std::vector<int64_t> output_size,
                                   double scale, int64_t ratio, bool aligned,
                                   std::vector<int64_t> size, std::vector<int64_t> stride) {
    const AlignCall call{shared_maps(size, stride), shared_bins(output_size), rois,
                         {scale, ratio, aligned}};
    return backward(call, gradient, size, stride);
  }

 private:
  template <class Empty>
  static Tensor forward(const AlignCall& call, const Tensor& features, const Empty& empty) {
    check_rows(call.rois, kRoiColumns, "rois");
    const typename Device::Guard guard(features);
    Tensor pooled = empty();
    Device::forward(call, features, pooled);
    return pooled;
  }

  static Tensor backward(const AlignCall& call, const Tensor& gradient,
                         const std::vector<int64_t>& size, const std::vector<int64_t>& stride) {
    check_rows(call.rois, kRoiColumns, "rois");
    const typename Device::Guard guard(gradient);
    Tensor result = empty_like_maps(gradient, size, stride);
    Device::backward(call, gradient, result);
    return result;
  }
};

}  // namespace rfcn
