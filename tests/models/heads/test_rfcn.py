import pytest
import torch
from torch.testing import assert_close

from rfcn.models.heads.poolers import PositionSensitiveAlign, PositionSensitivePooler
from rfcn.models.heads.rfcn import RFCNHead
from rfcn.models.heads.row_order import convert_rows
from rfcn.ops import library
from rfcn.ops.psroi_align import psroi_align
from rfcn.ops.psroi_pool import psroi_pool

ROIS = torch.tensor(
    [[0.0, 0, 0, 63, 63], [1, 16, 8, 100, 90], [0, 40, 40, 44, 120], [1, -30, -9, 200, 200]]
)


def a_head(*, classes=3, k=3, box_sets=2, stride=16):
    """A small head whose maps are far from zero."""
    torch.manual_seed(0)
    pooler = PositionSensitivePooler(k, stride)
    head = RFCNHead(6, classes=classes, pooler=pooler, reduction=8, box_sets=box_sets)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter)
    return head


def test_features_need_a_pooler_that_reads_every_map():
    with pytest.raises(ValueError, match="form features needs a pooler"):
        RFCNHead(6, classes=3, pooler=PositionSensitiveAlign(3, 16), form="features")


@pytest.mark.parametrize(
    ("classes", "box_sets", "scores", "boxes"),
    [
        (20, 2, 1029, 392),  # VOC, as released
        (80, 2, 3969, 392),  # COCO, as released
        (20, 1, 1029, 196),  # the paper's box maps
        (20, 21, 1029, 4116),  # one set a class
    ],
)
def test_published_channels(classes, box_sets, scores, boxes):
    with torch.device("meta"):
        head = RFCNHead(2048, classes=classes, box_sets=box_sets)
    assert head.reduce.out_channels == 1024
    assert head.score_maps.out_channels == scores
    assert head.box_maps.out_channels == boxes
    assert {layer.kernel_size for layer in (head.reduce, head.score_maps, head.box_maps)} == {
        (1, 1)
    }


def test_published_initial_weights():
    head = RFCNHead(64, classes=20, reduction=512)
    for layer in (head.reduce, head.score_maps, head.box_maps):
        assert abs(layer.weight.std().item() - 0.01) < 1e-3
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("box_sets", [1, 2, 4])
def test_outputs_have_the_promised_shapes(k, box_sets):
    head = a_head(k=k, box_sets=box_sets)
    features = torch.randn(2, 6, 8, 9)
    outputs = head(features, ROIS)
    assert outputs.class_logits.shape == (4, 4)
    assert outputs.box_deltas.shape == (4, box_sets, 4)
    assert outputs.class_logits.isfinite().all()
    nothing = head(features, torch.zeros(0, 5))
    assert nothing.class_logits.shape == (0, 4)
    assert nothing.box_deltas.shape == (0, box_sets, 4)


@pytest.mark.parametrize("k", [1, 3, 7])
def test_the_logits_are_the_mean_of_the_bins(k):
    head = a_head(k=k)
    features = torch.randn(2, 6, 8, 9)
    maps, bins = head.bins(features, ROIS)
    assert maps.shape == (2, 4, k, k, 8, 9)
    assert bins.shape == (4, 4, k, k)
    assert_close(bins.mean(dim=(2, 3)), head(features, ROIS).class_logits)


@pytest.mark.parametrize("form", ["maps", "features"])
@pytest.mark.parametrize("box_sets", [1, 4])
def test_both_forms_give_the_same(form, box_sets):
    features = torch.randn(2, 6, 8, 9)
    results = []
    for one in ("auto", form):
        head = a_head(box_sets=box_sets)
        head.form = one
        outputs = head(features, ROIS)
        (outputs.class_logits.square().sum() + outputs.box_deltas.square().sum()).backward()
        results.append([*outputs, *(parameter.grad for parameter in head.parameters())])
    for found, expected in zip(*results, strict=True):
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_auto_counts_with_what_it_is_given():
    with torch.device("meta"):
        head = RFCNHead(2048, classes=20)
        reduced = torch.empty(1, 1024, 38, 63)
        few, many = torch.empty(300, 5), torch.empty(2000, 5)
    assert head.forms(reduced, few) == ("features", "features")
    assert head.forms(reduced, many) == ("maps", "maps")
    between = torch.empty(600, 5, device="meta")
    assert head.forms(reduced, between) == ("features", "features")
    assert head.forms(reduced.requires_grad_(), between) == ("maps", "maps")
    head.form = "maps"
    assert head.forms(reduced, few) == ("maps", "maps")


@pytest.mark.parametrize("form", ["auto", "maps", "features"])
def test_compiles_as_one_graph(form):
    head = a_head()
    head.form = form
    features = torch.randn(2, 6, 8, 9)
    expected = head(features, ROIS)
    operators = []

    def look(graph, inputs):
        operators.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    found = torch.compile(head, fullgraph=True, backend=look, dynamic=True)(features, ROIS)
    assert_close(found.class_logits, expected.class_logits)
    assert_close(found.box_deltas, expected.box_deltas)
    averaged = any("roi_average_pool" in name for name in operators)
    if library.declared("psroi_pool"):  # a traced graph keeps the paper's form unless asked
        assert averaged == (form == "features")


def test_a_bin_reads_its_own_map_and_no_other():
    """Equation 1: class c, row i, column j of a RoI read the map of (i, j, c), row (i*k + j)*C + c
    of the convolution, in their own place."""
    k, classes = 3, 2
    head = a_head(k=k, classes=classes)
    features = torch.zeros(1, 6, 9, 9)
    maps, _ = head.bins(features, ROIS[:1])
    numbers = torch.arange(maps[0, ..., 0, 0].numel(), dtype=torch.float32)
    head.score_maps.weight.data.zero_()
    head.score_maps.bias.data = numbers  # every map is constant: its number
    whole = torch.tensor([[0.0, 0, 0, 143, 143]])  # 9 x 9 cells, inclusive corners
    maps, bins = head.bins(features, whole)
    assert numbers.view(k, k, classes + 1)[1, 2, 1] == 16  # bin row 1, column 2, class 1
    expected = numbers.view(k, k, classes + 1).permute(2, 0, 1)
    assert_close(bins[0], expected)
    assert_close(maps[0, :, :, :, 4, 4], expected)


def test_the_deltas_of_a_set_lie_side_by_side():
    """Row (i*k + j)*4S + 4s + n of the box maps is number n of set s."""
    head = a_head(k=3, box_sets=2)
    head.box_maps.weight.data.zero_()
    head.box_maps.bias.data = torch.arange(8.0).repeat(9)
    deltas = head(torch.zeros(1, 6, 9, 9), ROIS[:1]).box_deltas
    assert_close(deltas, torch.arange(8.0).view(1, 2, 4))


def test_rows_of_the_released_order_give_the_same_once_converted():
    """The released head pools channel (c*k + i)*k + j; converted, its rows do the same here."""
    head, features = a_head(), torch.randn(2, 6, 8, 9)
    released = torch.nn.Conv2d(8, 36, 1)
    planes = released(head.reduced(features))
    expected = psroi_pool(planes, ROIS, 3, 1 / 16)
    head.score_maps.weight.data = convert_rows(released.weight.detach(), 3, to="bin_major")
    head.score_maps.bias.data = convert_rows(released.bias.detach(), 3, to="bin_major")
    maps, bins = head.bins(features, ROIS)
    assert_close(maps.flatten(1, 3), planes)
    assert_close(bins, expected)
    assert_close(head(features, ROIS).class_logits, expected.mean((2, 3)))


@pytest.mark.parametrize("mark", [None, torch.tensor(0)])
def test_a_state_dict_without_the_mark_of_its_row_order_is_refused(mark):
    detector = torch.nn.ModuleDict({"roi_head": a_head()})
    state = detector.state_dict()
    detector.load_state_dict(state)
    del state["roi_head._extra_state"]
    if mark is not None:
        state["roi_head._extra_state"] = mark
    with pytest.raises(RuntimeError, match=r"lie class by class.*convert_rows"):
        detector.load_state_dict(state)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_maps_lie_as_the_pooling_reads_them_fastest(memory_format):
    head = a_head()
    features = torch.randn(2, 6, 8, 9).contiguous(memory_format=memory_format)
    maps = head.maps(head.score_maps, head.reduced(features))
    assert maps.stride(1) == 1  # the classes of a cell and bin, side by side
    assert maps.permute(0, 4, 5, 2, 3, 1).is_contiguous()


def test_bins_lie_where_the_picture_has_them():
    """Row i is y, column j is x: only the bin over a lit cell sees it."""
    head = a_head(k=3, classes=1)
    for layer in (head.reduce, head.score_maps):
        layer.weight.data.fill_(1)
        layer.bias.data.zero_()
    features = torch.zeros(1, 6, 9, 9)
    features[0, :, 7, 1] = 1  # bottom left
    _, bins = head.bins(features, torch.tensor([[0.0, 0, 0, 143, 143]]))
    lit = bins[0, 0] > 0
    assert lit.tolist() == [[False] * 3, [False] * 3, [True, False, False]]


@pytest.mark.parametrize("stride", [8, 16])
def test_rois_are_scaled_by_the_stride(stride):
    head = a_head(stride=stride)
    features = torch.randn(1, 6, 6, 6)
    whole = torch.tensor([[0, 0, 0, 6 * stride - 1, 6 * stride - 1.0]])
    expected = a_head(stride=16)(features, torch.tensor([[0.0, 0, 0, 95, 95]]))
    assert_close(head(features, whole).class_logits, expected.class_logits)


def test_every_parameter_learns():
    head = a_head()
    logits, deltas = head(torch.randn(2, 6, 8, 9), ROIS)
    (logits.square().sum() + deltas.square().sum()).backward()
    assert all(one.grad is not None and one.grad.any() for one in head.parameters())


def test_no_rois_give_zero_gradients_not_none():
    head = a_head()
    logits, deltas = head(torch.randn(1, 6, 8, 9), torch.zeros(0, 5))
    (logits.sum() + deltas.sum()).backward()
    assert all((one.grad == 0).all() for one in head.parameters())


def test_there_are_no_weights_after_the_rois():
    names = {name.split(".")[0] for name, _ in a_head().named_parameters()}
    assert names == {"reduce", "score_maps", "box_maps"}


@pytest.mark.parametrize("semantics", ["paper", "torchvision"])
def test_both_forms_cut_bins_as_the_pooler_does(semantics):
    torch.manual_seed(0)
    pooler = PositionSensitivePooler(3, 16, semantics)
    head = RFCNHead(6, classes=3, pooler=pooler, reduction=8)
    features = torch.randn(2, 6, 8, 9)
    expected = psroi_pool(head.bins(features, ROIS)[0], ROIS, 3, 1 / 16, semantics).mean((2, 3))
    for form in ("maps", "features"):
        head.form = form
        assert_close(head(features, ROIS).class_logits, expected)


def test_aligned_bins_vote_by_maps():
    torch.manual_seed(0)
    head = RFCNHead(6, classes=3, pooler=PositionSensitiveAlign(3, 16), reduction=8)
    assert not head.inclusive_corners
    features = torch.randn(2, 6, 8, 9)
    maps, bins = head.bins(features, ROIS)
    assert_close(bins, psroi_align(maps, ROIS, 3, 1 / 16))
    assert head.forms(features, ROIS) == ("maps", "maps")
    assert_close(head(features, ROIS).class_logits, bins.mean((2, 3)))
