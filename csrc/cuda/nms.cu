// nms on CUDA, in two steps: every pair at once, 64 boxes to a word of bits, then one block walks
// the words in order and crosses out what a kept box suppresses. Nothing returns to the host.
#include "../nms.h"
#include "launch.cuh"

namespace rfcn {
namespace {

constexpr int64_t kBits = 64;

// Word n = row * words + word: which of the 64 boxes of that word box `row` suppresses. Only later
// boxes count, so the words before its own are never read and stay as they are.
template <class S>
struct Pairs {
  const S* boxes;
  const int64_t* groups;
  int64_t count, words;
  S threshold;
  unsigned long long* bits;

  __device__ void operator()(int64_t n) const {
    const int64_t row = n / words, word = n % words;
    if (word < row / kBits) return;
    const Box<S> better = box_of(boxes + 4 * row);
    const int64_t last = (word + 1) * kBits < count ? (word + 1) * kBits : count;
    unsigned long long found = 0;
    for (int64_t m = word * kBits > row ? word * kBits : row + 1; m < last; ++m) {
      if (groups != nullptr && groups[m] != groups[row]) continue;
      if (suppresses(better, box_of(boxes + 4 * m), threshold)) found |= 1ull << (m % kBits);
    }
    bits[n] = found;
  }
};

// One block. `removed` starts as zeros, one bit a box.
__global__ void walk(const unsigned long long* bits, int64_t count, int64_t words, int64_t limit,
                     unsigned long long* removed, bool* keep) {
  __shared__ bool kept;
  int64_t total = 0;
  for (int64_t n = 0; n < count; ++n) {
    if (threadIdx.x == 0) {
      kept = total < limit && !(removed[n / kBits] >> (n % kBits) & 1ull);
      keep[n] = kept;
    }
    __syncthreads();
    if (kept) {
      ++total;
      for (int64_t word = n / kBits + threadIdx.x; word < words; word += blockDim.x) {
        removed[word] |= bits[n * words + word];
      }
    }
    __syncthreads();
  }
}

Tensor nms(Tensor boxes, std::optional<Tensor> groups, double threshold, int64_t limit) {
  check_rows(boxes, 4, "boxes");
  const int64_t count = boxes.size(0), words = (count + kBits - 1) / kBits;
  const bool grouped = groups.has_value();
  require(!grouped || (groups->dim() == 1 && groups->size(0) == count && groups->is_contiguous() &&
                       groups->scalar_type() == torch::headeronly::ScalarType::Long),
          "groups must be contiguous int64 with one entry a box");
  const torch::stable::accelerator::DeviceGuard guard(boxes.get_device_index());
  const auto empty = [&](int64_t numel, torch::headeronly::ScalarType dtype) {
    return torch::stable::empty({numel}, dtype, std::nullopt, boxes.device());
  };
  Tensor keep = empty(count, torch::headeronly::ScalarType::Bool);
  if (count == 0) return keep;
  Tensor pairs = empty(count * words, torch::headeronly::ScalarType::Long);
  Tensor removed = empty(words, torch::headeronly::ScalarType::Long);
  torch::stable::zero_(removed);
  const auto words_of = [](Tensor& tensor) {
    return reinterpret_cast<unsigned long long*>(tensor.mutable_data_ptr<int64_t>());
  };
  const int64_t* group_of = grouped ? groups->const_data_ptr<int64_t>() : nullptr;
  RFCN_DISPATCH_BOXES(boxes.scalar_type(), "nms", [&] {
    for_each(count * words, boxes,
             Pairs<scalar_t>{boxes.const_data_ptr<scalar_t>(), group_of, count, words,
                             static_cast<scalar_t>(threshold), words_of(pairs)});
  });
  walk<<<1, 1024, 0, current_stream(boxes)>>>(words_of(pairs), count, words,
                                              limit < 0 ? count : limit, words_of(removed),
                                              keep.mutable_data_ptr<bool>());
  check_launch();
  return keep;
}

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CUDA, m) { m.impl("nms", TORCH_BOX(&rfcn::nms)); }
