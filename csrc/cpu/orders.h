// Maps and pooled gradients brought into the order that the kernels read fastest: all classes of a
// cell, or of a bin, side by side.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <memory>

#include "../tensors.h"
#include "tiles.h"

namespace rfcn {

// Memory that is not zeroed first.
template <class T>
std::unique_ptr<T[]> scratch(int64_t count) {
  std::unique_ptr<T[]> memory(new T[count]);
  expect_to_fill(memory.get(), count * sizeof(T));
  return memory;
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

// One cell from [k*k][classes] to where the maps keep it: the way back.
template <class From, class To>
void scatter_classes(const From* src, const ScoreMaps& maps, To* cell) {
  const int64_t k = maps.k, classes = maps.classes;
  if (maps.stride.i == k * maps.stride.j) {
    copy(src, classes, int64_t(1), cell, maps.stride.j, maps.stride.klass, k * k, classes);
    return;
  }
  for (int64_t i = 0; i < k; ++i) {
    copy(src + i * k * classes, classes, int64_t(1), cell + i * maps.stride.i, maps.stride.j,
         maps.stride.klass, k, classes);
  }
}

// A copy of the maps in the order [picture][y][x][i][j][class].
template <class T>
std::unique_ptr<T[]> maps_by_bin(const T* features, const ScoreMaps& maps) {
  const int64_t channels = maps.k * maps.k * maps.classes;
  const int64_t rows = maps.pictures * maps.height;
  auto copied = scratch<T>(rows * maps.width * channels);
  torch::stable::parallel_for(0, rows, 1, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row) {
      const T* src = features + row / maps.height * maps.stride.picture +
                     row % maps.height * maps.stride.y;
      for (int64_t x = 0; x < maps.width; ++x) {
        gather_classes(src + x * maps.stride.x, maps.stride.klass, maps.stride.i, maps.stride.j,
                       maps.k, maps.classes, copied.get() + (row * maps.width + x) * channels);
      }
    }
  });
  return copied;
}

// The gradient of the pooled scores in the order [rois][i][j][class]: itself if it lies so.
template <class T>
const T* gradient_by_bin(const Tensor& gradient, std::unique_ptr<T[]>& copied) {
  const int64_t rois = gradient.size(0), classes = gradient.size(1), k = gradient.size(2);
  const PooledStrides stride{gradient.stride(0), gradient.stride(1), gradient.stride(2),
                             gradient.stride(3)};
  const T* in = gradient.const_data_ptr<T>();
  if (stride.klass == 1 && stride.j == classes && stride.i == k * classes &&
      stride.roi == k * k * classes) {
    return in;
  }
  copied = scratch<T>(gradient.numel());
  torch::stable::parallel_for(0, rois, 16, [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      gather_classes(in + r * stride.roi, stride.klass, stride.i, stride.j, k, classes,
                     copied.get() + r * k * k * classes);
    }
  });
  return copied.get();
}

}  // namespace rfcn
