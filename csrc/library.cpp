// Every operator of this folder: its contents page. Shapes and meaning are in rfcn/ops/<op>.py.
#include <torch/csrc/stable/library.h>

STABLE_TORCH_LIBRARY(rfcn, m) {
  m.def(
      "psroi_pool(Tensor features, Tensor rois, float spatial_scale, int semantics) -> Tensor");
  m.def(
      "psroi_pool_backward(Tensor gradient, Tensor rois, float spatial_scale, int semantics, "
      "SymInt[] size, SymInt[] stride) -> Tensor");
  m.def(
      "psroi_vote(Tensor features, Tensor rois, float spatial_scale, int semantics) -> Tensor");
  m.def(
      "psroi_vote_backward(Tensor gradient, Tensor rois, float spatial_scale, int semantics, "
      "SymInt[] size, SymInt[] stride) -> Tensor");
  m.def(
      "roi_pool(Tensor features, Tensor rois, int height, int width, float spatial_scale, "
      "bool with_cells) -> (Tensor, Tensor)");
  m.def(
      "roi_pool_backward(Tensor gradient, Tensor cells, Tensor rois, float spatial_scale, "
      "SymInt[] size, SymInt[] stride) -> Tensor");
  m.def(
      "roi_average_pool(Tensor features, Tensor rois, int k, float spatial_scale, int semantics) "
      "-> Tensor");
  m.def(
      "roi_average_pool_backward(Tensor gradient, Tensor rois, int k, float spatial_scale, "
      "int semantics, SymInt[] size, SymInt[] stride) -> Tensor");
  m.def(
      "deform_psroi_pool(Tensor features, Tensor rois, Tensor? offsets, float spatial_scale, "
      "int samples, float offset_scale) -> Tensor");
  m.def(
      "deform_psroi_pool_backward(Tensor gradient, Tensor rois, Tensor? offsets, "
      "float spatial_scale, int samples, float offset_scale, SymInt[] size, SymInt[] stride) "
      "-> Tensor");
  m.def(
      "deform_psroi_pool_offsets_backward(Tensor gradient, Tensor features, Tensor rois, "
      "Tensor offsets, float spatial_scale, int samples, float offset_scale) -> Tensor");
  m.def(
      "psroi_align(Tensor features, Tensor rois, float spatial_scale, int sampling_ratio) -> Tensor");
  m.def(
      "psroi_align_backward(Tensor gradient, Tensor rois, float spatial_scale, int sampling_ratio, "
      "SymInt[] size, SymInt[] stride) -> Tensor");
  m.def(
      "roi_align(Tensor features, Tensor rois, SymInt[] output_size, float spatial_scale, "
      "int sampling_ratio, bool aligned) -> Tensor");
  m.def(
      "roi_align_backward(Tensor gradient, Tensor rois, SymInt[] output_size, float spatial_scale, "
      "int sampling_ratio, bool aligned, SymInt[] size, SymInt[] stride) -> Tensor");
  m.def("nms(Tensor boxes, Tensor? groups, float threshold, int limit) -> Tensor");
  m.def(
      "soft_nms(Tensor boxes, Tensor scores, Tensor? groups, int decay, float threshold, "
      "float sigma, float score_threshold, int limit) -> Tensor");
}
