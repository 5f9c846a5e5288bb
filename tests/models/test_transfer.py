"""Heads remapped by class name: what both know scores as before."""

import pytest
import torch
from torch.testing import assert_close

from rfcn.build import build_detector
from rfcn.config.loader import config_from_mapping
from rfcn.errors import WeightsError
from rfcn.models.transfer import class_rows, shared_classes, transfer

OLD = ["airplane", "cat", "dog", "couch"]
NEW = ["zebra", "sofa", "cat", "aeroplane"]


def detector_of(names, *, box_sets="background_foreground", k=3, width=8, seed=0):
    torch.manual_seed(seed)
    model = {
        "backbone": {"type": "tiny", "width": width},
        "proposer": {"channels": 16},
        "roi_head": {"k": k, "reduction": 32, "box_sets": box_sets},
    }
    config = config_from_mapping({"model": model}, source="test").model
    detector = build_detector(config, names, pretrained=False)
    for layer in (detector.roi_head.score_maps, detector.roi_head.box_maps):
        torch.nn.init.normal_(layer.weight)
        torch.nn.init.normal_(layer.bias)
    return detector.eval()


def test_voc_and_coco_call_classes_differently():
    assert shared_classes(NEW, OLD) == {"sofa": "couch", "cat": "cat", "aeroplane": "airplane"}
    assert shared_classes(OLD, NEW) == {"airplane": "aeroplane", "cat": "cat", "couch": "sofa"}


@pytest.mark.parametrize("box_sets", ["agnostic", "background_foreground", "class_aware"])
@pytest.mark.parametrize("k", [1, 3])
def test_shared_classes_keep_their_logits(box_sets, k):
    old = detector_of(OLD, box_sets=box_sets, k=k, seed=1)
    new = detector_of(NEW, box_sets=box_sets, k=k, seed=2)
    before = new.roi_head.score_maps.weight.clone()
    report = transfer(new, NEW, old, old.state_dict(), OLD)
    features = torch.randn(1, old.backbone.roi_channels, 6, 8)
    rois = torch.tensor([[0.0, 0, 0, 60, 80], [0, 30, 10, 120, 90]])
    with torch.no_grad():
        ours, theirs = new.roi_head(features, rois), old.roi_head(features, rois)
    places = [0, 2, 3, 4], [0, 4, 2, 1]  # background, sofa/couch, cat, aeroplane/airplane
    assert_close(
        ours.class_logits[:, places[0]], theirs.class_logits[:, places[1]], rtol=0, atol=1e-6
    )
    if box_sets == "class_aware":
        assert_close(ours.box_deltas[:, places[0]], theirs.box_deltas[:, places[1]])
        assert "roi_head.box_maps.weight" in report.remapped
    else:
        assert_close(ours.box_deltas, theirs.box_deltas)
        assert "roi_head.box_maps.weight" in report.copied
    zebra = class_rows(new)["roi_head.score_maps.weight"][1]
    assert torch.equal(new.roi_head.score_maps.weight[zebra], before[zebra])  # starts anew
    assert not report.fresh


def test_a_head_with_context_goes_on_from_one_without():
    """Shared classes keep their logits to 1e-6; context adds to them what it has to learn anew."""
    old = pooled_detector_of(OLD, seed=1)
    new = pooled_detector_of(NEW, context=True, seed=2)
    report = transfer(new, NEW, old, old.state_dict(), OLD)
    context = {f"roi_head.context_{layer}.weight" for layer in ("scores", "deltas")}
    assert set(report.fresh) == context
    assert "roi_head.scores.weight" in report.remapped
    for layer in (new.roi_head.context_scores, new.roi_head.context_deltas):
        torch.nn.init.zeros_(layer.weight)
    features = torch.randn(1, new.backbone.roi_channels, 6, 8)
    rois = torch.tensor([[0.0, 0, 0, 60, 80], [0, 30, 10, 120, 90]])
    with torch.no_grad():
        ours = new.roi_head(features, rois, torch.tensor([[0.0, 0, 0, 127, 95]]))
        theirs = old.roi_head(features, rois)
    places = [0, 2, 3, 4], [0, 4, 2, 1]
    for one, other in zip(ours, theirs, strict=True):
        assert_close(one[:, places[0]], other[:, places[1]], rtol=0, atol=1e-6)
    # and from one with context, the rows of classes of both halves
    again = pooled_detector_of(OLD, context=True, seed=3)
    both = transfer(again, OLD, new, new.state_dict(), NEW)
    assert context < set(both.remapped)
    assert not both.fresh


@pytest.mark.parametrize("kind", ["naive_frcnn", "light_head", "deformable_rfcn"])
def test_every_kind_of_head_keeps_the_logits_of_shared_classes(kind):
    old, new = (head_of(kind, names, seed=seed).eval() for seed, names in enumerate((OLD, NEW)))
    transfer(new, NEW, old, old.state_dict(), OLD)
    features = torch.randn(1, new.backbone.roi_channels, 6, 8)
    rois = torch.tensor([[0.0, 0, 0, 60, 80], [0, 30, 10, 120, 90]])
    with torch.no_grad():
        ours, theirs = (one.roi_head(features, rois).class_logits for one in (new, old))
    assert_close(ours[:, [0, 2, 3, 4]], theirs[:, [0, 4, 2, 1]], rtol=0, atol=1e-6)
    assert not torch.isclose(ours[:, 1], theirs[:, 3]).any()  # a zebra is no dog


def test_the_detector_of_one_stage_keeps_them_too():
    old, new = (
        head_of("class_rpn", names, seed=seed).eval() for seed, names in enumerate((OLD, NEW))
    )
    transfer(new, NEW, old, old.state_dict(), OLD)
    features = torch.randn(1, new.backbone.roi_channels, 6, 8)
    with torch.no_grad():
        ours, theirs = (one.proposer(features).logits for one in (new, old))
    assert_close(ours[..., [0, 2, 3, 4]], theirs[..., [0, 4, 2, 1]], rtol=0, atol=1e-6)


def head_of(kind, names, *, seed):
    """A detector with a small head of a kind, whose layers all give something."""
    torch.manual_seed(seed)
    tiny = {"backbone": {"type": "tiny", "width": 8}}
    small = {
        "naive_frcnn": {"pool": 3},
        "light_head": {"k": 3, "middle": 4, "hidden": 16},
        "deformable_rfcn": {"k": 3, "reduction": 16},
    }
    model = (
        {**tiny, "type": kind, "proposer": {"channels": 16}}
        if kind == "class_rpn"
        else {**tiny, "proposer": {"channels": 16}, "roi_head": {"type": kind, **small[kind]}}
    )
    config = config_from_mapping({"model": model}, source="test").model
    detector = build_detector(config, names, pretrained=False)
    for name, one in detector.named_parameters():
        if name.startswith(("roi_head.", "proposer.")):
            torch.nn.init.normal_(one, std=0.1)
    return detector


def pooled_detector_of(names, *, context=False, seed=0):
    torch.manual_seed(seed)
    model = {
        "backbone": {"type": "tiny", "width": 8},
        "proposer": {"channels": 16},
        "roi_head": {"type": "c4_frcnn", "pool": 4, "global_context": context},
    }
    config = config_from_mapping({"model": model}, source="test").model
    return build_detector(config, names, pretrained=False).eval()


def test_every_row_belongs_to_one_class():
    rows = class_rows(detector_of(OLD, box_sets="class_aware"))
    assert set(rows) == {
        f"roi_head.{layer}.{part}"
        for layer in ("score_maps", "box_maps")
        for part in ("weight", "bias")
    }
    for name, one in rows.items():
        count = 9 * 5 * (4 if "box" in name else 1)
        assert sorted(one.flatten().tolist()) == list(range(count))


def test_the_report_in_words():
    old, new = detector_of(OLD), detector_of(NEW, width=16)
    report = transfer(new, NEW, old, old.state_dict(), OLD)
    lines = report.describe(NEW)
    assert "3 of 4 classes are known by name (sofa from couch, aeroplane from airplane)" in lines[0]
    assert lines[1] == "classes that start anew: zebra"
    assert lines[2].startswith("tensors that start anew: backbone.")  # twice as wide


def test_weights_that_share_nothing_are_refused():
    new = detector_of(NEW)
    with pytest.raises(WeightsError, match="nothing of the weights to start from fits"):
        transfer(new, NEW, new, {"other": torch.zeros(3)}, OLD)
