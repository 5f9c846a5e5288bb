// Average pooling of RoIs: the bins of psroi_pool, all read from the same maps.
#pragma once

#include "psroi_pool.h"

namespace rfcn {

// Features [pictures, channels, height, width], whose sizes and strides these lists hold, as score
// maps that every bin reads.
template <class List>
ScoreMaps shared_maps(const List& size, const List& stride, int64_t k) {
  return {size[0], size[1], k, size[2], size[3], {stride[0], stride[1], 0, 0, stride[2], stride[3]}};
}

}  // namespace rfcn
