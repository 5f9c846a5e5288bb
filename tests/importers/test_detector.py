import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rfcn.boxes import decode
from rfcn.errors import WeightsError
from rfcn.importers.backbone import Network
from rfcn.importers.detector import Wishes, grid_of, growth_ratio, is_detector, take_detector
from rfcn.importers.foreign import Foreign
from rfcn.importers.ledger import Ledger
from rfcn.models.heads.poolers import PositionSensitivePooler
from rfcn.models.heads.rfcn import RFCNHead
from rfcn.models.heads.row_order import convert_rows
from rfcn.models.rpn import RPNHead

K, CLASSES, WIDTH, CHANNELS = 3, 2, 6, 5
BARE = Network("resnet", 18, ())
NAMES = ("one", "two")


def foreign(*, folded=True, anchors=9, program="Caffe", **more):
    """The layers of a small R-FCN after a backbone, as they are when training begins."""
    random = torch.Generator().manual_seed(0)

    def layer(rows, columns, side=1):
        return torch.randn(rows, columns, side, side, generator=random) * 0.01

    tensors = {
        "conv_new_1.weight": layer(WIDTH, CHANNELS) * 30,
        "rfcn_cls.weight": layer(K * K * (CLASSES + 1), WIDTH) * 30,
        "rfcn_bbox.weight": layer(K * K * 8, WIDTH),
        "rpn_conv_3x3.weight": layer(7, 4, 3) * 30,
        "rpn_cls_score.weight": layer(2 * anchors, 7),
        "rpn_bbox_pred.weight": layer(4 * anchors, 7),
    }
    for name in list(tensors):
        rows = len(tensors[name])
        tensors[name.replace("weight", "bias")] = torch.randn(rows, generator=random) * 0.1
    if folded:
        for part in ("weight", "bias"):
            std = torch.tensor([0.1, 0.1, 0.2, 0.2]).repeat_interleave(K * K).repeat(2)
            rows = tensors[f"rfcn_bbox.{part}"]
            tensors[f"rfcn_bbox.{part}"] = rows * std.view(-1, *[1] * (rows.dim() - 1))
    return Foreign(program, tensors | more, {}, bgr=program == "Caffe")


def taken(source, **wishes):
    ledger = Ledger(source)
    mapping, names = take_detector(ledger, BARE, Wishes(NAMES, **wishes))
    return ledger, mapping["model"], names


def of(ledger, part):
    return {n.removeprefix(part): t for n, t in ledger.state.items() if n.startswith(part)}


def caffe_forward(tensors, features, rois):
    """R-FCN's head as the released operator defines it, bin by bin, in loops: scores [R, C+1] and
    box numbers [R, 8]."""

    def maps(name):
        weight = tensors[f"{name}.weight"].double().numpy()[:, :, 0, 0]
        reduce = tensors["conv_new_1.weight"].double().numpy()[:, :, 0, 0]
        x = np.einsum("oc,chw->ohw", reduce, features.double().numpy())
        x = np.maximum(x + tensors["conv_new_1.bias"].double().numpy()[:, None, None], 0)
        return (
            np.einsum("oc,chw->ohw", weight, x)
            + tensors[f"{name}.bias"].double().numpy()[:, None, None]
        )

    def pooled(maps, roi, channels):
        height, width = maps.shape[1:]
        x1, y1 = (math.floor(v + 0.5) / 16 for v in roi[:2])
        x2, y2 = ((math.floor(v + 0.5) + 1) / 16 for v in roi[2:])
        w, h = max(x2 - x1, 0.1) / K, max(y2 - y1, 0.1) / K
        out = np.zeros((channels, K, K))
        for c in range(channels):
            for i in range(K):
                for j in range(K):
                    rows = range(
                        max(math.floor(y1 + i * h), 0), min(math.ceil(y1 + (i + 1) * h), height)
                    )
                    columns = range(
                        max(math.floor(x1 + j * w), 0), min(math.ceil(x1 + (j + 1) * w), width)
                    )
                    cells = [maps[(c * K + i) * K + j, y, x] for y in rows for x in columns]
                    out[c, i, j] = np.mean(cells) if cells else 0
        return out.mean(axis=(1, 2))

    scores, boxes = maps("rfcn_cls"), maps("rfcn_bbox")
    return (
        np.stack([pooled(scores, roi, CLASSES + 1) for roi in rois]),
        np.stack([pooled(boxes, roi, 8) for roi in rois]),
    )


@torch.no_grad()
@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("form", ["maps", "features"])
def test_the_head_answers_as_the_released_one(folded, form):
    """Maps lie class by class there and bin by bin here; with the deviations that detection
    multiplies in, offsets are those of the file (or of a raw snapshot, as in training)."""
    source = foreign(folded=folded)
    ledger, model, _ = taken(source)
    head = RFCNHead(
        CHANNELS, classes=CLASSES, pooler=PositionSensitivePooler(K), reduction=WIDTH, form=form
    )
    head.load_state_dict(of(ledger, "roi_head."))
    features = torch.randn(1, CHANNELS, 6, 8)
    rois = [(3.0, 2.5, 90.0, 60.0), (0.0, 0.0, 127.0, 95.0), (40.0, 30.0, 44.0, 95.0)]
    outputs = head(features, torch.tensor([[0, *roi] for roi in rois]))
    scores, boxes = caffe_forward(source.tensors, features[0], rois)
    assert_close(outputs.class_logits.double(), torch.from_numpy(scores), rtol=1e-4, atol=1e-5)
    std = torch.tensor(model["box_std"]) if folded else torch.ones(4)
    offsets = (outputs.box_deltas * std).double().flatten(1)
    assert_close(offsets, torch.from_numpy(boxes), rtol=1e-4, atol=1e-6)
    shown = [row for row in ledger.rows if row.target == "roi_head.box_maps.weight"]
    assert ("divided by box_std" in shown[0].how) == folded
    assert any(("multiplied into" if folded else "not in") in note for note in ledger.notes)


@torch.no_grad()
@pytest.mark.parametrize("folded", [True, False])
def test_the_rpn_answers_as_the_released_one(folded):
    source = foreign(folded=folded)
    ledger, model, _ = taken(source)
    head = RPNHead(4, 7, 9)
    head.load_state_dict(of(ledger, "proposer.head."))
    conv4 = torch.randn(1, 4, 3, 2)
    t = source.tensors
    x = torch.relu(torch.conv2d(conv4, t["rpn_conv_3x3.weight"], t["rpn_conv_3x3.bias"], padding=1))
    scores = torch.conv2d(x, t["rpn_cls_score.weight"], t["rpn_cls_score.bias"])[0]
    deltas = torch.conv2d(x, t["rpn_bbox_pred.weight"], t["rpn_bbox_pred.bias"])[0]
    outputs = head(conv4)
    place, anchor, row, column = (2 * 2 + 1) * 9 + 4, 4, 2, 1
    assert_close(outputs.logits[0, place], scores[[anchor, 9 + anchor], row, column])
    std = torch.ones(4) if folded else torch.tensor([0.1, 0.1, 0.2, 0.2])
    assert_close(outputs.deltas[0, place], deltas[4 * anchor : 4 * anchor + 4, row, column] * std)
    assert model["proposer"] == {
        "type": "rpn", "anchors": {"scales": [8, 16, 32]}, "channels": 7, "min_size": 16,
    }  # fmt: skip


def test_statistics_are_told_by_the_numbers_or_by_the_user():
    unsure = foreign(folded=False).tensors["rfcn_bbox.weight"].clone().view(2, 4, -1)
    unsure[:, 2:] *= 1.4
    more = {"rfcn_bbox.weight": unsure.view(K * K * 8, WIDTH, 1, 1)}
    with pytest.raises(WeightsError, match=r"1\.\d+ times as large.*--box-statistics folded"):
        taken(foreign(**more))
    kept = taken(foreign(**more), statistics="normalised")[0].state["roi_head.box_maps.bias"]
    divided = taken(foreign(**more), statistics="folded")[0].state["roi_head.box_maps.bias"]
    assert_close(kept.view(-1, 4) / torch.tensor([0.1, 0.1, 0.2, 0.2]), divided.view(-1, 4))
    assert growth_ratio(foreign().tensors["rfcn_bbox.weight"], K) == pytest.approx(2, rel=0.2)
    assert math.isnan(growth_ratio(torch.zeros(8, 1)))


@pytest.mark.parametrize(
    ("scores", "boxes", "expected"),
    [
        (1029, 392, (7, 2)), (3969, 392, (7, 2)), (1029, 196, (7, 1)), (189, 72, (3, 2)),
        (1029, 4116, (7, 21)), (189, 756, (3, 21)), (21, 8, (1, 2)), (147, 588, (7, 3)),
    ],
)  # fmt: skip
def test_the_grid_is_found_in_the_rows(scores, boxes, expected):
    assert grid_of(scores, boxes) == expected


@pytest.mark.parametrize(("scores", "boxes"), [(1029, 391), (1000, 392), (49, 392)])
def test_rows_of_no_grid(scores, boxes):
    with pytest.raises(WeightsError, match="expected k\\*k"):
        grid_of(scores, boxes)


def test_without_rpn_proposals_must_be_given():
    source = foreign()
    bare = {k: v for k, v in source.tensors.items() if not k.startswith("rpn")}
    ledger, model, names = taken(Foreign("Caffe", bare, {}))
    assert model["proposer"] == {"type": "given"}
    assert any("proposals must be given" in note for note in ledger.notes)
    assert names == NAMES
    assert is_detector(source)
    assert not is_detector(Foreign("X", {}, {}))


def test_unknown_anchors_and_backbones():
    with pytest.raises(WeightsError, match="scores 10 anchors"):
        taken(foreign(anchors=10))
    with pytest.raises(WeightsError, match="another backbone"):
        take_detector(Ledger(foreign()), Network("vgg16", 16, ()), Wishes(NAMES))


def test_mean_and_colours_go_along():
    ledger, model, _ = taken(foreign())
    assert ledger.state["normalize.mean"].shape == (1, 3, 1, 1)
    assert model["backbone"]["style"] == "caffe"
    assert decode(torch.zeros(1, 4), torch.tensor([[0.0, 0, 8, 8]])).tolist() == [[0, 0, 8, 8]]


def test_deformable_convnets_keeps_both_box_layers_and_needs_no_guess():
    """rows of the offset maps: class c, x or y, bin (i, j) at ((2c + xy)k + i)k + j there."""
    source = foreign(folded=True, program="MXNet")
    random = torch.Generator().manual_seed(1)
    more = {"rfcn_bbox_test.weight": source.tensors["rfcn_bbox.weight"] * 0.1}
    for name, rows in (("rfcn_cls", 2 * K * K * (CLASSES + 1)), ("rfcn_bbox", 2 * K * K)):
        more[f"{name}_offset_t.weight"] = torch.randn(rows, WIDTH, 1, 1, generator=random)
        more[f"{name}_offset_t.bias"] = torch.arange(rows).float()
    for letter in "abc":
        more[f"res5{letter}_branch2b_offset.weight"] = torch.ones(72, 4, 3, 3)
        more[f"res5{letter}_branch2b_offset.bias"] = torch.ones(72)
    ledger, model, _ = taken(foreign(folded=True, program="MXNet", **more))
    kept = ledger.state["roi_head.box_maps.weight"]
    assert_close(kept, convert_rows(source.tensors["rfcn_bbox.weight"], K, to="bin_major"))
    rpn = ledger.state["proposer.head.deltas.weight"]
    assert torch.equal(rpn, source.tensors["rpn_bbox_pred.weight"])
    assert model["roi_head"]["type"] == "deformable_rfcn"
    assert model["roi_head"]["features"] == "conv5_deformable"
    assert model["proposer"]["min_size"] == 0
    assert "backbone.layer4.2.conv2.offset.bias" in ledger.state
    offsets = ledger.state["roi_head.score_offsets.bias"].view(K, K, CLASSES + 1, 2)
    assert offsets[1, 2, 2, 1] == ((2 * 2 + 1) * K + 1) * K + 2
    assert [one.source for one in ledger.left(str)] == ["rfcn_bbox_test.weight"]
