import numpy as np
import pytest
import torch
from torch.testing import assert_close

from rfcn.models.sampling import (
    ANCHOR_STREAM,
    ROI_STREAM,
    AllRoIs,
    RandomRoIs,
    generator_for,
    pick,
    sample_anchors,
)
from rfcn.structures import Target

STD = (0.1, 0.1, 0.2, 0.2)
NO_BOXES = torch.zeros(0, 4)


def target_of(boxes, labels, seed=0):
    labels = torch.as_tensor(labels, dtype=torch.int64)
    return Target(torch.as_tensor(boxes).view(-1, 4), labels, torch.zeros_like(labels).bool(), seed)


def random_target(oracles, rng, most=4, seed=0):
    boxes = oracles.random_boxes(rng, rng.integers(0, most + 1), 100)
    return target_of(boxes, rng.integers(1, 21, len(boxes)), seed)


def random_rois(**changes):
    settings = {
        "rois": 16,
        "foreground_fraction": 0.25,
        "foreground_iou": 0.5,
        "background_iou": 0.1,
        "box_std": STD,
    }
    return RandomRoIs(**{**settings, **changes})


def rows_of(sample):
    """Each RoI of the first picture as one row of box, label and offsets."""
    fields = sample.boxes[0], sample.labels[0][:, None], sample.box_targets[0]
    return [tuple(row) for row in torch.cat(fields, dim=1).tolist()]


# ------------------------------------------------------------------------------------ the dice


def test_pick_takes_the_first_of_the_given_permutation():
    candidates = torch.arange(100, 150)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(3))
    picked = pick(candidates, 7, torch.Generator().manual_seed(3))
    assert picked.tolist() == [100 + index for index in order[:7].tolist()]


def test_pick_keeps_all_of_too_few():
    assert pick(torch.arange(3), 5, torch.Generator()).tolist() == [0, 1, 2]
    assert pick(torch.arange(0), 5, torch.Generator()).shape == (0,)
    assert pick(torch.arange(3), 0, torch.Generator()).shape == (0,)


def test_pick_is_fair():
    """Each of 10 candidates is among the 3 picked in 30 % of 4000 draws (4 sigma: 3 %)."""
    generator = torch.Generator().manual_seed(0)
    counts = torch.zeros(10)
    for _ in range(4000):
        counts[pick(torch.arange(10), 3, generator)] += 1
    assert counts.sum() == 12000
    assert ((counts / 4000 - 0.3).abs() < 0.03).all()


def test_the_streams_of_all_pictures_differ():
    draws = {
        torch.rand(1, generator=generator_for(target_of([], [], seed), stream)).item()
        for seed in range(50)
        for stream in (ANCHOR_STREAM, ROI_STREAM)
    }
    assert len(draws) == 100


def test_large_seeds_are_legal():
    generator_for(target_of([], [], 2**63 - 1), ROI_STREAM)


# ------------------------------------------------------------------------------------- anchors


def test_anchor_samples_obey_the_rule_on_1000_random_cases():
    rng = np.random.default_rng(0)
    for case in range(1000):
        labels = torch.from_numpy(rng.choice([-1, 0, 1], size=60, p=rng.dirichlet([1, 1, 1])))
        batch, fraction = int(rng.integers(1, 50)), rng.uniform(0, 1)
        sampled = sample_anchors(
            labels,
            batch=batch,
            positive_fraction=fraction,
            generator=torch.Generator().manual_seed(case),
        )
        positives = min((labels == 1).sum().item(), int(batch * fraction))
        negatives = min((labels == 0).sum().item(), batch - positives)
        assert (sampled == 1).sum() == positives
        assert (sampled == 0).sum() == negatives
        assert (sampled == labels)[sampled != -1].all()  # nothing changes sides


def test_anchor_samples_equal_those_of_the_same_permutations():
    labels = torch.tensor([0, 1] * 40)
    sampled = sample_anchors(
        labels, batch=16, positive_fraction=0.5, generator=torch.Generator().manual_seed(5)
    )
    same = torch.Generator().manual_seed(5)
    positives = 2 * torch.randperm(40, generator=same)[:8] + 1
    negatives = 2 * torch.randperm(40, generator=same)[:8]
    assert set((sampled == 1).nonzero()[:, 0].tolist()) == set(positives.tolist())
    assert set((sampled == 0).nonzero()[:, 0].tolist()) == set(negatives.tolist())


def test_negatives_fill_the_place_of_missing_positives():
    sampled = sample_anchors(
        torch.tensor([1] + [0] * 300),
        batch=256,
        positive_fraction=0.5,
        generator=torch.Generator(),
    )
    assert (sampled == 1).sum() == 1
    assert (sampled == 0).sum() == 255


# ---------------------------------------------------------------------------------------- RoIs


def test_rois_equal_the_slow_version_on_1000_random_cases(oracles):
    rng = np.random.default_rng(1)
    sampler = AllRoIs(foreground_iou=0.5, box_std=STD)
    foregrounds = 0
    for _ in range(1000):
        proposals = oracles.random_boxes(rng, rng.integers(0, 12), 100)
        target = random_target(oracles, rng)
        sample = sampler([torch.from_numpy(proposals)], [target])
        truth = target.boxes.tolist()
        rows = proposals.tolist() + truth
        assert sample.boxes[0].tolist() == rows
        for row, label, box_target in zip(
            rows, sample.labels[0].tolist(), sample.box_targets[0].tolist(), strict=True
        ):
            winner, overlap = oracles.best_box(row, truth) if truth else (0, 0)
            if overlap >= 0.5:
                foregrounds += 1
                assert label == target.labels[winner]
                assert box_target == pytest.approx(
                    oracles.encode(truth[winner], row, STD), rel=1e-3, abs=1e-3
                )
            else:
                assert label == 0
                assert box_target == [0, 0, 0, 0]
    assert foregrounds > 1000


def test_a_box_is_its_own_roi_with_nothing_to_correct():
    target = target_of([[10.0, 10, 30, 50]], [7])
    sample = AllRoIs(foreground_iou=0.5, box_std=STD)([NO_BOXES], [target])
    assert sample.labels[0].tolist() == [7]
    assert sample.box_targets[0].tolist() == [[0, 0, 0, 0]]


def test_random_rois_obey_the_rule_on_1000_random_cases(oracles):
    rng = np.random.default_rng(2)
    everything = AllRoIs(foreground_iou=0.5, box_std=STD)
    for case in range(1000):
        proposals = torch.from_numpy(oracles.random_boxes(rng, 40, 100))
        target = random_target(oracles, rng, seed=case)
        sampler = random_rois(rois=int(rng.integers(4, 33)))
        sample = sampler([proposals], [target])
        pool = everything([proposals], [target])

        overlaps = [
            max((oracles.iou(one, box) for box in target.boxes.tolist()), default=0.0)
            for one in pool.boxes[0].tolist()
        ]
        most = round(sampler.rois * 0.25)
        foreground = min(sum(one >= 0.5 for one in overlaps), most)
        background = min(sum(0.1 <= one < 0.5 for one in overlaps), sampler.rois - foreground)
        labels = sample.labels[0]
        assert (labels > 0).sum() == foreground
        assert (labels == 0).sum() == background

        chosen = rows_of(sample)
        assert len(set(chosen)) == len(chosen)  # without replacement
        assert set(chosen) <= set(rows_of(pool))  # each with its own label and offsets


def test_random_rois_skip_the_easiest_background():
    target = target_of([[0.0, 0, 10, 10]], [1])
    proposals = torch.tensor([[0.0, 0, 10, 2], [50, 50, 60, 60]])  # IoU 0.2 and 0
    sample = random_rois()([proposals], [target])
    assert sample.boxes[0].tolist() == [[0, 0, 10, 10], [0, 0, 10, 2]]


@pytest.mark.parametrize("sampler", [AllRoIs(foreground_iou=0.5, box_std=STD), random_rois()])
def test_a_picture_samples_alike_in_any_batch(sampler, oracles):
    rng = np.random.default_rng(3)
    targets = [random_target(oracles, rng, most=9, seed=seed) for seed in range(3)]
    proposals = [torch.from_numpy(oracles.random_boxes(rng, 80, 100)) for _ in targets]
    together = sampler(proposals, targets)
    torch.rand(17)  # nor does the global stream matter
    backwards = sampler(proposals[::-1], targets[::-1])
    for index in range(3):
        alone = sampler(proposals[index : index + 1], targets[index : index + 1])
        assert_close(alone.boxes[0], together.boxes[index], rtol=0, atol=0)
        assert_close(alone.boxes[0], backwards.boxes[2 - index], rtol=0, atol=0)
        assert_close(alone.box_targets[0], together.box_targets[index], rtol=0, atol=0)


def test_another_seed_is_another_choice(oracles):
    rng = np.random.default_rng(4)
    proposals = torch.from_numpy(oracles.random_boxes(rng, 200, 100))
    box = [[20.0, 20, 80, 80]]
    one, other = (
        random_rois()([proposals], [target_of(box, [1], seed)]).boxes[0] for seed in (0, 1)
    )
    assert one.shape == other.shape
    assert not torch.equal(one, other)


@pytest.mark.parametrize("sampler", [AllRoIs(foreground_iou=0.5, box_std=STD), random_rois()])
def test_nothing_to_sample_from(sampler):
    """T4, T7: no box; no proposal; neither."""
    empty = target_of([], [])
    only_background = sampler([torch.tensor([[0.0, 0, 5, 5]])], [empty])
    assert (only_background.labels[0] == 0).all()
    nothing = sampler([NO_BOXES], [empty])
    assert nothing.boxes[0].shape == nothing.box_targets[0].shape == (0, 4)
    assert nothing.labels[0].shape == (0,)
    assert nothing.labels[0].dtype == torch.int64
