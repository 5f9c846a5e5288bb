// What lets one header serve g++, clang and nvcc. Knows nothing of torch.
#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define RFCN_HD __host__ __device__ inline
#define RFCN_DEVICE __device__ inline
#define RFCN_UNROLL _Pragma("unroll")
#else
#define RFCN_HD inline
#define RFCN_DEVICE inline  // what only kernels call, and host tests of them
#define RFCN_UNROLL
#endif

// Builds a function for several vector widths; the loader picks one. Where the compiler cannot,
// the plain build remains.
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__)
#define RFCN_VECTORISE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define RFCN_VECTORISE
#endif

// A function that is compiled anew inside each of those builds, not called from them.
#if defined(__GNUC__)
#define RFCN_INLINE inline __attribute__((always_inline))
#else
#define RFCN_INLINE inline
#endif

namespace rfcn {

// Sums are never kept in fewer bits than float.
template <class T>
struct Accumulate {
  using type = float;
};
template <>
struct Accumulate<double> {
  using type = double;
};
template <class T>
using accumulate_t = typename Accumulate<T>::type;

// a * b + c with both roundings. A fused multiply-add rounds once, and a bin edge that sits on a
// whole number would then fall into another cell on another processor. On the host the build
// passes -ffp-contract=off.
RFCN_HD float multiply_then_add(float a, float b, float c) {
#ifdef __CUDA_ARCH__
  return __fadd_rn(__fmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}

RFCN_HD double multiply_then_add(double a, double b, double c) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(__dmul_rn(a, b), c);
#else
  return a * b + c;
#endif
}

}  // namespace rfcn
