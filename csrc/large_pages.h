// Large pages for fresh memory. Knows nothing of torch.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace rfcn {

// Tells the kernel that `bytes` of memory will be written soon and whole. A result of many megabytes
// is new memory at every call, and taking it in pages of 4 KB can cost more than computing it. A
// hint: the memory is the same without it, and where the kernel knows no such pages nothing happens.
inline void expect_to_fill(void* memory, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr int64_t kWorthwhile = 4 << 20;
  constexpr uintptr_t kPage = 4096;
  if (bytes < kWorthwhile) return;
  const uintptr_t begin = (reinterpret_cast<uintptr_t>(memory) + kPage - 1) / kPage * kPage;
  const uintptr_t end = (reinterpret_cast<uintptr_t>(memory) + bytes) / kPage * kPage;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#else
  (void)memory, (void)bytes;
#endif
}

}  // namespace rfcn
