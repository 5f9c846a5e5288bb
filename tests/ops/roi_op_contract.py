"""The questions that every RoI operator answers: numbers, gradients, memory orders, worlds.

A subclass names the operator, its slow definition and its variants; `roi_op_faults.py` asks about
bad input. An operator's own test file adds what only that operator promises.
"""

import functools
from typing import Any, ClassVar, NamedTuple

import pytest
import torch


class Variant(NamedTuple):
    """One way to call the operator: the channels its features have, and its other arguments."""

    channels: int
    arguments: dict[str, Any]


class Case(NamedTuple):
    """Random RoIs on random features of two pictures."""

    variant: Variant
    height: int
    width: int
    rois: int


def channels_last(features):
    """The same values, all channels of a cell side by side."""
    return features.contiguous(memory_format=torch.channels_last)


def memory_orders(features):
    """The same values in every order that a caller may bring."""
    height, width = features.shape[2:]
    wide = features.new_zeros(*features.shape[:2], 2 * height, 2 * width + 1)
    wide[:, :, ::2, 1::2] = features
    return {
        "planes": features,
        "channels-last": channels_last(features),
        "every other cell": wide[:, :, ::2, 1::2],
        "transposed": features.transpose(2, 3).contiguous().transpose(2, 3),
        "channels reversed in memory": features.flip(1).contiguous().flip(1),
    }


@functools.cache
def threads_to_try():
    return sorted({1, torch.get_num_threads(), 2})


class RoIOpContract:
    """Subclass as `TestX`, with the class attributes and the three methods filled in."""

    variants: ClassVar[dict[str, Variant]]
    """By name; the general questions are asked of each, so two or three that differ will do."""
    cases: ClassVar[list[Case]]
    """Random RoIs against the definition: at least 10,000 for each semantics."""
    scale = 1 / 16
    tolerances: ClassVar = {torch.float32: 1e-5, torch.float64: 1e-12}
    second_order = True
    """Whether gradients have gradients (operators that are linear in the features)."""

    def call(self, features, rois, variant):
        """The operator. features: [N, C, H, W], rois: [R, 5] -> [R, ...]."""
        raise NotImplementedError

    def define(self, features, rois, variant):
        """What its slow definition gives, float64."""
        raise NotImplementedError

    def define_gradient(self, gradient, features, rois, variant):
        """The gradient of the features by the slow definition, float64."""
        raise NotImplementedError

    def opcheck_calls(self, features, rois, variant):
        """(operator of torch.ops.rfcn, arguments) for opcheck; the backward among them."""
        raise NotImplementedError

    # ------------------------------------------------------------------ numbers

    def inputs(self, make_rois, variant, *, count=60, height=6, width=10, dtype=torch.float64):
        """Features of two pictures and RoIs in and around them."""
        g = torch.Generator().manual_seed(count + height)
        shape = (2, variant.channels, height, width)
        features = torch.randn(shape, generator=g, dtype=torch.float64).to(dtype)
        size = int(height / self.scale), int(width / self.scale)
        return features, make_rois(count, 2, *size, seed=count)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
    def test_random_rois_match_the_definition(
        self, backend, make_rois, case, dtype
    ):  # O1, O2, O3, O4, O11
        variant = case.variant
        size = int(case.height / self.scale), int(case.width / self.scale)
        rois = make_rois(case.rois, 2, *size, seed=case.height, dtype=dtype)
        g = torch.Generator().manual_seed(case.width)
        shape = (2, variant.channels, case.height, case.width)
        features = torch.randn(shape, generator=g, dtype=dtype)
        expected = self._defined(case, dtype, lambda: self.define(features, rois, variant))
        found = self.call(features, rois, variant)
        assert found.dtype == dtype
        assert found.shape == expected.shape
        assert (found.double() - expected).abs().max() <= self.tolerances[dtype]
        outside = (expected == 0).flatten(1).all(dim=1)
        assert outside.any()  # RoIs do lie outside ...
        assert not outside.all()  # ... and inside

    def _defined(self, case, dtype, compute):
        """The definition is slow: both backends share one answer."""
        known = vars(type(self)).get("answers") or {}
        type(self).answers = known
        key = (type(self).cases.index(case), dtype)
        if key not in known:
            known[key] = compute()
        return known[key]

    def test_every_memory_order_gives_the_same(self, backend, make_rois, variant):  # O14
        for count in (3, 150):
            plain, rois = self.inputs(make_rois, variant, count=count)
            expected = self.define(plain, rois, variant)
            gradient = torch.randn_like(expected)
            expected_gradient = self.define_gradient(gradient, plain, rois, variant)
            for name, features in memory_orders(plain).items():
                leaf = features.detach().requires_grad_()
                found = self.call(leaf, rois, variant)
                assert (found - expected).abs().max() <= 1e-12, name
                (back,) = torch.autograd.grad(found, leaf, gradient)
                assert back.shape == plain.shape
                assert (back - expected_gradient).abs().max() <= 1e-12, name

    def test_rois_may_be_a_view_and_pictures_expanded(self, backend, make_rois, variant):  # O14
        features, rois = self.inputs(make_rois, variant, count=40)
        one = features[:1].clone().requires_grad_()
        found = self.call(one.expand(2, -1, -1, -1), rois.t().contiguous().t(), variant)
        wide = one.detach().expand(2, -1, -1, -1)
        assert (found - self.define(wide, rois, variant)).abs().max() <= 1e-12
        found.sum().backward()
        expected = self.define_gradient(torch.ones_like(found), wide, rois, variant).sum(0)
        assert (one.grad[0] - expected).abs().max() <= 1e-11

    @pytest.mark.parametrize("order", ["planes", "channels-last"])
    def test_gradients_of_any_stride(self, backend, make_rois, variant, order):  # O14
        features, rois = self.inputs(make_rois, variant)
        features = memory_orders(features)[order].requires_grad_()
        shape = self.call(features, rois, variant).shape
        ones = [1] * (len(shape) - 2)
        gradients = {
            "one number": torch.tensor(2.0, dtype=torch.float64).expand(shape),
            "one for all bins": torch.randn(*shape[:2], *ones, dtype=torch.float64).expand(shape),
            "transposed": torch.randn(shape[::-1], dtype=torch.float64).permute(
                *reversed(range(len(shape)))
            ),
            "contiguous": torch.randn(shape, dtype=torch.float64),
        }
        for name, gradient in gradients.items():
            found = self.call(features, rois, variant)
            (back,) = torch.autograd.grad(found, features, gradient)
            expected = self.define_gradient(gradient, features.detach(), rois, variant)
            assert (back - expected).abs().max() <= 1e-12, name

    def border_rois(self):
        """Inside, on each border, crossing it, thin, reversed, outside a map of 4 x 3 cells."""
        pixels = 1 / self.scale / 16
        rows = [
            [0.0, 0, 0, 47, 63],
            [1, 32, 48, 47, 63],
            [1, -20, -9, 5, 80],
            [0, 40, 8, 400, 9],
            [0, 30, 30, 10, 10],
            [1, 500, 500, 600, 600],
            [0, 7.5, 8.5, 23.5, 40.5],
        ]
        rois = torch.tensor(rows)
        rois[:, 1:] *= pixels
        return rois

    def test_gradcheck_at_the_borders(self, backend, variant):
        features = torch.randn(2, variant.channels, 4, 3, dtype=torch.float64, requires_grad=True)
        rois = self.border_rois()
        assert torch.autograd.gradcheck(lambda maps: self.call(maps, rois, variant), features)

    def test_second_gradients(self, backend, variant):  # O17
        features = torch.randn(2, variant.channels, 4, 3, dtype=torch.float64, requires_grad=True)
        rois = self.border_rois()

        def squared(maps):
            return self.call(maps, rois, variant) ** 2

        if self.second_order:
            assert torch.autograd.gradgradcheck(squared, features)
            return
        (once,) = torch.autograd.grad(squared(features).sum(), features, create_graph=True)
        with pytest.raises(RuntimeError, match=r"second|twice|does not require grad"):
            torch.autograd.grad(once.sum(), features)

    # ------------------------------------------------------------------ half precision

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
    @pytest.mark.parametrize("order", ["planes", "channels-last"])
    def test_half_precision(self, backend, make_rois, variant, dtype, order):  # O12
        features, rois = self.inputs(make_rois, variant, count=200, dtype=dtype)
        features = memory_orders(features)[order].requires_grad_()
        wide = features.detach().float().requires_grad_()
        found = self.call(features, rois, variant)
        expected = self.call(wide, rois, variant)
        assert found.dtype == dtype
        assert (found - expected).abs().max() <= 2e-2 * expected.abs().max()
        gradient = torch.randn(expected.shape).to(dtype)
        (back,) = torch.autograd.grad(found, features, gradient)
        (expected_back,) = torch.autograd.grad(expected, wide, gradient.float())
        assert back.dtype == dtype
        assert (back - expected_back).abs().max() <= 2e-2 * expected_back.abs().max()

    def test_half_precision_accumulates_wider(self, backend, variant):  # O12
        # 2,048 cells of 0.1: a sum in half precision would stick.
        for dtype in (torch.float16, torch.bfloat16):
            features = torch.full((1, variant.channels, 64, 64), 0.1).to(dtype)
            side = 64 / self.scale - 1
            rois = torch.tensor([[0.0, 0, 0, side, side]] * 20)
            for one in (features, channels_last(features)):
                found = self.call(one, rois, variant).float()
                expected = self.call(one.float(), rois, variant)
                assert (found - expected).abs().max() <= 2 * torch.finfo(dtype).eps * 0.1

    # ------------------------------------------------------------------ order and repeatability

    def test_gradient_keeps_the_memory_order(self, compiled, make_rois, variant):
        features, rois = self.inputs(make_rois, variant)
        for order in (torch.contiguous_format, torch.channels_last):
            leaf = features.detach().contiguous(memory_format=order).requires_grad_()
            self.call(leaf, rois, variant).sum().backward()
            assert leaf.grad.stride() == leaf.stride()

    def test_same_bits_at_every_run_and_thread_count(self, backend, make_rois, variant):  # O20
        features, rois = self.inputs(
            make_rois, variant, count=300, height=20, width=30, dtype=torch.float32
        )
        features = channels_last(features).requires_grad_()
        gradient = torch.randn(self.call(features, rois, variant).shape)
        results = []
        before = torch.get_num_threads()
        for count in (*threads_to_try(), before):
            torch.set_num_threads(count)
            found = self.call(features, rois, variant)
            results.append((found, *torch.autograd.grad(found, features, gradient)))
        torch.set_num_threads(before)
        for found, back in results[1:]:
            assert torch.equal(found, results[0][0])
            assert torch.equal(back, results[0][1])

    def test_permuted_rois(self, backend, make_rois, variant):  # O20
        features, rois = self.inputs(make_rois, variant, count=200, dtype=torch.float32)
        features.requires_grad_()
        order = torch.randperm(len(rois))
        found = self.call(features, rois, variant)
        other = self.call(features, rois[order], variant)
        if self.rows_are_independent:
            assert torch.equal(found[order], other)
            gradient = torch.randn_like(found)
            (a,) = torch.autograd.grad(found, features, gradient)
            (b,) = torch.autograd.grad(other, features, gradient[order])
            assert (a - b).abs().max() <= 1e-6 * max(1.0, float(a.abs().max()))

    rows_are_independent = True
    """False where `call` derives more than the RoI row from the row's place (random offsets)."""

    # ------------------------------------------------------------------ worlds

    def test_rois_get_no_gradient(self, backend, make_rois, any_variant):  # O15
        features, rois = self.inputs(make_rois, any_variant, dtype=torch.float32)
        rois.requires_grad_()
        self.call(features.requires_grad_(), rois, any_variant).sum().backward()
        assert rois.grad is None
        assert not self.call(features.detach(), rois, any_variant).requires_grad

    def test_no_grad_and_inference_mode(self, backend, make_rois, variant):  # O17
        features, rois = self.inputs(make_rois, variant)
        expected = self.call(features.requires_grad_(), rois, variant).detach()
        with torch.no_grad():
            assert torch.equal(self.call(features, rois, variant), expected)
        with torch.inference_mode():
            assert torch.equal(self.call(features, rois, variant), expected)

    def test_autocast_leaves_the_rois_alone(self, backend, any_variant):  # O17
        # 1003.5 is not a bfloat16 number: rounded to one, the RoI would end in another cell.
        features = torch.arange(100.0).expand(1, any_variant.channels, 1, 100).contiguous()
        rois = torch.tensor([[0.0, 995.4, 0, 1003.5, 15]])
        rois[:, 1:] *= 1 / self.scale / 16
        convolve = torch.nn.Conv2d(any_variant.channels, any_variant.channels, 1)
        with torch.autocast("cpu", torch.bfloat16):
            maps = convolve(features)
            assert maps.dtype == torch.bfloat16
            found = self.call(maps, rois, any_variant)
        assert found.dtype == torch.bfloat16
        expected = self.define(maps.detach().double(), rois, any_variant)
        assert (found.double() - expected).abs().max() <= 4e-3 * expected.abs().max()

    def test_opcheck(self, compiled, make_rois, any_variant):  # O17
        features, rois = self.inputs(make_rois, any_variant, count=6, dtype=torch.float32)
        for one in (features, channels_last(features)):
            leaf = one.detach().requires_grad_()
            for operator, arguments in self.opcheck_calls(leaf, rois, any_variant):
                torch.library.opcheck(operator, arguments)

    def test_compiles_as_one_graph(self, backend, make_rois, any_variant):  # O17
        torch.compiler.reset()  # every operator compiles the same few lines: none counts as another
        features, _ = self.inputs(make_rois, any_variant)
        features.requires_grad_()
        traced = torch.compile(
            lambda maps, rois: self.call(maps, rois, any_variant) * 2,
            fullgraph=True,
            backend="aot_eager",
            dynamic=True,
        )
        for count in (7, 12):
            _, rois = self.inputs(make_rois, any_variant, count=count)
            expected = self.call(features, rois, any_variant) * 2
            found = traced(features, rois)
            assert (found - expected).abs().max() <= 1e-12
            gradient = torch.randn_like(expected)
            (a,) = torch.autograd.grad(expected, features, gradient)
            (b,) = torch.autograd.grad(found, features, gradient)
            assert (a - b).abs().max() <= 1e-12

    def test_exports_with_any_number_of_rois(self, backend, make_rois, any_variant):
        features, rois = self.inputs(make_rois, any_variant, count=4, dtype=torch.float32)
        contract = self

        class Call(torch.nn.Module):
            def forward(self, features, rois):
                return contract.call(features, rois, any_variant)

        shapes = ({}, {0: torch.export.Dim("rois", min=2)})
        program = torch.export.export(Call(), (features, rois), dynamic_shapes=shapes)
        _, more = self.inputs(make_rois, any_variant, count=11)
        found = program.module()(features, more)
        assert (found - self.call(features, more, any_variant)).abs().max() <= 1e-5

    def test_64_bit_shapes_in_the_fake(self, compiled, any_variant):  # O18
        with torch._subclasses.FakeTensorMode():
            features = torch.empty(1, any_variant.channels, 10, 10)
            expected = self.call(features, torch.empty(3, 5), any_variant).shape[1:]
            count = 2**31 // expected.numel() + 1
            found = self.call(features, torch.empty(count, 5), any_variant)
        assert found.shape == (count, *expected)
        assert found.numel() > 2**31

    def test_a_repeated_roi_at_size(self, compiled, any_variant):  # O19
        features = torch.randn(1, any_variant.channels, 5, 6, dtype=torch.float64)
        rois = torch.tensor([[0.0, 3, 4, 50, 60]])
        rois[:, 1:] *= 1 / self.scale / 16
        found = self.call(features, rois.repeat(20_000, 1), any_variant)
        if self.rows_are_independent:
            assert torch.equal(found, found[:1].expand_as(found))
