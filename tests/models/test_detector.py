import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from rfcn.boxes import iou
from rfcn.config import schema
from rfcn.models.anchors import AnchorGrid
from rfcn.models.detector import Normalize, TwoPassDetector, TwoStageDetector
from rfcn.models.heads.poolers import PositionSensitivePooler
from rfcn.models.rpn import AnchorLoss, ProposalSelector, RegionProposalNetwork, RPNHead
from rfcn.structures import Features, ImageBatch, RoIOutputs, RoISample, Target

LOSSES = {"loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box"}


def batch_of(*pictures):
    """A padded batch of uint8 pictures [3, h, w]."""
    sizes = [tuple(one.shape[1:]) for one in pictures]
    height, width = (max(side) for side in zip(*sizes, strict=True))
    pixels = torch.stack(
        [F.pad(one, (0, width - one.shape[2], 0, height - one.shape[1])) for one in pictures]
    )
    return ImageBatch(pixels, sizes, sizes, [str(number) for number in range(len(sizes))])


def noise(height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=generator)


def target_of(boxes, labels, seed=0):
    labels = torch.tensor(labels, dtype=torch.int64)
    boxes = torch.tensor(boxes, dtype=torch.float32).view(-1, 4)
    return Target(boxes, labels, torch.zeros_like(labels).bool(), seed)


NOTHING = target_of([], [])


# -------------------------------------------------------------------------------- normalisation


def test_normalize_keeps_the_padding_zero():
    normalize = Normalize((10, 20, 30), (1, 2, 5))
    batch = batch_of(torch.full((3, 2, 4), 40, dtype=torch.uint8), noise(3, 2))
    images = normalize(batch)
    assert images.dtype == torch.float32
    assert images[0, :, :2].amax(dim=(1, 2)).tolist() == [30, 10, 2]
    assert images[0, :, :2].amin(dim=(1, 2)).tolist() == [30, 10, 2]
    assert (images[0, :, 2:] == 0).all()
    assert (images[1, :, :, 2:] == 0).all()
    assert (batch.tensor[0, :, :2] == 40).all()  # untouched


def test_the_numbers_travel_with_the_weights():
    assert set(Normalize((1, 2, 3), (4, 5, 6)).state_dict()) == {"mean", "std"}


# ------------------------------------------------------------------------------ the bare spine


class Part(nn.Module):
    """Answers what it was told to and remembers what it was asked."""

    inclusive_corners = True

    def __init__(self, answer):
        super().__init__()
        self.answer = answer
        self.asked = []

    def forward(self, *question):
        self.asked.append(question)
        return self.answer


def dummy_spine(**changes):
    proposals = [torch.tensor([[0.0, 0, 8, 8]]), torch.zeros(0, 4)]
    sampled = [torch.tensor([[1.0, 1, 5, 5]]), torch.tensor([[2.0, 2, 6, 6]])]
    parts = {
        "normalize": Part("pictures"),
        "backbone": Part(Features(rpn="conv4", roi="conv5")),
        "proposer": Part((proposals, {"loss_rpn_cls": 1, "loss_rpn_box": 2})),
        "roi_head": Part(RoIOutputs("logits", "deltas")),
        "sampler": Part(RoISample(sampled, [], [])),
        "roi_loss": Part({"loss_cls": 3, "loss_box": 4}),
        "postprocess": Part("detections"),
    }
    return TwoStageDetector(**{**parts, **changes})


def test_the_spine_with_targets():
    spine = dummy_spine()
    losses = spine("batch", ["targets"])
    assert losses == {"loss_rpn_cls": 1, "loss_rpn_box": 2, "loss_cls": 3, "loss_box": 4}
    assert spine.normalize.asked == [("batch",)]
    assert spine.backbone.asked == [("pictures",)]
    [(batch, features, targets)] = spine.proposer.asked
    assert (batch, features.rpn, targets) == ("batch", "conv4", ["targets"])
    [(proposals, targets)] = spine.sampler.asked
    assert (proposals, targets) == (spine.proposer.answer[0], ["targets"])
    [(features, rois)] = spine.roi_head.asked
    assert features == "conv5"
    assert rois.tolist() == [[0, 1, 1, 4, 4], [1, 2, 2, 5, 5]]  # of the sample, inclusive
    assert spine.roi_loss.asked == [(spine.roi_head.answer, spine.sampler.answer)]
    assert spine.postprocess.asked == []


def test_the_spine_without_targets():
    spine = dummy_spine()
    assert spine("batch") == "detections"
    [(_, rois)] = spine.roi_head.asked
    assert rois.tolist() == [[0, 0, 0, 7, 7]]  # of the proposals, inclusive
    [question] = spine.postprocess.asked
    assert question == (spine.roi_head.answer, spine.proposer.answer[0], "batch")
    assert spine.sampler.asked == spine.roi_loss.asked == []


def test_a_head_may_take_half_open_corners():
    spine = dummy_spine()
    spine.roi_head.inclusive_corners = False
    spine("batch")
    [(_, rois)] = spine.roi_head.asked
    assert rois.tolist() == [[0, 0, 0, 8, 8]]


@pytest.mark.parametrize("targets", [None, ["targets"]])
def test_a_head_may_ask_for_whole_pictures(targets):
    """As rows of its own, without the padding of the batch."""
    spine = dummy_spine()
    spine.roi_head.reads_pictures = True
    spine(batch_of(noise(64, 90), noise(48, 96)), targets)
    [(_, _, pictures)] = spine.roi_head.asked
    assert pictures.tolist() == [[0, 0, 0, 89, 63], [1, 0, 0, 95, 47]]


# -------------------------------------------------------------------------------- whole, tiny


@pytest.mark.parametrize("mode", [True, False])
def test_targets_decide_what_comes_back_not_the_mode(mode, tiny_detector):
    detector = tiny_detector().train(mode)
    batch = batch_of(noise(64, 96), noise(96, 64, seed=1))
    losses = detector(batch, [target_of([[10, 10, 50, 50]], [2]), NOTHING])
    assert set(losses) == LOSSES
    assert all(value.shape == () and value.isfinite() for value in losses.values())
    assert all(value.requires_grad for value in losses.values())
    with torch.no_grad():
        detections = detector(batch)
    assert len(detections) == 2
    for found, (height, width) in zip(detections, batch.original_sizes, strict=True):
        assert 0 < len(found) <= 300
        assert found.boxes.shape == (len(found), 4)
        assert set(found.labels.tolist()) <= {1, 2, 3}
        assert (found.scores.diff() <= 0).all()
        assert (found.boxes >= 0).all()
        assert (found.boxes <= torch.tensor([width, height, width, height])).all()


@pytest.mark.parametrize("roi_loss", [schema.OHEM(), schema.Sampled(type="sampled")])
@pytest.mark.parametrize("box_sets", ["agnostic", "background_foreground", "class_aware"])
def test_every_parameter_gets_a_gradient(roi_loss, box_sets, tiny_detector, tiny_model):
    head = tiny_model.roi_head.model_copy(update={"box_sets": box_sets})
    detector = tiny_detector(roi_loss=roi_loss, roi_head=head)
    target = target_of([[10, 10, 50, 50], [60, 5, 90, 30]], [2, 3])
    sum(detector(batch_of(noise(64, 96)), [target]).values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.any(), name


@pytest.mark.parametrize("roi_loss", [schema.OHEM(), schema.Sampled(type="sampled")])
def test_pictures_without_objects_are_legal(roi_loss, tiny_detector):
    """T4, T6: the box losses are 0, and every parameter still gets a finite gradient."""
    detector = tiny_detector(roi_loss=roi_loss)
    losses = detector(batch_of(noise(64, 96), noise(64, 96)), [NOTHING, NOTHING])
    assert losses["loss_box"] == losses["loss_rpn_box"] == 0
    assert losses["loss_rpn_cls"] > 0
    sum(losses.values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("target", [NOTHING, target_of([[10, 10, 50, 50]], [1])])
def test_no_proposal_is_legal(target, tiny_detector, tiny_model):
    """T7: then the boxes themselves are the RoIs, or nothing is."""
    proposer = tiny_model.proposer.model_copy(update={"min_size": 1000.0})
    detector = tiny_detector(proposer=proposer)
    batch = batch_of(noise(64, 96))
    losses = detector(batch, [target])
    assert all(value.isfinite() for value in losses.values())
    sum(losses.values()).backward()
    [found] = detector(batch)
    assert len(found) == 0


@pytest.mark.parametrize("passes", [1, 2])
def test_t5_foreground_is_counted_among_all_that_were_sampled(passes, tiny_detector):
    """A picture with an object and one without; OHEM keeps one RoI of each."""
    detector = tiny_detector(roi_loss=schema.OHEM(keep=1, passes=passes))
    batch = batch_of(noise(64, 96), noise(64, 96))
    target = target_of([[10, 10, 50, 50]], [2])
    detector(batch, [target, NOTHING])
    features = detector.features(batch)
    proposals, _ = detector.proposer(batch, features, [target, NOTHING])
    labels = detector.sampler(proposals, [target, NOTHING]).labels
    foreground = [int((one > 0).sum()) for one in labels]
    assert foreground[0] > 1 > foreground[1]
    assert detector.figures["fg_rois_per_image"] == sum(foreground) / 2
    assert detector.figures["fg_rois_kept"] <= 0.5


@pytest.mark.parametrize("size", [(16, 16), (7, 200), (200, 3)])
def test_odd_pictures_are_legal(size, tiny_detector):
    detector = tiny_detector()
    batch = batch_of(noise(*size))
    detector(batch)
    assert all(value.isfinite() for value in detector(batch, [NOTHING]).values())


def test_seeds_alone_drive_the_losses(tiny_detector):
    detector = tiny_detector(roi_loss=schema.Sampled(type="sampled", rois=8))
    batch = batch_of(noise(64, 96))
    targets = [target_of([[10, 10, 50, 50]], [1], seed) for seed in (5, 5, 6)]
    first, second, other = (detector(batch, [one]) for one in targets)
    assert all(torch.equal(first[name], second[name]) for name in LOSSES)
    assert not torch.equal(first["loss_cls"], other["loss_cls"])


def test_losses_under_autocast(tiny_detector):
    """Half precision changes the third digit, not the rule."""
    detector = tiny_detector()
    batch, targets = batch_of(noise(64, 96)), [target_of([[10, 10, 50, 50]], [2])]
    full = detector(batch, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = detector(batch, targets)
        [found] = detector(batch)
    for name in ("loss_rpn_cls", "loss_rpn_box", "loss_cls"):
        assert_close(half[name].float(), full[name], rtol=0.05, atol=0.01)
    sum(half.values()).backward()
    assert found.boxes.dtype == found.scores.dtype == torch.float32


def test_state_dict_round_trip(tiny_detector, tmp_path):
    one, other = tiny_detector(), tiny_detector()
    for parameter in other.parameters():
        nn.init.zeros_(parameter)
    torch.save(one.state_dict(), tmp_path / "weights.pth")
    other.load_state_dict(torch.load(tmp_path / "weights.pth", weights_only=True))
    batch = batch_of(noise(64, 96))
    with torch.no_grad():
        [expected], [found] = one(batch), other(batch)
    assert len(found) > 0
    assert torch.equal(found.boxes, expected.boxes)
    assert torch.equal(found.scores, expected.scores)


# ------------------------------------------------------------------------------------- padding


class LocalBackbone(nn.Module):
    """Mean colours of 16 x 16 squares: a cell knows its own pixels only."""

    def forward(self, images):
        cells = F.avg_pool2d(images, 16)
        cells = torch.cat([cells, cells.square()], dim=1)
        return Features(rpn=cells, roi=cells)


def local_detector(tiny_detector):
    """The tiny detector's head on a backbone that the padding cannot reach."""
    detector = tiny_detector()
    torch.manual_seed(0)
    anchors = AnchorGrid(base_size=16, scales=(1, 2), stride=16)
    detector.backbone = LocalBackbone()
    detector.proposer = RegionProposalNetwork(
        head=RPNHead(6, 16, len(anchors)),
        anchors=anchors,
        loss=AnchorLoss(),
        select=ProposalSelector(),
    )
    head = detector.roi_head
    head.reduce = nn.Conv2d(6, head.reduce.out_channels, 1)
    head.pooler = PositionSensitivePooler(3, 16)
    for layer in (head.reduce, head.score_maps, head.box_maps):
        nn.init.normal_(layer.weight, std=0.3)
    return detector


@torch.no_grad()
def test_padding_changes_nothing_but_what_a_backbone_lets_through(tiny_detector):
    """Normalisation, RPN, pooling and post-processing treat a padded picture as if alone."""
    detector = local_detector(tiny_detector)
    picture = noise(64, 80) // 2 + noise(64, 80, seed=1) // 2
    picture[:, 20:40, 30:60] = 250
    [alone] = detector(batch_of(picture))
    _, padded, _ = detector(batch_of(noise(128, 48, seed=2), picture, noise(16, 160, seed=3)))
    assert len(alone) > 20
    assert padded.labels.tolist() == alone.labels.tolist()
    assert_close(padded.boxes, alone.boxes, rtol=0, atol=1e-3)
    assert_close(padded.scores, alone.scores, rtol=0, atol=1e-5)


# ------------------------------------------------------------------------------------ learning


def scene(*objects):
    """A grey picture of 96 x 96 with one rectangle for each (x1, y1, x2, y2, label)."""
    colours = {1: (230, 40, 40), 2: (40, 60, 230)}
    picture = torch.full((3, 96, 96), 120, dtype=torch.uint8)
    for x1, y1, x2, y2, label in objects:
        picture[:, y1:y2, x1:x2] = torch.tensor(colours[label], dtype=torch.uint8)[:, None, None]
    return picture, target_of([one[:4] for one in objects], [one[4] for one in objects])


def test_it_learns_two_pictures_by_heart(tiny_detector):
    """260 steps: the loss falls to an eighth, each rectangle is found, and nothing beside it."""
    scenes = [scene((8, 8, 48, 40, 1), (56, 50, 88, 90, 2)), scene((30, 20, 70, 80, 2))]
    batch, targets = batch_of(*(one for one, _ in scenes)), [one for _, one in scenes]
    detector = tiny_detector(classes=2)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [200])
    totals = []
    for _ in range(260):
        total = sum(detector(batch, targets).values())
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        schedule.step()
        totals.append(total.item())
    assert totals[-1] < totals[0] / 8

    with torch.no_grad():
        found = detector(batch)
    for detections, target in zip(found, targets, strict=True):
        sure = detections.above(0.6)
        assert sorted(sure.labels.tolist()) == sorted(target.labels.tolist())
        same_class = sure.labels[:, None] == target.labels
        assert ((iou(sure.boxes, target.boxes) * same_class).amax(dim=0) > 0.6).all()


# ----------------------------------------------------------------------------------- two passes


@pytest.mark.parametrize("keep", [4, 1000])
def test_two_passes_of_ohem_give_the_losses_and_gradients_of_one(tiny_detector, keep):
    batch = batch_of(noise(96, 112), noise(80, 96, seed=1))
    targets = [target_of([[10, 10, 60, 70], [50, 20, 90, 90]], [1, 3]), NOTHING]
    results = []
    for passes in (1, 2):
        detector = tiny_detector(roi_loss=schema.OHEM(keep=keep, passes=passes))
        assert isinstance(detector, TwoPassDetector) == (passes == 2)
        for layer in (detector.roi_head.score_maps, detector.roi_head.box_maps):
            nn.init.normal_(layer.weight, std=0.1, generator=torch.Generator().manual_seed(0))
        losses = detector(batch, targets)
        sum(losses.values()).backward()
        results.append((losses, [p.grad for p in detector.parameters() if p.requires_grad]))
    (one, one_gradients), (two, two_gradients) = results
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(one[name], two[name])
    for first, second in zip(one_gradients, two_gradients, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


def test_the_second_pass_sees_what_is_kept_alone(tiny_detector):
    detector = tiny_detector(roi_loss=schema.OHEM(keep=5, passes=2))
    seen = []
    detector.roi_head.register_forward_pre_hook(lambda _, given: seen.append(len(given[1])))
    detector(batch_of(noise(96, 112)), [target_of([[10, 10, 60, 70]], [2])])
    first, second = seen
    assert first > 50
    assert second == 5
