// Tiles: the maps of one bin with all classes of a cell side by side, and the loops over them that
// a compiler turns into vector code.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "../psroi_pool.h"

namespace rfcn {

// Four by four elements of four bytes: rows become columns. Both sides step by their stride from row
// to row. The vectors carry the bits and never look at them, so whole numbers pass as well.
template <class T>
inline void transpose_4x4(const T* src, int64_t src_stride, T* dst, int64_t dst_stride) {
  static_assert(sizeof(T) == 4);
#if defined(__GNUC__)
  typedef float Four __attribute__((vector_size(16)));
  typedef int32_t Lanes __attribute__((vector_size(16)));
  Four a, b, c, d;
  std::memcpy(&a, src, sizeof a);
  std::memcpy(&b, src + src_stride, sizeof b);
  std::memcpy(&c, src + 2 * src_stride, sizeof c);
  std::memcpy(&d, src + 3 * src_stride, sizeof d);
#if defined(__clang__)
#define RFCN_SHUFFLE(one, two, ...) __builtin_shufflevector(one, two, __VA_ARGS__)
#else
#define RFCN_SHUFFLE(one, two, ...) __builtin_shuffle(one, two, Lanes{__VA_ARGS__})
#endif
  const Four ab_low = RFCN_SHUFFLE(a, b, 0, 4, 1, 5), ab_high = RFCN_SHUFFLE(a, b, 2, 6, 3, 7);
  const Four cd_low = RFCN_SHUFFLE(c, d, 0, 4, 1, 5), cd_high = RFCN_SHUFFLE(c, d, 2, 6, 3, 7);
  const Four out[4] = {
      RFCN_SHUFFLE(ab_low, cd_low, 0, 1, 4, 5), RFCN_SHUFFLE(ab_low, cd_low, 2, 3, 6, 7),
      RFCN_SHUFFLE(ab_high, cd_high, 0, 1, 4, 5), RFCN_SHUFFLE(ab_high, cd_high, 2, 3, 6, 7)};
#undef RFCN_SHUFFLE
  for (int row = 0; row < 4; ++row) std::memcpy(dst + row * dst_stride, &out[row], sizeof a);
#else
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 4; ++column) {
      dst[column * dst_stride + row] = src[row * src_stride + column];
    }
  }
#endif
}

template <class From, class To>
inline void copy_block(const From* src, int64_t src_row, int64_t src_column, To* dst,
                       int64_t dst_row, int64_t dst_column, int64_t rows, int64_t columns) {
  if (src_column == 1 || dst_column == 1) {
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < columns; ++c) {
        dst[r * dst_row + c * dst_column] = static_cast<To>(src[r * src_row + c * src_column]);
      }
    }
    return;
  }
  for (int64_t c = 0; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) {
      dst[r * dst_row + c * dst_column] = static_cast<To>(src[r * src_row + c * src_column]);
    }
  }
}

// dst[row][column] = src[row][column] for any strides, in blocks that stay in the first cache.
template <class From, class To>
void copy(const From* src, int64_t src_row, int64_t src_column, To* dst, int64_t dst_row,
          int64_t dst_column, int64_t rows, int64_t columns) {
  constexpr int64_t kBlock = 16;
  constexpr bool kFourBytes = std::is_same_v<From, To> && sizeof(From) == 4;
  const bool turns = (src_row == 1 && dst_column == 1) || (src_column == 1 && dst_row == 1);
  for (int64_t row = 0; row < rows; row += kBlock) {
    for (int64_t column = 0; column < columns; column += kBlock) {
      const int64_t height = std::min(kBlock, rows - row);
      const int64_t width = std::min(kBlock, columns - column);
      const From* from = src + row * src_row + column * src_column;
      To* to = dst + row * dst_row + column * dst_column;
      int64_t done_rows = 0, done_columns = 0;
      if constexpr (kFourBytes) {
        if (turns) {
          done_rows = height / 4 * 4, done_columns = width / 4 * 4;
          const bool rows_lie = src_row == 1;  // else columns do, and the roles change
          const int64_t a_end = rows_lie ? done_columns : done_rows;
          const int64_t b_end = rows_lie ? done_rows : done_columns;
          const int64_t from_step = rows_lie ? src_column : src_row;
          const int64_t to_step = rows_lie ? dst_row : dst_column;
          for (int64_t a = 0; a < a_end; a += 4) {
            for (int64_t b = 0; b < b_end; b += 4) {
              transpose_4x4(from + a * from_step + b, from_step, to + b * to_step + a, to_step);
            }
          }
        }
      }
      // What is left: the last columns of the rows done, then the last rows.
      copy_block(from + done_columns * src_column, src_row, src_column,
                 to + done_columns * dst_column, dst_row, dst_column, done_rows,
                 width - done_columns);
      copy_block(from + done_rows * src_row, src_row, src_column, to + done_rows * dst_row,
                 dst_row, dst_column, height - done_rows, width);
    }
  }
}

// How score maps are cut: one tile is up to `lanes` classes of one bin of one picture.
struct TilePlan {
  static constexpr int64_t kBytes = 512 * 1024;  // half of a usual second-level cache
  static constexpr int64_t kLanes = 16;          // one vector of floats

  int64_t pictures, classes, k, cells, lanes, chunks;

  TilePlan(const ScoreMaps& maps, int64_t element_bytes, int64_t tile_bytes = kBytes)
      : pictures(maps.pictures), classes(maps.classes), k(maps.k),
        cells(maps.height * maps.width) {
    const int64_t fit = std::max(kLanes, tile_bytes / std::max<int64_t>(1, cells * element_bytes));
    chunks = std::max<int64_t>(1, (classes + fit - 1) / fit);
    const int64_t each = (classes + chunks - 1) / chunks;
    lanes = each > kLanes / 2 ? (each + kLanes - 1) / kLanes * kLanes : each;
    chunks = lanes > 0 ? (classes + lanes - 1) / lanes : 0;
  }

  int64_t tiles() const { return pictures * k * k * chunks; }

  struct Part {
    int64_t picture, i, j, klass, classes;  // the classes klass .. klass + classes - 1
  };

  Part part(int64_t tile) const {
    const int64_t chunk = tile % chunks, bin = tile / chunks;
    const int64_t klass = chunk * lanes;
    return {bin / (k * k), bin / k % k, bin % k, klass, std::min(lanes, classes - klass)};
  }
};

template <class T, class A>
void load_tile(const T* map, const ScoreMaps& maps, int64_t classes, int64_t lanes, A* tile) {
  for (int64_t y = 0; y < maps.height; ++y) {
    copy(map + y * maps.stride.y, maps.stride.x, maps.stride.klass,
              tile + y * maps.width * lanes, lanes, int64_t(1), maps.width, classes);
  }
}

template <class T, class A>
void store_tile(const A* tile, const ScoreMaps& maps, int64_t classes, int64_t lanes, T* map) {
  for (int64_t y = 0; y < maps.height; ++y) {
    copy(tile + y * maps.width * lanes, lanes, int64_t(1), map + y * maps.stride.y,
              maps.stride.x, maps.stride.klass, maps.width, classes);
  }
}

// mean_of_bin for `kWidth` classes that lie side by side, in the same order of additions.
template <int kWidth, class T, class To>
inline void means_of_width(const T* map, int64_t stride_y, int64_t stride_x, Range rows,
                           Range columns, To* out) {
  using A = accumulate_t<T>;
  A sums[kWidth] = {};
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    const T* cell = map + y * stride_y + columns.begin * stride_x;
    for (int64_t x = columns.begin; x < columns.end; ++x, cell += stride_x) {
      for (int lane = 0; lane < kWidth; ++lane) sums[lane] += static_cast<A>(cell[lane]);
    }
  }
  const A area = static_cast<A>(std::max<int64_t>(1, size(rows) * size(columns)));
  for (int lane = 0; lane < kWidth; ++lane) out[lane] = static_cast<To>(sums[lane] / area);
}

// The last vector overlaps the one before instead of ending early. Classes before `done` are left.
template <int kWidth, class T, class To>
inline bool means_by_width(const T* map, int64_t stride_y, int64_t stride_x, Range rows,
                           Range columns, int64_t done, int64_t classes, To* out) {
  if (classes < kWidth) return false;
  for (int64_t c = done; c < classes; c += kWidth) {
    const int64_t at = std::min(c, classes - kWidth);
    means_of_width<kWidth>(map + at, stride_y, stride_x, rows, columns, out + at);
  }
  return true;
}

template <class T, class To>
inline void means_of_classes(const T* map, int64_t stride_y, int64_t stride_x, Range rows,
                             Range columns, int64_t classes, To* out) {
  // Of many classes, four vectors at a time: bins are small, and so the loops over cells short.
  const int64_t done = classes / 64 * 64;
  if (done > 0) means_by_width<64>(map, stride_y, stride_x, rows, columns, 0, done, out);
  if (means_by_width<16>(map, stride_y, stride_x, rows, columns, done, classes, out)) return;
  if (means_by_width<8>(map, stride_y, stride_x, rows, columns, 0, classes, out)) return;
  if (means_by_width<4>(map, stride_y, stride_x, rows, columns, 0, classes, out)) return;
  means_by_width<1>(map, stride_y, stride_x, rows, columns, 0, classes, out);
}

template <class A>
inline void add_to_classes(A* tile, int64_t stride_y, int64_t stride_x, Range rows, Range columns,
                           int64_t lanes, const A* share) {
  for (int64_t y = rows.begin; y < rows.end; ++y) {
    A* cell = tile + y * stride_y + columns.begin * stride_x;
    for (int64_t x = columns.begin; x < columns.end; ++x, cell += stride_x) {
      for (int64_t lane = 0; lane < lanes; ++lane) cell[lane] += share[lane];
    }
  }
}

// Templates cannot be cloned for several vector widths, so the two hot loops get plain functions
// for the dtype that matters and stay templates for the others.
template <class T, class To>
void means_of_bin(const T* map, int64_t stride_y, int64_t stride_x, Range rows, Range columns,
                  int64_t classes, To* out) {
  means_of_classes(map, stride_y, stride_x, rows, columns, classes, out);
}

RFCN_VECTORISE inline void means_of_bin(const float* map, int64_t stride_y, int64_t stride_x,
                                        Range rows, Range columns, int64_t classes, float* out) {
  means_of_classes(map, stride_y, stride_x, rows, columns, classes, out);
}

template <class A>
void add_to_bin(A* tile, int64_t stride_y, int64_t stride_x, Range rows, Range columns,
                int64_t lanes, const A* share) {
  add_to_classes(tile, stride_y, stride_x, rows, columns, lanes, share);
}

RFCN_VECTORISE inline void add_to_bin(float* tile, int64_t stride_y, int64_t stride_x, Range rows,
                                      Range columns, int64_t lanes, const float* share) {
  add_to_classes(tile, stride_y, stride_x, rows, columns, lanes, share);
}

}  // namespace rfcn
