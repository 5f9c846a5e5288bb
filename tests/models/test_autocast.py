"""Whole detectors under autocast: every part takes what half the bits leave, the losses are float32
and teach the same."""

import pytest
import torch
import torch.nn.functional as F

from rfcn.config import schema
from rfcn.engine.precision import Precision
from rfcn.models.losses import MeanLoss, rpn_loss
from rfcn.structures import ImageBatch, RoIOutputs, RoISample, Target

BATCH = ImageBatch(
    torch.randint(0, 255, (1, 3, 64, 64), generator=torch.Generator().manual_seed(1)).byte(),
    [(64, 64)],
    [(64, 64)],
    ["a"],
)
TARGET = Target(
    torch.tensor([[5.0, 8, 40, 50], [30, 20, 62, 60]]),
    torch.tensor([1, 2]),
    torch.tensor([False, False]),
    seed=1,
)


def rfcn(**options):
    return {"roi_head": schema.RFCN(k=3, reduction=16, **options)}


DETECTORS = {
    **{pooler: rfcn(pooler=pooler, form="maps") for pooler in ("psroi_pool", "psroi_align")},
    "pooled_features": rfcn(form="features"),
    "two_passes": {**rfcn(), "roi_loss": schema.OHEM(keep=8, passes=2)},
    "sampled": {**rfcn(), "roi_loss": schema.Sampled(type="sampled", rois=16)},
    "deformable": {"roi_head": schema.DeformableRFCN(type="deformable_rfcn", k=3, reduction=16)},
    "light": {"roi_head": schema.LightHead(type="light_head", k=3, middle=8, hidden=32)},
    "naive": {"roi_head": schema.NaiveFRCNN(type="naive_frcnn", pool=3)},
    "c4": {"roi_head": schema.C4FRCNN(type="c4_frcnn", pool=4)},
}


def losses_and_gradient(detector, precision):
    detector.zero_grad()
    with precision.autocast():
        losses = detector(BATCH, [TARGET])
    (sum(losses.values()) * 16).backward()
    gradients = {name: one.grad for name, one in detector.named_parameters()}
    assert all(one is not None for one in gradients.values())
    return losses, torch.cat([one.flatten() for one in gradients.values()])


@pytest.mark.parametrize("sections", DETECTORS.values(), ids=DETECTORS)
def test_every_head_learns_the_same_with_half_the_bits(tiny_detector, sections):
    detector = tiny_detector(**{"roi_loss": schema.OHEM(keep=16), **sections})
    wanted, whole = losses_and_gradient(detector, Precision())
    for name in ("bfloat16", "float16"):
        losses, gradient = losses_and_gradient(detector, Precision(name))
        for term, value in losses.items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(value, wanted[term], rtol=0.05, atol=1e-3)
        assert F.cosine_similarity(gradient, whole, dim=0) > 0.99


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_losses_of_narrow_outputs_are_those_of_the_same_numbers_in_float32(name):
    dtype = getattr(torch, name)
    torch.manual_seed(0)
    logits, deltas = torch.randn(20, 3).to(dtype), torch.randn(20, 2, 4).to(dtype)
    labels, targets = torch.arange(20) % 3, torch.randn(20, 4)
    sample = RoISample([targets], [labels], [targets])
    with Precision(name).autocast():
        narrow = MeanLoss()(RoIOutputs(logits, deltas), sample)
        narrow_rpn = rpn_loss(logits, deltas[:, 0], labels, targets, sigma=3)
    wide = MeanLoss()(RoIOutputs(logits.float(), deltas.float()), sample)
    wide_rpn = rpn_loss(logits.float(), deltas[:, 0].float(), labels, targets, sigma=3)
    pairs = [*zip(narrow.values(), wide.values(), strict=True)]
    for found, wanted in [*pairs, *zip(narrow_rpn, wide_rpn, strict=True)]:
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=0)
