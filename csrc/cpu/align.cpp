// roi_align and psroi_align on the CPU: align_forward.h and align_backward.h for every dtype.
#include <torch/csrc/stable/library.h>

#include "../align_tensors.h"
#include "align_backward.h"
#include "align_forward.h"

namespace rfcn {
namespace {

struct Cpu {
  struct Guard {
    explicit Guard(const Tensor&) {}
  };

  // run(plan, null pointer of the dtype of `like`)
  template <class Run>
  static void with_plan(const AlignCall& call, const Tensor& like, const Run& run) {
    RFCN_DISPATCH_BOXES(call.rois.scalar_type(), "align", [&] {
      using roi_t = scalar_t;
      const roi_t* rois = call.rois.const_data_ptr<roi_t>();
      RFCN_DISPATCH_MAPS(like.scalar_type(), "align", [&] {
        const AlignPlan<accumulate_t<scalar_t>> plan(call.maps, call.bins, rois, call.rois.size(0),
                                                     call.numbers.of<roi_t>());
        run(plan, static_cast<scalar_t*>(nullptr));
      });
    });
  }

  static void forward(const AlignCall& call, const Tensor& features, Tensor& pooled) {
    const PooledStrides stride = bin_strides(pooled, call.rois.size(0), call.maps, call.bins);
    with_plan(call, features, [&]<class A, class T>(const AlignPlan<A>& plan, T*) {
      AlignForward<T>{plan, features.const_data_ptr<T>(), call.maps, pooled.mutable_data_ptr<T>(),
                      stride}
          .run();
    });
  }

  static void backward(const AlignCall& call, const Tensor& gradient, Tensor& result) {
    const PooledStrides stride = bin_strides(gradient, call.rois.size(0), call.maps, call.bins);
    with_plan(call, gradient, [&]<class A, class T>(const AlignPlan<A>& plan, T*) {
      AlignBackward<T>{plan, gradient.const_data_ptr<T>(), stride, call.maps,
                       result.mutable_data_ptr<T>()}
          .run();
    });
  }
};

}  // namespace
}  // namespace rfcn

STABLE_TORCH_LIBRARY_IMPL(rfcn, CPU, m) {
  m.impl("psroi_align", TORCH_BOX(&rfcn::AlignOps<rfcn::Cpu>::psroi_align));
  m.impl("psroi_align_backward", TORCH_BOX(&rfcn::AlignOps<rfcn::Cpu>::psroi_align_backward));
  m.impl("roi_align", TORCH_BOX(&rfcn::AlignOps<rfcn::Cpu>::roi_align));
  m.impl("roi_align_backward", TORCH_BOX(&rfcn::AlignOps<rfcn::Cpu>::roi_align_backward));
}
