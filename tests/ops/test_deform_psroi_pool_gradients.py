"""deform_psroi_pool: its values in a second, independent way, and its gradients to the offsets."""

import pytest
import torch
from deform_offsets import offsets_of

from rfcn.ops.deform_psroi_pool import deform_psroi_pool
from rfcn.ops.reference import deform_psroi_pool as reference

SCALE = 1 / 16

# ------------------------------------------------------------------------ a second way


def test_many_samples_approach_the_integral(backend):
    # The mean of a bilinear surface over a bin, by exact integration of its pieces (Simpson's rule
    # is exact on each: between rows and columns of cells, the surface is a polynomial).
    torch.manual_seed(0)
    features = torch.randn(1, 4, 8, 8, dtype=torch.float64)
    rois = torch.tensor([[0.0, 20, 24, 99, 95]], dtype=torch.float64)  # inside, no clamping
    found = [deform_psroi_pool(features, rois, None, 2, SCALE, samples=n)[0, 0] for n in (64, 128)]
    left, top, width, height = 20 / 16 - 0.5, 24 / 16 - 0.5, 80 / 16 / 2, 72 / 16 / 2

    def line(begin, length):  # nodes and weights of a mean over [begin, begin + length]
        inner = torch.arange(8.0, dtype=torch.float64)
        inner = inner[(inner > begin) & (inner < begin + length)]
        ends = torch.tensor([begin, begin + length], dtype=torch.float64)
        edges = torch.cat([ends[:1], inner, ends[1:]])
        a, b = edges[:-1], edges[1:]
        nodes = torch.cat([a, (a + b) / 2, b])
        return nodes, torch.cat([b - a, 4 * (b - a), b - a]) / 6 / length

    def tent(nodes):  # bilinear interpolation as a matrix [nodes, 8]
        return (1 - (nodes[:, None] - torch.arange(8.0)).abs()).clamp(min=0)

    for i in range(2):
        for j in range(2):
            y, weights_y = line(top + i * height, height)
            x, weights_x = line(left + j * width, width)
            values = tent(y) @ features[0, 2 * i + j] @ tent(x).T
            mean = weights_y @ values @ weights_x
            coarse, fine = (abs(float(one[i, j] - mean)) for one in found)
            assert fine < 0.02
            assert fine < 0.6 * coarse + 1e-4  # samples lie at the left: the error halves


def test_offset_of_one_bin_is_the_moved_roi(backend):
    torch.manual_seed(0)
    k, features = 3, torch.randn(1, 2 * 9, 30, 30, dtype=torch.float64)
    same = features.clone()
    same[:, :] = features[:, :1]  # every bin reads the same map, so that bins may be compared
    rois = torch.tensor(
        [[0.0, 100, 120, 195, 215]], dtype=torch.float64
    )  # 96 pixels: bins of 2 cells
    offsets = torch.zeros(1, 1, 2, k, k, dtype=torch.float64)
    offsets[:, :, 0] = 10 / k  # 1 / k of the side, at a scale of 0.1
    shifted = rois + torch.tensor([0.0, 32, 0, 32, 0])
    for maps in (features, same):
        found = deform_psroi_pool(maps, rois, offsets, k, SCALE)
        expected = deform_psroi_pool(maps, shifted, None, k, SCALE)
        assert (found - expected).abs().max() <= 1e-12
    plain = deform_psroi_pool(same, rois, None, k, SCALE)
    assert (found[..., :-1] - plain[..., 1:]).abs().max() <= 1e-12


def test_linear_maps_give_the_mean_sample_position(backend, make_rois):
    k, samples, classes = 3, 4, 2
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(50.0), indexing="ij")
    plane = (2 * columns - 3 * rows + 1).double()
    features = plane.expand(1, classes * k * k, 40, 50)
    g = torch.Generator().manual_seed(3)
    corners = 300 + 200 * torch.rand(80, 4, generator=g)  # far from the border, even when shifted
    rois = torch.cat([torch.zeros(80, 1), corners.sort(dim=1).values[:, [0, 1, 2, 3]]], dim=1)
    rois = rois.round().double()
    offsets = torch.randn(80, classes, 2, k, k, generator=g).clamp(-2, 2).double()
    found = deform_psroi_pool(features, rois, offsets, k, SCALE, samples=samples)
    start, end = rois[:, 1:3] * SCALE - 0.5, (rois[:, 3:] + 1) * SCALE - 0.5
    side = end - start
    p = torch.arange(k)[None, :, None] + (samples - 1) / 2 / samples
    middle = start[:, None] + p * side[:, None] / k  # [R, k, 2]
    x = middle[:, None, None, :, 0] + 0.1 * offsets[:, :, 0] * side[:, 0, None, None, None]
    y = middle[:, None, :, None, 1] + 0.1 * offsets[:, :, 1] * side[:, 1, None, None, None]
    assert (found - (2 * x - 3 * y + 1)).abs().max() <= 1e-9


# ------------------------------------------------------------------------------------- gradients

BORDERS = torch.tensor(
    [
        [0.0, 0, 0, 47, 63],
        [1, 32, 48, 47, 63],
        [1, -20, -9, 5, 80],
        [0, 40, 8, 400, 9],
        [0, 30, 30, 10, 10],
        [1, 500, 500, 600, 600],
        [0, 7.5, 8.5, 23.5, 40.5],
    ],
    dtype=torch.float64,
)


@pytest.mark.parametrize("groups", [1, 2])
def test_gradcheck_with_offsets_at_the_borders(backend, groups):
    torch.manual_seed(groups)
    features = torch.randn(2, 8, 4, 3, dtype=torch.float64, requires_grad=True)
    offsets = torch.randn(7, groups, 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def call(maps, moves):
        return deform_psroi_pool(maps, BORDERS, moves, 2, SCALE, samples=3)

    assert torch.autograd.gradcheck(call, (features, offsets))
    assert torch.autograd.gradgradcheck(call, (features, offsets), fast_mode=True)  # O17


@pytest.mark.parametrize("groups", [1, 2, 6])
@pytest.mark.parametrize("order", ["planes", "channels-last", "by bin"])
def test_gradient_of_offsets_matches_the_definition(backend, make_rois, groups, order):
    torch.manual_seed(0)
    features = torch.randn(2, 6 * 4, 9, 12, dtype=torch.float64)
    if order == "channels-last":
        features = features.contiguous(memory_format=torch.channels_last)
    if order == "by bin":
        maps = features.unflatten(1, (6, 2, 2)).permute(0, 4, 5, 2, 3, 1).contiguous()
        features = maps.permute(0, 5, 3, 4, 1, 2)
    rois = make_rois(100, 2, 144, 192, dtype=torch.float64)
    offsets = torch.randn(100, groups, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    pooled = deform_psroi_pool(features, rois, offsets, 2, SCALE)
    gradient = torch.randn_like(pooled)
    (found,) = torch.autograd.grad(pooled, offsets, gradient)
    _, expected = reference.deform_psroi_pool_backward(
        gradient, features.reshape(2, 24, 9, 12), rois, offsets, reference.Sampling(2, SCALE)
    )
    assert (found - expected).abs().max() <= 1e-12
    assert expected.abs().max() > 1


def test_slopes_at_exact_cells_and_clamped_are_zero(backend):
    # One sample a bin, on columns -0.5 (clamped), 0 (a cell), 0.25; row 0.25 has its own slope.
    features = torch.tensor([[1.0, 10.0], [100.0, 1000.0]]).view(1, 1, 2, 2).double()
    rois = torch.tensor([[0.0, x, 12, x, 12] for x in (0.0, 8, 12)], dtype=torch.float64)
    offsets = torch.zeros(3, 1, 2, 1, 1, dtype=torch.float64, requires_grad=True)
    pooled = deform_psroi_pool(features, rois, offsets, 1, SCALE, samples=1)
    pooled.sum().backward()
    moved = 0.1 * 0.1  # a side of 0.1 cell, times the offset scale
    across = 0.75 * 9 + 0.25 * 900
    down = [99.0, 99.0, 0.75 * 99 + 0.25 * 990]
    assert offsets.grad[:, 0, 0, 0, 0].tolist() == pytest.approx([0, 0, across * moved])
    assert offsets.grad[:, 0, 1, 0, 0].tolist() == pytest.approx([one * moved for one in down])


def test_second_gradients_in_half_the_tensors(backend):
    offsets = torch.randn(7, 1, 2, 2, 2, dtype=torch.float64)
    features = torch.randn(2, 8, 4, 3, dtype=torch.float64)

    def squared(maps, moves):
        return deform_psroi_pool(maps, BORDERS, moves, 2, SCALE, samples=2) ** 2

    leaf = features.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda maps: squared(maps, offsets), leaf, fast_mode=True)
    leaf = offsets.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(
        lambda moves: squared(features, moves), leaf, fast_mode=True
    )


def test_same_bits_of_the_offsets_gradient(backend, make_rois):  # O20
    rois = make_rois(300, 1, 320, 480)
    features = torch.randn(1, 21 * 9, 20, 30)
    gradient = torch.randn(300, 21, 3, 3)
    results, before = [], torch.get_num_threads()
    for threads in (1, 2, before):
        torch.set_num_threads(threads)
        offsets = offsets_of(rois, 21, 3).requires_grad_()
        pooled = deform_psroi_pool(features, rois, offsets, 3, SCALE)
        results.append(torch.autograd.grad(pooled, offsets, gradient)[0])
    torch.set_num_threads(before)
    assert all(torch.equal(one, results[0]) for one in results)


def test_offsets_learn_where_the_blob_is(backend):
    # One bright blob off the centre of the RoI: gradient ascent moves the bin onto it.
    y, x = torch.meshgrid(torch.arange(20.0), torch.arange(20.0), indexing="ij")
    features = torch.exp(-((x - 12) ** 2 + (y - 9) ** 2) / 18)[None, None]
    rois = torch.tensor([[0.0, 80, 80, 200, 200]])
    offsets = torch.zeros(1, 1, 2, 1, 1, requires_grad=True)
    first = deform_psroi_pool(features, rois, offsets, 1, SCALE)
    for _ in range(100):
        pooled = deform_psroi_pool(features, rois, offsets, 1, SCALE)
        (step,) = torch.autograd.grad(pooled.sum(), offsets)
        offsets = (offsets + 30 * step).detach().requires_grad_()
    assert pooled.item() > 1.1 * first.item()
    # The samples' mean is 1.5 / 4 of the side of 7.5625 cells from its start at 4.5 cells.
    expected = [(to - 4.5 - 1.5 / 4 * 7.5625) / 0.75625 for to in (12, 9)]
    assert offsets[0, 0, :, 0, 0].tolist() == pytest.approx(expected, abs=0.3)
