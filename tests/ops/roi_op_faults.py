"""What every RoI operator refuses, in every backend, and what it survives."""

import pytest
import torch


class RoIOpFaults:
    """Mixed into the test class of an operator beside `RoIOpContract`."""

    def good(self, variant, shape=(2, 5, 6)):
        """Features of `shape` = (pictures, height, width) and two RoIs."""
        pictures, height, width = shape
        features = torch.randn(pictures, variant.channels, height, width)
        rois = torch.tensor([[0.0, 0, 0, 50, 50], [1.0, 5, 5, 20, 70]])
        rois[:, 1:] *= 1 / self.scale / 16
        return features, rois

    def changed(self, variant, row, column, value):
        features, rois = self.good(variant)
        rois[row, column] = value
        return features, rois

    def broken_row(self, backend, inputs, variant, match):
        """Row 1 cannot be used: an error names it, or on a GPU, which must not wait, it is 0."""
        if backend == "cuda":
            features, rois = inputs
            found = self.call(features, rois, variant)
            assert not found[1].any()
            assert torch.equal(found[:1], self.call(features, rois[:1], variant))
            return
        with pytest.raises(RuntimeError, match=match):
            self.call(*inputs, variant)

    @pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
    @pytest.mark.parametrize("column", [1, 2, 3, 4])
    def test_corner_that_is_not_finite(self, backend, any_variant, column, value):  # O5
        inputs = self.changed(any_variant, 1, column, value)
        self.broken_row(backend, inputs, any_variant, r"rois: row 1 is .*corners must be finite")

    @pytest.mark.parametrize("value", [-1.0, 2.0, 1e6, float("nan"), 0.7, -0.5])
    def test_picture_that_does_not_exist(self, backend, any_variant, value):  # O7
        inputs = self.changed(any_variant, 1, 0, value)
        self.broken_row(backend, inputs, any_variant, r"rois: row 1 is .*0\.\.1")

    @pytest.mark.parametrize(
        "corners",
        [
            (1e30, 1e30, 2e30, 2e30),
            (-3e38, -3e38, 3e38, 3e38),
            (1e6, 0, 1e6 + 50, 50),
            (-2e9, -2e9, -1e9, -1e9),
        ],
    )
    def test_huge_corners_are_finite_and_zero_outside(
        self, backend, any_variant, corners
    ):  # O3, O6
        features, _ = self.good(any_variant)
        features.requires_grad_()
        found = self.call(features, torch.tensor([[0.0, *corners]]), any_variant)
        assert found.isfinite().all()
        found.sum().backward()
        assert features.grad.isfinite().all()
        if corners[0] > 0 or corners[2] < 0:
            assert not found.any()
            assert not features.grad.any()

    @pytest.mark.parametrize("shape", [(0,), (5,), (2, 4), (2, 6), (1, 2, 5)])
    def test_rois_of_a_wrong_shape(self, backend, any_variant, shape):  # O8
        features, _ = self.good(any_variant)
        with pytest.raises(ValueError, match=r"rois: the shape must be \[\*, 5\]"):
            self.call(features, torch.zeros(shape), any_variant)

    def test_no_rois(self, backend, any_variant):  # O8
        features, rois = self.good(any_variant)
        features.requires_grad_()
        found = self.call(features, rois[:0], any_variant)
        assert found.shape == (0, *self.call(features, rois, any_variant).shape[1:])
        found.sum().backward()
        assert torch.equal(features.grad, torch.zeros_like(features))

    @pytest.mark.parametrize("shape", [(0, 5, 6), (2, 0, 6), (2, 5, 0)])
    def test_empty_maps(self, backend, any_variant, shape):  # O9
        features, rois = self.good(any_variant, shape)
        features.requires_grad_()
        rois = rois[:0] if shape[0] == 0 else rois
        found = self.call(features, rois, any_variant)
        assert len(found) == len(rois)
        assert not found.any()
        found.sum().backward()
        assert features.grad.shape == features.shape

    def test_empty_batch_with_rois(self, backend, any_variant):  # O9
        features, rois = self.good(any_variant, (0, 5, 6))
        if backend == "cuda":
            assert not self.call(features, rois, any_variant).any()
            return
        with pytest.raises(RuntimeError, match="row 0"):
            self.call(features, rois, any_variant)

    def test_features_of_a_wrong_shape(self, backend, any_variant):  # O10
        features, rois = self.good(any_variant)
        for wrong in (features[0], features[:, None]):
            with pytest.raises(ValueError, match="features: the shape must be"):
                self.call(wrong, rois, any_variant)

    @pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.complex64])
    def test_features_of_a_wrong_dtype(self, backend, any_variant, dtype):  # O12
        features, rois = self.good(any_variant)
        with pytest.raises(ValueError, match="features: dtype must be float32"):
            self.call(features.to(dtype), rois, any_variant)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
    def test_rois_of_a_wrong_dtype(self, backend, any_variant, dtype):  # O13
        features, rois = self.good(any_variant)
        with pytest.raises(ValueError, match="rois: dtype must be float32 or float64"):
            self.call(features, rois.to(dtype), any_variant)

    def test_rois_on_another_device(self, backend, any_variant):  # O13
        features, rois = self.good(any_variant)
        with pytest.raises(ValueError, match=r"rois: must be on (cpu|cuda:0), not on meta"):
            self.call(features, rois.to("meta"), any_variant)

    @pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
    def test_scale_that_makes_no_sense(self, backend, any_variant, scale, monkeypatch):  # O16
        features, rois = self.good(any_variant)
        monkeypatch.setattr(type(self), "scale", scale)
        with pytest.raises(ValueError, match="spatial_scale"):
            self.call(features, rois, any_variant)
