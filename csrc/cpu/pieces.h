// The classes of a cell lie side by side. Here they are cut into pieces of one vector each, for which
// a loop over cells keeps its sums in registers. The last piece overlaps the one before instead of
// ending early, so a step must give overlapping lanes the same values: load all, compute, store all.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstring>
#include <type_traits>

#include "../portable.h"

#define RFCN_INLINE_LAMBDA __attribute__((always_inline))
#define RFCN_ALWAYS_INLINE __attribute__((always_inline)) inline

namespace rfcn {

using BFloat16 = torch::headeronly::BFloat16;
using Half = torch::headeronly::Half;

// kWidth numbers of one dtype, to and from memory. Half precision is read exactly and written to the
// nearest, ties to even, as it is one by one.
template <class A, int kWidth>
struct Vectors {
  typedef A Vector __attribute__((vector_size(kWidth * sizeof(A))));
  // The types depend on kWidth by name too, else g++ 12 forgets the attribute.
  template <class Number>
  using Named = std::conditional_t<(kWidth > 0), Number, A>;
  typedef Named<uint32_t> Bits __attribute__((vector_size(kWidth * 4)));
  typedef Named<uint16_t> HalfBits __attribute__((vector_size(kWidth * 2)));

  static RFCN_ALWAYS_INLINE void read(const A* from, Vector& to) {
    std::memcpy(&to, from, sizeof to);
  }

  static RFCN_ALWAYS_INLINE void read_bits(const void* from, Bits& to) {
    HalfBits bits;
    std::memcpy(&bits, from, sizeof bits);
    to = __builtin_convertvector(bits, Bits);
  }

  static RFCN_ALWAYS_INLINE void read(const BFloat16* from, Vector& to) {
    Bits bits;
    read_bits(from, bits);
    to = reinterpret_cast<Vector>(bits << 16);
  }

  // The exponent moves by 112, which a product does for numbers below the normal ones too; only
  // infinity and NaN keep all its bits set.
  static RFCN_ALWAYS_INLINE void read(const Half* from, Vector& to) {
    Bits bits;
    read_bits(from, bits);
    const Bits size = (bits & 0x7fff) << 13;
    const Bits scaled = reinterpret_cast<Bits>(reinterpret_cast<Vector>(size) * 0x1p112f);
    const Bits endless = reinterpret_cast<Bits>(size >= (0x7c00u << 13)) & 0x7f800000;
    to = reinterpret_cast<Vector>(scaled | endless | ((bits & 0x8000) << 16));
  }

  static RFCN_ALWAYS_INLINE void write(const Vector& from, A* to) {
    std::memcpy(to, &from, sizeof from);
  }

  static RFCN_ALWAYS_INLINE void write_bits(const Bits& from, void* to) {
    const HalfBits bits = __builtin_convertvector(from, HalfBits);
    std::memcpy(to, &bits, sizeof bits);
  }

  static RFCN_ALWAYS_INLINE void write(const Vector& from, BFloat16* to) {
    const Bits bits = reinterpret_cast<Bits>(from);
    const Bits rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    write_bits((bits & 0x7fffffff) > 0x7f800000 ? Bits{} + 0x7fc0 : rounded, to);
  }

  static RFCN_ALWAYS_INLINE void write(const Vector& from, Half* to) {
    const Bits bits = reinterpret_cast<Bits>(from), size = bits & 0x7fffffff;
    const Bits rounded = size + 0xfff + ((size >> 13) & 1);
    const Bits normal = (rounded >> 13) - (112 << 10);
    // Below the normal numbers a unit is 2^-24, which is that of float numbers from 0.5 to 1.
    const Bits small = reinterpret_cast<Bits>(reinterpret_cast<Vector>(size) + 0.5f) - 0x3f000000;
    Bits result = size < 0x38800000 ? small : normal;
    result = rounded >= 0x47800000 ? Bits{} + 0x7c00 : result;  // 65520 and more
    result = size > 0x7f800000 ? Bits{} + 0x7e00 : result;
    write_bits(result | ((bits >> 16) & 0x8000), to);
  }
};

// kPieces vectors of kWidth lanes that cover `lanes` classes, kWidth <= lanes <= kPieces * kWidth.
template <class A, int kWidth, int kPieces>
struct Pieces {
  using Vector = typename Vectors<A, kWidth>::Vector;
  static constexpr int kCount = kPieces;
  int64_t lanes;

  RFCN_ALWAYS_INLINE int64_t offset(int piece) const {
    return piece + 1 < kPieces ? piece * kWidth : lanes - kWidth;
  }

  template <class T>
  RFCN_ALWAYS_INLINE void load(const T* classes, Vector* vectors) const {
    for (int piece = 0; piece < kPieces; ++piece) {
      Vectors<A, kWidth>::read(classes + offset(piece), vectors[piece]);
    }
  }

  template <class To>
  RFCN_ALWAYS_INLINE void store(const Vector* vectors, To* classes) const {
    for (int piece = 0; piece < kPieces; ++piece) {
      Vectors<A, kWidth>::write(vectors[piece], classes + offset(piece));
    }
  }
};

// What is narrower than a vector of twice kWidth.
template <class A, int kWidth, class Body>
RFCN_ALWAYS_INLINE void for_narrow_pieces(int64_t first, int64_t lanes, const Body& body) {
  if (lanes > kWidth) {
    body(Pieces<A, kWidth, 2>{lanes}, first);
  } else if (lanes == kWidth) {
    body(Pieces<A, kWidth, 1>{lanes}, first);
  } else if constexpr (kWidth > 1) {
    for_narrow_pieces<A, kWidth / 2>(first, lanes, body);
  }
}

// body(pieces, first) for pieces that together cover the classes: the widest vectors, up to four at
// a time, and narrower ones where a vector does not fit. A class is in the pieces of one call only.
template <class A, class Body>
RFCN_ALWAYS_INLINE void for_each_pieces(int64_t classes, const Body& body) {
  constexpr int kWidth = 64 / sizeof(A);
  int64_t first = 0;
  for (; classes - first > 4 * kWidth; first += 4 * kWidth) {
    body(Pieces<A, kWidth, 4>{4 * kWidth}, first);
  }
  const int64_t lanes = classes - first;
  if (lanes > 3 * kWidth) {
    body(Pieces<A, kWidth, 4>{lanes}, first);
  } else if (lanes > 2 * kWidth) {
    body(Pieces<A, kWidth, 3>{lanes}, first);
  } else if (lanes > kWidth) {
    body(Pieces<A, kWidth, 2>{lanes}, first);
  } else if (lanes == kWidth) {
    body(Pieces<A, kWidth, 1>{lanes}, first);
  } else {
    for_narrow_pieces<A, kWidth / 2>(first, lanes, body);
  }
}

}  // namespace rfcn
