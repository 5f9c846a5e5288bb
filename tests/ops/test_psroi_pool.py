"""psroi_pool: both backends against the definition, by hand, and in every layout and dtype."""

import functools

import pytest
import torch

from rfcn.ops.psroi_pool import PSRoIPool, psroi_pool
from rfcn.ops.reference import psroi_pool as reference

SCALE = 1 / 16
# k, classes, map height and width, RoIs: 10,000 in each dtype.
CASES = [
    (1, 19, 9, 14, 2400),
    (2, 5, 1, 1, 1200),
    (3, 4, 7, 5, 3200),
    (5, 2, 12, 3, 1600),
    (7, 3, 13, 18, 1600),
]


def by_bin(features, k):
    """The same maps with the classes of a cell side by side in memory, as [N, C, k, k, H, W]."""
    maps = features.unflatten(1, (-1, k, k))
    return maps.permute(0, 4, 5, 2, 3, 1).contiguous().permute(0, 5, 3, 4, 1, 2)


@pytest.fixture(scope="module")
def defined(make_rois):
    """Maps, RoIs and what the definition makes of them, computed once for both backends."""

    @functools.cache
    def make(case, dtype):
        k, classes, height, width, count = case
        torch.manual_seed(k)
        features = torch.randn(2, classes * k * k, height, width, dtype=dtype)
        rois = make_rois(count, 2, height * 16, width * 16, seed=k, dtype=dtype)
        return features, rois, reference.psroi_pool(features, rois, k, SCALE)

    return make


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("case", CASES)
def test_10000_random_rois_match_the_definition(
    backend, defined, case, dtype, tolerance
):  # O1, O2, O3, O4, O11
    features, rois, expected = defined(case, dtype)
    pooled = psroi_pool(features, rois, case[0], SCALE)
    assert pooled.dtype == dtype
    assert (pooled.double() - expected).abs().max() <= tolerance
    empty = (expected == 0).flatten(1).all(dim=1)
    assert empty.any()  # RoIs do lie outside ...
    assert not empty.all()  # ... and inside


@pytest.mark.parametrize("scale", [1.0, 0.0625, 0.1, 1 / 3])
@pytest.mark.parametrize("roi_dtype", [torch.float32, torch.float64])
def test_edges_that_fall_on_whole_numbers(backend, make_rois, scale, roi_dtype):
    features = torch.randn(1, 2 * 9, 11, 13, dtype=torch.float64)
    rois = make_rois(300, 1, 11 / scale, 13 / scale, seed=4, dtype=roi_dtype).round()
    expected = reference.psroi_pool(features, rois, 3, scale)
    assert (psroi_pool(features, rois, 3, scale) - expected).abs().max() <= 1e-12


def test_by_hand(backend):
    # Columns 0..3 of a 4 x 4 map hold 0, 1, 2, 3; channel (i, j) adds 10 i + 100 j.
    plane = torch.arange(4.0).expand(4, 4)
    offsets = torch.tensor([0.0, 100.0, 10.0, 110.0])
    features = (plane + offsets[:, None, None])[None]
    whole = torch.tensor([[0.0, 0, 0, 3, 3]])  # inclusive corners: all four columns and rows
    assert psroi_pool(features, whole, 2, 1.0).tolist() == [[[[0.5, 102.5], [10.5, 112.5]]]]
    # Width 3: bins 0..1.5 and 1.5..3 share column 1.
    odd = torch.tensor([[0.0, 0, 0, 2, 2]])
    assert psroi_pool(features, odd, 2, 1.0).tolist() == [[[[0.5, 101.5], [10.5, 111.5]]]]
    # 0.5 rounds away from zero to 1, -0.5 to -1: columns 1..2, and rows -1..1 cut to 0..1.
    half = torch.tensor([[0.0, 0.5, -0.5, 1.5, 0.5]])
    assert psroi_pool(features, half, 2, 1.0)[0, 0].tolist() == [[1.0, 102.0], [11.0, 112.0]]


def test_channel_order_is_class_row_column(backend):
    features = torch.arange(2 * 9.0).view(1, 18, 1, 1).expand(1, 18, 6, 6)
    pooled = psroi_pool(features, torch.tensor([[0.0, 0, 0, 5, 5]]), 3, 1.0)
    assert torch.equal(pooled.flatten(), torch.arange(18.0))


def test_nan_and_inf_stay_in_their_bins(backend):
    features = torch.ones(1, 8, 4, 4, dtype=torch.float64)
    features[0, 0, 0, 0] = torch.nan
    features[0, 5, 1, 3] = torch.inf
    features[0, 6, 2:, 0] = torch.tensor([torch.inf, -torch.inf])
    rois = torch.tensor([[0.0, 0, 0, 3, 3], [0, 2, 2, 3, 3]])
    expected = torch.ones(2, 2, 2, 2, dtype=torch.float64)
    expected[0, 0, 0, 0] = torch.nan
    expected[0, 1, 0, 1] = torch.inf
    expected[0, 1, 1, 0] = torch.nan
    assert torch.equal(psroi_pool(features, rois, 2, 1.0).isnan(), expected.isnan())
    torch.testing.assert_close(psroi_pool(features, rois, 2, 1.0), expected, equal_nan=True)


@pytest.mark.parametrize(("count", "classes"), [(3, 21), (200, 21), (200, 8), (200, 3)])
@pytest.mark.parametrize("k", [1, 3])
def test_every_memory_order_gives_the_same(backend, make_rois, count, classes, k):  # O14
    plain = torch.randn(2, classes * k * k, 9, 20, dtype=torch.float64)
    rois = make_rois(count, 2, 144, 320)
    wide = torch.zeros(2, classes * k * k, 18, 41, dtype=torch.float64)
    wide[:, :, ::2, 1::2] = plain
    orders = {
        "planes": plain,
        "channels-last": plain.contiguous(memory_format=torch.channels_last),
        "by bin": by_bin(plain, k),
        "every other cell": wide[:, :, ::2, 1::2],
        "transposed": plain.transpose(2, 3).contiguous().transpose(2, 3),
    }
    gradient = torch.randn(count, classes, k, k, dtype=torch.float64)
    expected = reference.psroi_pool(plain, rois, k, SCALE)
    expected_gradient = reference.psroi_pool_backward(gradient, rois, k, SCALE, plain.shape)
    for name, features in orders.items():
        leaf = features.detach().requires_grad_()
        pooled = psroi_pool(leaf, rois, k, SCALE)
        assert (pooled - expected).abs().max() <= 1e-12, name
        (found,) = torch.autograd.grad(pooled, leaf, gradient)
        assert (found.flatten(1, -3) - expected_gradient).abs().max() <= 1e-12, name


def test_rois_may_be_a_view_and_pictures_expanded(backend, make_rois):  # O14
    rois = make_rois(40, 3, 96, 96)
    features = torch.randn(1, 8, 6, 6, dtype=torch.float64, requires_grad=True)
    pooled = psroi_pool(features.expand(3, 8, 6, 6), rois.t().contiguous().t(), 2, SCALE)
    expected = reference.psroi_pool(features.expand(3, 8, 6, 6), rois, 2, SCALE)
    assert (pooled - expected).abs().max() <= 1e-12
    pooled.sum().backward()
    assert features.grad is not None
    gradient = torch.ones(40, 2, 2, 2, dtype=torch.float64)
    shape = (3, 8, 6, 6)
    by_definition = reference.psroi_pool_backward(gradient, rois, 2, SCALE, shape).sum(0)
    assert (features.grad[0] - by_definition).abs().max() <= 1e-12


@pytest.mark.parametrize("memory_order", ["planes", "channels-last"])
def test_gradients_of_any_stride(backend, make_rois, memory_order):  # O14: .sum(), vote, transposed
    rois = make_rois(60, 1, 96, 160)
    features = torch.randn(1, 5 * 9, 6, 10, dtype=torch.float64)
    if memory_order == "channels-last":
        features = features.contiguous(memory_format=torch.channels_last)
    features.requires_grad_()
    gradients = {
        "one number": torch.tensor(2.0, dtype=torch.float64).expand(60, 5, 3, 3),
        "vote": torch.randn(60, 5, 1, 1, dtype=torch.float64).expand(60, 5, 3, 3),
        "transposed": torch.randn(60, 5, 3, 3, dtype=torch.float64).transpose(2, 3),
        "contiguous": torch.randn(60, 5, 3, 3, dtype=torch.float64),
    }
    for name, gradient in gradients.items():
        pooled = psroi_pool(features, rois, 3, SCALE)
        (found,) = torch.autograd.grad(pooled, features, gradient)
        expected = reference.psroi_pool_backward(gradient, rois, 3, SCALE, features.shape)
        assert (found - expected).abs().max() <= 1e-12, name


def test_gradcheck_at_the_borders(backend):
    features = torch.randn(2, 8, 4, 3, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor(
        [
            [0.0, 0, 0, 47, 63],
            [1, 32, 48, 47, 63],
            [1, -20, -9, 5, 80],
            [0, 40, 8, 400, 9],
            [0, 30, 30, 10, 10],
            [1, 500, 500, 600, 600],
            [0, 7.5, 8.5, 23.5, 40.5],
        ]
    )
    pool = PSRoIPool(2, SCALE)
    assert torch.autograd.gradcheck(lambda maps: pool(maps, rois), features)
    assert torch.autograd.gradgradcheck(lambda maps: pool(maps, rois) ** 2, features)  # O17


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_order", ["planes", "channels-last", "by bin"])
def test_half_precision_accumulates_wider(backend, dtype, memory_order):  # O12
    features = torch.full((1, 4, 64, 64), 0.1).to(dtype)
    features[:, :, 32:] = 3.0  # 2,048 cells of each: a half sum would stick
    if memory_order == "channels-last":
        features = features.contiguous(memory_format=torch.channels_last)
    maps = by_bin(features, 1) if memory_order == "by bin" else features
    pooled = psroi_pool(maps, torch.tensor([[0.0, 0, 0, 63, 63]] * 40), 1, 1.0)
    expected = features.float().mean(dim=(2, 3))[:, :, None, None].to(dtype)
    assert pooled.dtype == dtype
    assert torch.equal(pooled, expected.expand(40, 4, 1, 1))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_gradient(backend, make_rois, dtype):  # O12
    features = torch.randn(1, 12, 5, 6).to(dtype).requires_grad_()
    rois = make_rois(200, 1, 80, 96)
    gradient = torch.randn(200, 3, 2, 2).to(dtype)
    (found,) = torch.autograd.grad(psroi_pool(features, rois, 2, SCALE), features, gradient)
    expected = reference.psroi_pool_backward(gradient, rois, 2, SCALE, features.shape)
    assert found.dtype == dtype
    tolerance = 2 * torch.finfo(dtype).eps * (1 + expected.abs())
    assert ((found.double() - expected).abs() <= tolerance).all()


def test_output_lies_by_bin(backend, make_rois):
    pooled = psroi_pool(torch.randn(1, 27, 5, 6), make_rois(4, 1, 80, 96), 3, SCALE)
    assert pooled.shape == (4, 3, 3, 3)
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_gradient_keeps_the_memory_order_of_the_maps(compiled, make_rois):
    rois = make_rois(9, 2, 80, 96)
    for order in (torch.contiguous_format, torch.channels_last):
        features = torch.randn(2, 27, 5, 6).contiguous(memory_format=order).requires_grad_()
        psroi_pool(features, rois, 3, SCALE).sum().backward()
        assert features.grad.stride() == features.stride()


def test_same_bits_at_every_run_and_thread_count(backend, make_rois):  # O20
    features = torch.randn(2, 21 * 9, 20, 30, requires_grad=True)
    rois = make_rois(500, 2, 320, 480)
    gradient = torch.randn(500, 21, 3, 3)
    results = []
    threads = torch.get_num_threads()
    for count in (1, 2, 2):
        torch.set_num_threads(count)
        pooled = psroi_pool(features, rois, 3, SCALE)
        results.append((pooled, *torch.autograd.grad(pooled, features, gradient)))
    torch.set_num_threads(threads)
    for pooled, found in results[1:]:
        assert torch.equal(pooled, results[0][0])
        assert torch.equal(found, results[0][1])


def test_permuted_rois(backend, make_rois):  # O20
    features = torch.randn(2, 45, 20, 30, requires_grad=True)
    rois = make_rois(500, 2, 320, 480)
    order = torch.randperm(500)
    gradient = torch.randn(500, 5, 3, 3)
    pooled = psroi_pool(features, rois, 3, SCALE)
    other = psroi_pool(features, rois[order], 3, SCALE)
    assert torch.equal(pooled[order], other)
    (a,) = torch.autograd.grad(pooled, features, gradient)
    (b,) = torch.autograd.grad(other, features, gradient[order])
    assert (a - b).abs().max() <= 1e-6 * max(1.0, float(a.abs().max()))


def test_rois_get_no_gradient(backend, make_rois):  # O15
    features = torch.randn(1, 4, 5, 6, requires_grad=True)
    rois = make_rois(5, 1, 80, 96).requires_grad_()
    psroi_pool(features, rois, 2, SCALE).sum().backward()
    assert rois.grad is None
    assert not psroi_pool(features.detach(), rois, 2, SCALE).requires_grad


def test_no_grad_and_inference_mode(backend, make_rois):  # O17
    features = torch.randn(1, 4, 5, 6, requires_grad=True)
    rois = make_rois(5, 1, 80, 96)
    expected = psroi_pool(features, rois, 2, SCALE).detach()
    with torch.no_grad():
        assert torch.equal(psroi_pool(features, rois, 2, SCALE), expected)
    with torch.inference_mode():
        assert torch.equal(psroi_pool(features, rois, 2, SCALE), expected)


def test_autocast_leaves_the_rois_alone(backend):  # O17
    # 1003.5 is not a bfloat16 number: rounded to one, the RoI would end in another cell.
    features = torch.arange(100.0).expand(1, 4, 1, 100).contiguous()
    rois = torch.tensor([[0.0, 995.4, 0, 1003.5, 15]])
    conv = torch.nn.Conv2d(4, 4, 1)
    with torch.autocast("cpu", torch.bfloat16):
        maps = conv(features)
        assert maps.dtype == torch.bfloat16
        pooled = psroi_pool(maps, rois, 1, SCALE)
    assert pooled.dtype == torch.bfloat16
    expected = reference.psroi_pool(maps, rois, 1, SCALE)
    assert torch.equal(pooled.double(), expected.bfloat16().double())


def test_opcheck(compiled, make_rois):  # O17
    rois = make_rois(6, 2, 80, 96)
    planes = torch.randn(2, 3, 2, 2, 5, 6, requires_grad=True)
    last = by_bin(torch.randn(2, 12, 5, 6), 2).requires_grad_()
    for features in (planes, last):
        torch.library.opcheck(torch.ops.rfcn.psroi_pool.default, (features, rois, SCALE))
        gradient = torch.randn(6, 3, 2, 2, requires_grad=True)
        size, stride = list(features.shape), list(features.stride())
        torch.library.opcheck(
            torch.ops.rfcn.psroi_pool_backward.default, (gradient, rois, SCALE, size, stride)
        )


def test_compiles_as_one_graph(backend, make_rois):
    features = torch.randn(2, 27, 5, 6, dtype=torch.float64, requires_grad=True)
    pool = PSRoIPool(3, SCALE)
    traced = torch.compile(
        lambda maps, rois: pool(maps, rois).mean((2, 3)),
        fullgraph=True,
        backend="aot_eager",
        dynamic=True,
    )
    for count in (7, 12):
        rois = make_rois(count, 2, 80, 96, seed=count)
        expected = pool(features, rois).mean((2, 3))
        found = traced(features, rois)
        assert (found - expected).abs().max() <= 1e-12
        gradient = torch.randn_like(expected)
        (a,) = torch.autograd.grad(expected, features, gradient)
        (b,) = torch.autograd.grad(found, features, gradient)
        assert (a - b).abs().max() <= 1e-12


def test_exports_with_any_number_of_rois(backend, make_rois):
    features = torch.randn(2, 27, 5, 6)
    rois = torch.export.Dim("rois", min=2)
    program = torch.export.export(
        PSRoIPool(3, SCALE),
        (features, make_rois(4, 2, 80, 96)),
        dynamic_shapes=({}, {0: rois}),
    )
    more = make_rois(11, 2, 80, 96, seed=1)
    found = program.module()(features, more)
    assert (found - psroi_pool(features, more, 3, SCALE)).abs().max() <= 1e-6


def test_64_bit_shapes_in_the_fake(compiled):  # O18
    with torch._subclasses.FakeTensorMode():
        features = torch.empty(1, 81 * 49, 1000, 1000)
        pooled = psroi_pool(features, torch.empty(3_000_000, 5), 7, SCALE)
    assert pooled.shape == (3_000_000, 81, 7, 7)
    assert pooled.numel() > 2**31


def test_a_repeated_roi_at_size(compiled):  # O19
    features = torch.randn(1, 9, 5, 6, dtype=torch.float64)
    rois = torch.tensor([[0.0, 3, 4, 50, 60]])
    pooled = psroi_pool(features, rois.repeat(100_000, 1), 3, SCALE)
    assert torch.equal(pooled, pooled[:1].expand_as(pooled))


def test_module_prints_its_numbers():
    assert repr(PSRoIPool(7, 1 / 16)) == "PSRoIPool(k=7, spatial_scale=0.0625)"
