// How every kernel is launched: device guard, the current stream, a grid for 64-bit counts.
#pragma once

#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#include <torch/csrc/stable/library.h>

#include <algorithm>

#include "../tensors.h"

namespace rfcn {

inline cudaStream_t current_stream(const Tensor& tensor) {
  void* stream = nullptr;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &stream));
  return static_cast<cudaStream_t>(stream);
}

inline void check_launch() {
  const cudaError_t error = cudaGetLastError();
  require(error == cudaSuccess, "CUDA kernel launch failed: ", cudaGetErrorString(error));
}

constexpr int kThreads = 256;

template <class Body>
__global__ void __launch_bounds__(kThreads) for_each_kernel(int64_t count, Body body) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t n = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; n < count;
       n += step) {
    body(n);
  }
}

// body(n) for 0 <= n < count, on the stream of `like`. The caller holds the device guard.
template <class Body>
void for_each(int64_t count, const Tensor& like, const Body& body) {
  if (count == 0) return;
  const int64_t blocks = std::min<int64_t>((count + kThreads - 1) / kThreads, INT32_MAX);
  for_each_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, current_stream(like)>>>(count,
                                                                                       body);
  check_launch();
}

}  // namespace rfcn
