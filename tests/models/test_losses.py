import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rfcn.models.losses import (
    MeanLoss,
    OnlineHardExampleLoss,
    rpn_loss,
    select_box_set,
    smooth_l1,
)
from rfcn.structures import RoIOutputs, RoISample

LN2 = math.log(2)


def random_rois(rng, counts, *, classes=4, box_sets=2, dtype=torch.float32):
    """Raw outputs that want gradients and a sample, for pictures of so many RoIs."""
    total = sum(counts)
    outputs = RoIOutputs(
        torch.tensor(rng.normal(0, 3, (total, classes + 1)), dtype=dtype, requires_grad=True),
        torch.tensor(rng.normal(0, 2, (total, box_sets, 4)), dtype=dtype, requires_grad=True),
    )
    labels = [torch.from_numpy(rng.integers(0, classes + 1, one)) for one in counts]
    targets = [torch.tensor(rng.normal(0, 2, (one, 4)), dtype=dtype) for one in counts]
    return outputs, RoISample([torch.zeros(one, 4) for one in counts], labels, targets)


def slow_losses(oracles, outputs, sample):
    """(class, box) loss of every RoI, picture by picture."""
    losses, start = [], 0
    for labels, targets in zip(sample.labels, sample.box_targets, strict=True):
        rows = slice(start, start + len(labels))
        start += len(labels)
        losses.append(
            oracles.roi_losses(
                outputs.class_logits[rows].tolist(),
                outputs.box_deltas[rows].tolist(),
                labels.tolist(),
                targets.tolist(),
            )
        )
    return losses


def mean_over(losses):
    """Mean over the pictures of each one's mean, class and box."""
    pictures = [np.mean(one, axis=0) if one else np.zeros(2) for one in losses]
    return np.mean(pictures, axis=0)


# ----------------------------------------------------------------------------------- smooth L1


def test_smooth_l1_by_hand():
    x = torch.tensor([0.0, 0.5, -0.5, 1, -3])
    assert smooth_l1(x, 1).tolist() == [0, 0.125, 0.125, 0.5, 2.5]
    sigma_3 = smooth_l1(torch.tensor([0.1, 1 / 9, 1]), 3)
    assert_close(sigma_3, torch.tensor([0.045, 1 / 18, 1 - 1 / 18]))


def test_smooth_l1_has_no_kink():
    x = torch.linspace(-2, 2, 401, dtype=torch.float64, requires_grad=True)
    smooth_l1(x, 3).sum().backward()
    assert_close(x.grad, (9 * x.detach()).clamp(-1, 1))
    away_from_the_edges = torch.tensor([-1.5, -0.05, 0.02, 0.4], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda one: smooth_l1(one, 3), away_from_the_edges.requires_grad_()
    )


# ----------------------------------------------------------------------------------- RPN's loss


def test_rpn_loss_by_hand():
    logits = torch.tensor([[0.0, 0], [0, 0], [50, -50], [9, 9]])
    labels = torch.tensor([1, 0, 0, -1])
    deltas = torch.tensor([[1.0, 0, 0, 0], [7, 7, 7, 7], [0, 0, 0, 0], [7, 7, 7, 7]])
    classification, boxes = rpn_loss(logits, deltas, labels, torch.zeros(4, 4), sigma=3)
    assert_close(classification, torch.tensor(2 * LN2 / 3))
    assert_close(boxes, torch.tensor((1 - 1 / 18) / 3))  # of the positive, over all three sampled


def test_rpn_loss_equals_the_slow_version_on_1000_random_cases(oracles):
    rng = np.random.default_rng(0)
    for _ in range(1000):
        count = rng.integers(0, 20)
        logits = rng.normal(0, 4, (count, 2))
        deltas, targets = rng.normal(0, 0.5, (2, count, 4))
        labels = rng.integers(-1, 2, count)
        expected = oracles.rpn_loss(logits.tolist(), deltas.tolist(), labels, targets.tolist(), 3)
        found = rpn_loss(*map(torch.from_numpy, (logits, deltas, labels, targets)), sigma=3)
        assert [one.item() for one in found] == pytest.approx(expected, rel=1e-9)


def test_rpn_loss_gradient():
    rng = np.random.default_rng(1)
    labels = torch.tensor([1, 0, -1, 1, 0])
    targets = torch.from_numpy(rng.normal(0, 1, (5, 4)))
    logits = torch.from_numpy(rng.normal(0, 1, (5, 2))).requires_grad_()
    deltas = torch.from_numpy(rng.normal(0, 1, (5, 4))).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda a, b: rpn_loss(a, b, labels, targets, sigma=3), (logits, deltas)
    )
    sum(rpn_loss(logits, deltas, labels, targets, sigma=3)).backward()
    assert (logits.grad[2] == 0).all()
    assert (deltas.grad[[1, 2, 4]] == 0).all()


@pytest.mark.parametrize("labels", [[-1, -1], [0, 0], []])
def test_rpn_loss_without_positives_is_zero_with_a_graph(labels):
    """T4."""
    count = len(labels)
    logits = torch.randn(count, 2, requires_grad=True)
    deltas = torch.randn(count, 4, requires_grad=True)
    labels = torch.tensor(labels, dtype=torch.int64)
    classification, boxes = rpn_loss(logits, deltas, labels, torch.zeros(count, 4), sigma=3)
    assert boxes == 0
    assert (classification > 0) == (0 in labels)
    (classification + boxes).backward()
    assert (deltas.grad == 0).all()
    assert logits.grad.isfinite().all()


# ---------------------------------------------------------------------------------- box sets


def test_select_box_set():
    deltas = torch.arange(4 * 3 * 4.0).view(4, 3, 4)  # C = 2
    labels = torch.tensor([0, 1, 2, 1])
    rows = torch.arange(4)
    assert_close(select_box_set(deltas, labels), deltas[rows, labels])  # one a class
    two = select_box_set(deltas[:, :2], labels)
    assert_close(two, deltas[rows, torch.tensor([0, 1, 1, 1])])  # background, foreground
    assert_close(select_box_set(deltas[:, :1], labels), deltas[:, 0])  # one for all


# --------------------------------------------------------------------------------- mean loss


def test_mean_loss_by_hand():
    outputs = RoIOutputs(
        torch.zeros(2, 2), torch.tensor([[[9.0] * 4, [9.0] * 4], [[9.0] * 4, [2.0, 0.5, 0, 0]]])
    )
    sample = RoISample([torch.zeros(2, 4)], [torch.tensor([0, 1])], [torch.zeros(2, 4)])
    losses = MeanLoss(box_weight=3)(outputs, sample)
    assert set(losses) == {"loss_cls", "loss_box"}
    assert_close(losses["loss_cls"], torch.tensor(LN2))
    assert_close(losses["loss_box"], torch.tensor(3 * (1.5 + 0.125) / 2))


@pytest.mark.parametrize("box_sets", [1, 2, 5])
def test_mean_loss_equals_the_slow_version_on_1000_random_cases(box_sets, oracles):
    rng = np.random.default_rng(box_sets)
    for _ in range(334):
        counts = rng.integers(0, 6, rng.integers(1, 4)).tolist()
        outputs, sample = random_rois(rng, counts, box_sets=box_sets)
        expected = mean_over(slow_losses(oracles, outputs, sample))
        losses = MeanLoss()(outputs, sample)
        assert losses["loss_cls"].item() == pytest.approx(expected[0], rel=1e-4, abs=1e-6)
        assert losses["loss_box"].item() == pytest.approx(expected[1], rel=1e-4, abs=1e-6)


def test_background_teaches_no_box():
    outputs, sample = random_rois(np.random.default_rng(0), [6])
    sample.labels[0][:] = torch.tensor([0, 1, 0, 2, 0, 0])
    MeanLoss()(outputs, sample)["loss_box"].backward()
    taught = (outputs.box_deltas.grad != 0).any(dim=2)  # [R, S]
    assert taught.tolist() == [[False, label > 0] for label in [0, 1, 0, 2, 0, 0]]


@pytest.mark.parametrize("loss", [MeanLoss(box_weight=2), OnlineHardExampleLoss(kept=3)])
def test_gradients_are_those_of_the_formula(loss):
    outputs, sample = random_rois(np.random.default_rng(3), [5, 4], dtype=torch.float64)

    def total(logits, deltas):
        return sum(loss(RoIOutputs(logits, deltas), sample).values())

    assert torch.autograd.gradcheck(total, tuple(outputs))


# -------------------------------------------------------------------------------------- OHEM


def test_ohem_by_hand():
    """Ranked by the sum: a large box loss is kept above a larger class loss alone."""
    outputs = RoIOutputs(
        torch.tensor([[0.0, 0], [0, 3], [3, 0], [5, -5]]),  # class losses: ln 2, .05, .05, 0
        torch.tensor([[0.0] * 4, [8, 0, 0, 0], [9, 9, 9, 9], [9, 9, 9, 9]]).view(4, 1, 4),
    )
    sample = RoISample([torch.zeros(4, 4)], [torch.tensor([0, 1, 0, 0])], [torch.zeros(4, 4)])
    losses = OnlineHardExampleLoss(kept=2)(outputs, sample)
    small = math.log(1 + math.exp(-3))
    assert_close(losses["loss_cls"], torch.tensor((LN2 + small) / 2))
    assert_close(losses["loss_box"], torch.tensor(7.5 / 2))


def test_ohem_equals_the_slow_version_on_1000_random_cases(oracles):
    rng = np.random.default_rng(5)
    for _ in range(1000):
        counts = rng.integers(0, 10, rng.integers(1, 4)).tolist()
        outputs, sample = random_rois(rng, counts)
        kept = int(rng.integers(1, 8))

        per_picture = slow_losses(oracles, outputs, sample)
        hardest = [oracles.hardest(one, kept) for one in per_picture]
        expected = mean_over(
            [[one[row] for row in rows] for one, rows in zip(per_picture, hardest, strict=True)]
        )
        losses = OnlineHardExampleLoss(kept=kept)(outputs, sample)
        assert losses["loss_cls"].item() == pytest.approx(expected[0], rel=1e-4, abs=1e-6)
        assert losses["loss_box"].item() == pytest.approx(expected[1], rel=1e-4, abs=1e-6)

        sum(losses.values()).backward()
        starts = np.cumsum(counts) - counts
        rows = {start + row for start, some in zip(starts, hardest, strict=True) for row in some}
        touched = (outputs.class_logits.grad != 0).any(1) | (
            outputs.box_deltas.grad.flatten(1) != 0
        ).any(1)
        assert set(touched.nonzero()[:, 0].tolist()) == rows


def test_ohem_of_enough_places_is_the_mean():
    """T6: B above the number of RoIs."""
    outputs, sample = random_rois(np.random.default_rng(6), [7, 3])
    ohem = OnlineHardExampleLoss(kept=128)(outputs, sample)
    for name, value in MeanLoss()(outputs, sample).items():
        assert_close(ohem[name], value)


@pytest.mark.parametrize("loss", [MeanLoss(), OnlineHardExampleLoss(kept=2)])
def test_a_batch_of_two_is_the_average_of_two_of_one(loss):
    outputs, sample = random_rois(np.random.default_rng(7), [5, 3])
    together = loss(outputs, sample)
    apart = [
        loss(
            RoIOutputs(*(one.split([5, 3])[picture] for one in outputs)),
            RoISample(
                sample.boxes[picture : picture + 1],
                sample.labels[picture : picture + 1],
                sample.box_targets[picture : picture + 1],
            ),
        )
        for picture in range(2)
    ]
    for name in together:
        assert_close(together[name], (apart[0][name] + apart[1][name]) / 2)


@pytest.mark.parametrize("loss", [MeanLoss(), OnlineHardExampleLoss(kept=2)])
@pytest.mark.parametrize("counts", [[0], [0, 0], [0, 3]])
def test_pictures_without_rois_add_zero_with_a_graph(loss, counts):
    """T6: no RoI at all."""
    outputs, sample = random_rois(np.random.default_rng(8), counts)
    losses = loss(outputs, sample)
    if sum(counts) == 0:
        assert losses["loss_cls"] == losses["loss_box"] == 0
    sum(losses.values()).backward()
    assert outputs.class_logits.grad.isfinite().all()
    assert outputs.box_deltas.grad.isfinite().all()


@pytest.mark.parametrize("loss", [MeanLoss(), OnlineHardExampleLoss(kept=2)])
def test_all_background_has_no_box_loss_but_a_graph(loss):
    """T4."""
    outputs, sample = random_rois(np.random.default_rng(9), [4])
    sample.labels[0].zero_()
    losses = loss(outputs, sample)
    assert losses["loss_box"] == 0
    assert losses["loss_cls"] > 0
    sum(losses.values()).backward()
    assert (outputs.box_deltas.grad == 0).all()


# ------------------------------------------------------------------------------------- figures


def sample_of(labels):
    """One picture, every box target 1."""
    labels = torch.tensor(labels, dtype=torch.int64)
    return RoISample([torch.zeros(len(labels), 4)], [labels], [torch.ones(len(labels), 4)])


def test_t5_figures_tell_what_ohem_kept():
    logits = torch.tensor([[0.0, 5.0], [2.0, 0.0], [0.0, 2.0], [1.0, 0.0]])  # hardest: 0, 2
    outputs = RoIOutputs(logits, torch.ones(4, 2, 4))
    loss = OnlineHardExampleLoss(kept=2)
    loss(outputs, sample_of([0, 0, 0, 1]))
    assert loss.figures["fg_rois_kept"] == 0, "collapsed: its foreground RoI is not among them"
    assert 0.9 < loss.figures["bg_loss_spread"] < 1
    loss(outputs, sample_of([0, 1, 0, 1]))
    assert loss.figures["fg_rois_kept"] == 1
    assert MeanLoss().figures == {}


@pytest.mark.parametrize(("logits", "spread"), [([3.0, 1.0], 0.0), ([90.0, -90.0], 1.0)])
def test_t5_one_answer_for_all_is_no_spread_and_nothing_lost_is_no_collapse(logits, spread):
    outputs = RoIOutputs(torch.tensor([logits] * 3), torch.zeros(3, 2, 4))
    loss = OnlineHardExampleLoss(kept=2)
    loss(outputs, sample_of([0, 1, 0]))
    assert loss.figures["bg_loss_spread"] == spread


@pytest.mark.parametrize("labels", [[], [1, 1]])
def test_figures_without_background_or_without_rois_are_finite(labels):
    outputs = RoIOutputs(torch.zeros(len(labels), 2), torch.zeros(len(labels), 2, 4))
    loss = OnlineHardExampleLoss(kept=2)
    loss(outputs, sample_of(labels))
    assert loss.figures["bg_loss_spread"] == 1
    assert loss.figures["fg_rois_kept"] == len(labels)


def test_figures_have_no_graph():
    outputs, sample = random_rois(np.random.default_rng(3), [5, 3])
    loss = OnlineHardExampleLoss(kept=2)
    loss(outputs, sample)
    assert not any(value.requires_grad for value in loss.figures.values())
