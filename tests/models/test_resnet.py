import pytest
import torch
import torchvision
from torch import nn
from torch.testing import assert_close

from rfcn.models.deformable import DeformableConv2d
from rfcn.models.normalization import FrozenBatchNorm
from rfcn.models.resnet import STAGES, ResNet

DEPTHS = (18, 34, 50, 101, 152)


def on_meta(depth, **settings):
    """A ResNet without memory: shapes and settings only."""
    with torch.device("meta"):
        return ResNet(depth, **settings)


def stage_of(name):
    """1 for conv1, ... from a parameter's torchvision name."""
    return next(
        n for n, names in enumerate(STAGES.values(), start=1) if name.split(".")[0] in names
    )


@pytest.mark.parametrize(
    ("depth", "conv4", "conv5"),
    [(18, 256, 512), (34, 256, 512), (50, 1024, 2048), (101, 1024, 2048), (152, 1024, 2048)],
)
@pytest.mark.parametrize("size", [(600, 1000), (599, 993), (600, 1001), (1, 1)])
def test_both_maps_have_stride_16(depth, conv4, conv5, size):
    """rfcn.md B3b: 38 x 63 cells at 600 x 1000."""
    network = on_meta(depth)
    features = network(torch.empty(2, 3, *size, device="meta"))
    cells = tuple(-(-side // 16) for side in size)
    if size == (600, 1000):
        assert cells == (38, 63)
    assert network.stride == 16
    assert features.rpn.shape == (2, network.rpn_channels, *cells) == (2, conv4, *cells)
    assert features.roi.shape == (2, network.roi_channels, *cells) == (2, conv5, *cells)


def test_real_maps_of_a_published_picture():
    network = ResNet(18).eval()
    with torch.no_grad():
        features = network(torch.randn(1, 3, 600, 1000))
    assert features.rpn.shape == (1, 256, 38, 63)
    assert features.roi.shape == (1, 512, 38, 63)
    assert features.roi.isfinite().all()


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_3x3_convolution_of_conv5_is_dilated(depth):
    network = on_meta(depth)
    plain = on_meta_torchvision(depth)
    blocks = len(network.layer4)
    three_by_three = 0
    for name, layer in network.named_modules():
        if not isinstance(layer, nn.Conv2d):
            continue
        published = plain.get_submodule(name)
        if not name.startswith("layer4"):
            assert (layer.stride, layer.dilation) == (published.stride, published.dilation)
            continue
        assert layer.stride == (1, 1)
        if layer.kernel_size == (3, 3):
            three_by_three += 1
            assert layer.dilation == layer.padding == (2, 2)
        else:
            assert (layer.dilation, layer.padding) == ((1, 1), (0, 0))
    assert three_by_three == blocks * (2 if depth < 50 else 1)


def on_meta_torchvision(depth):
    with torch.device("meta"):
        return torchvision.models.get_model(f"resnet{depth}", weights=None)


@pytest.fixture(params=[18, 50])
def pair(request):
    """torchvision's own network, with batch norms that matter, and ours with its weights."""
    torch.manual_seed(0)
    published = torchvision.models.get_model(f"resnet{request.param}", weights=None).eval()
    for layer in published.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(std=0.1)
            layer.running_var.uniform_(0.5, 2)
    network = ResNet(request.param).eval()
    missing, unexpected = network.load_state_dict(published.state_dict(), strict=False)
    assert missing == []
    assert all(name.startswith("fc.") or "num_batches" in name for name in unexpected)
    return published, network


@torch.no_grad()
def test_conv4_equals_that_of_torchvision(pair):
    published, network = pair
    images = torch.randn(2, 3, 64, 96)
    x = published.maxpool(published.relu(published.bn1(published.conv1(images))))
    conv4 = published.layer3(published.layer2(published.layer1(x)))
    assert_close(network(images).rpn, conv4)


@torch.no_grad()
def test_holes_compute_what_conv5_would_on_every_second_cell(pair):
    """The hole algorithm: dilation 2 on a map is dilation 1 on each of its four sub-maps, so a
    block of conv5 without stride answers there what torchvision's does."""
    published, network = pair
    x = torch.randn(2, network.roi_channels, 6, 8)
    dense = network.layer4[1](x)
    for row, column in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        assert_close(
            dense[:, :, row::2, column::2], published.layer4[1](x[:, :, row::2, column::2])
        )


@pytest.mark.parametrize("frozen_stages", range(5))
def test_frozen_stages_never_get_gradients(frozen_stages):
    network = on_meta(18, frozen_stages=frozen_stages)
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad == (stage_of(name) > frozen_stages), name


@pytest.mark.parametrize("depth", DEPTHS)
def test_all_batch_norms_are_frozen_by_default(depth):
    network = on_meta(depth).train()
    norms = [layer for layer in network.modules() if isinstance(layer, FrozenBatchNorm)]
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert len(norms) == len(convolutions)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    assert not any("bn" in name for name, _ in network.named_parameters())


def test_resnet_101_has_104_frozen_norms():
    """rfcn.md B2: 104 pairs of BN and Scale in the released ResNet-101."""
    norms = [layer for layer in on_meta(101).modules() if isinstance(layer, FrozenBatchNorm)]
    assert len(norms) == 104


@pytest.mark.parametrize(("kind", "expected"), [("group", nn.GroupNorm), ("batch", nn.BatchNorm2d)])
@pytest.mark.parametrize("depth", [18, 50])
def test_a_conv5_from_scratch_gets_a_live_norm(depth, kind, expected):
    network = on_meta(depth, conv5_norm=kind)
    live = [name for name, layer in network.named_modules() if isinstance(layer, expected)]
    assert live
    assert all(name.startswith("layer4.") for name in live)
    assert not any(isinstance(layer, FrozenBatchNorm) for layer in network.layer4.modules())
    trained = dict(network.named_parameters())
    assert all(trained[f"{name}.weight"].requires_grad for name in live)
    features = network(torch.empty(1, 3, 64, 64, device="meta"))
    assert features.roi.shape == (1, network.roi_channels, 4, 4)


def test_gradients_reach_conv3_to_conv5_only():
    network = ResNet(18)
    features = network(torch.randn(1, 3, 64, 64))
    (features.rpn.sum() + features.roi.sum()).backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == (stage_of(name) > 2), name


# ------------------------------------------------------------------------------- other conv5s


@pytest.mark.parametrize("depth", [18, 50])
def test_conv5_of_stride_32_is_torchvisions(depth):
    network, plain = on_meta(depth, conv5="stride_32"), on_meta_torchvision(depth)
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d):
            published = plain.get_submodule(name)
            assert (layer.stride, layer.dilation) == (published.stride, published.dilation)
    features = network(torch.empty(1, 3, 600, 1000, device="meta"))
    assert features.rpn.shape[-2:] == (38, 63)
    assert features.roi.shape[-2:] == (19, 32)
    assert (network.stride, network.roi_stride) == (16, 32)


@pytest.mark.parametrize(("depth", "blocks"), [(18, 2), (50, 3), (101, 3)])
def test_the_last_3x3_of_each_deformable_block_is_deformable(depth, blocks):
    network = on_meta(depth, conv5="deformable")
    found = [n for n, one in network.named_modules() if isinstance(one, DeformableConv2d)]
    assert found == [f"layer4.{block}.conv2" for block in range(blocks)]
    assert network.layer4[0].conv2.dilation == network.layer4[0].conv2.offset.dilation == (2, 2)


@torch.no_grad()
def test_zero_offsets_are_no_offsets():
    torch.manual_seed(0)
    plain, deformable = ResNet(18).eval(), ResNet(18, conv5="deformable").eval()
    deformable.load_state_dict(plain.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 96)
    assert_close(deformable(images).roi, plain(images).roi)


@torch.no_grad()
def test_conv5_split_off_is_run_by_somebody_else():
    torch.manual_seed(0)
    network = ResNet(18, conv5="stride_32").eval()
    whole = network(torch.ones(1, 3, 64, 64))
    tail = network.split_off_tail()
    rest = network(torch.ones(1, 3, 64, 64))
    assert_close(rest.rpn, whole.rpn)
    assert_close(rest.roi, whole.rpn)
    assert (network.roi_channels, network.roi_stride, tail.channels) == (256, 16, 512)
    assert_close(tail.body(rest.roi), whole.roi.mean((2, 3)))


def test_the_trunk_ends_where_proposals_read():
    network = ResNet(18)
    images = torch.randn(1, 3, 64, 64)
    features = network(images)
    assert torch.equal(network.trunk(images), features.rpn)
    assert torch.equal(network.above_trunk(features.rpn), features.roi)


# --------------------------------------------------------------------------- Caffe's way to halve


def test_caffe_style_strides_in_the_first_1x1():
    network, plain = on_meta(50, style="caffe", conv5="stride_32"), on_meta_torchvision(50)
    for stage in ("layer2", "layer3", "layer4"):
        block, published = network.get_submodule(stage)[0], plain.get_submodule(stage)[0]
        assert block.conv1.stride == block.downsample[0].stride == (2, 2)
        assert (block.conv2.stride, published.conv2.stride) == ((1, 1), (2, 2))
        assert all(layer.stride == (1, 1) for b in network.get_submodule(stage)[1:]
                   for layer in b.modules() if isinstance(layer, nn.Conv2d))  # fmt: skip
    holes = on_meta(50, style="caffe").layer4[0]
    assert holes.conv1.stride == holes.conv2.stride == (1, 1)
    assert holes.conv2.dilation == (2, 2)
    assert set(on_meta(50, style="caffe").state_dict()) == set(on_meta(50).state_dict())


@pytest.mark.parametrize("size", [(600, 1000), (599, 993), (17, 35), (3, 3), (98, 49)])
def test_caffe_style_maps_have_caffes_sizes(size):
    """Caffe: floor((n + 6 - 7) / 2) + 1 after conv1, ceil((n - 3) / 2) + 1 after the pool, then
    twice floor((n - 1) / 2) + 1."""

    def cells(side):
        side = (side + 6 - 7) // 2 + 1
        side = -(-(side - 3) // 2) + 1
        for _ in range(2):
            side = (side - 1) // 2 + 1
        return side

    network = on_meta(50, style="caffe")
    maps = network(torch.empty(1, 3, *size, device="meta"))
    assert maps.rpn.shape[-2:] == maps.roi.shape[-2:] == tuple(map(cells, size))


def slow_pool(x):
    """3x3 maximum at every second place, no padding, the last window cut where the map ends."""
    sides = [-(-(side - 3) // 2) + 1 for side in x.shape[-2:]]
    columns = [
        [x[:, :, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3].amax((2, 3)) for j in range(sides[1])]
        for i in range(sides[0])
    ]
    return torch.stack([torch.stack(row, dim=-1) for row in columns], dim=-2)


@torch.no_grad()
@pytest.mark.parametrize("size", [(40, 52), (41, 54)])
def test_caffe_style_pools_as_a_slow_reference(size):
    network = ResNet(18, style="caffe").eval()
    x = torch.randn(2, 5, *size)
    assert torch.equal(network.pool1(x), slow_pool(x))


@torch.no_grad()
def test_caffe_style_blocks_equal_a_slow_reference():
    """A bottleneck that strides first is one that reads every second cell and never strides."""
    torch.manual_seed(0)
    block = ResNet(50, style="caffe").eval().layer2[0]
    x = torch.randn(1, 256, 9, 12)
    every_second = x[:, :, ::2, ::2]
    y = torch.relu(block.bn1(torch.conv2d(every_second, block.conv1.weight)))
    y = torch.relu(block.bn2(torch.conv2d(y, block.conv2.weight, padding=1)))
    y = block.bn3(torch.conv2d(y, block.conv3.weight))
    shortcut = block.downsample[1](torch.conv2d(every_second, block.downsample[0].weight))
    assert_close(block(x), torch.relu(y + shortcut))
