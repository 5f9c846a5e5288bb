"""A detector in the place of one of torchvision's."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from rfcn.evaluation.coco import COCOEvaluator, COCOTruth
from rfcn.inference.detector import Detector
from rfcn.structures import Target


@pytest.fixture
def pictures(photo: np.ndarray) -> list[Tensor]:
    """As torchvision's ToTensor makes them: two sizes."""
    whole = torch.from_numpy(photo).permute(2, 0, 1).float() / 255
    return [whole, whole[:, :30], whole.flip(2)]


TARGETS = [
    {"boxes": torch.tensor([[4.0, 4, 40, 40]]), "labels": torch.tensor([1]), "image_id": 7},
    {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},
    {"boxes": torch.tensor([[4, 4, 40, 40], [9, 9, 60, 44]]), "labels": torch.tensor([2, 3])},
]


def test_in_evaluation_it_gives_what_predict_gives(
    tiny: Detector, pictures: list[Tensor], photo: np.ndarray
) -> None:
    model = tiny.as_torchvision()
    assert not model.training
    arrays = [photo, photo[:30], photo[:, ::-1]]
    for answer, found in zip(model(pictures), tiny.predict(arrays), strict=True):
        assert set(answer) == {"boxes", "labels", "scores"}
        assert len(found) > 0
        for name, tensor in answer.items():
            assert torch.equal(tensor, getattr(found, name))
        assert answer["labels"].dtype == torch.int64
        assert answer["boxes"].shape == (len(found), 4)
    assert model(pictures, TARGETS)[0].keys() == {"boxes", "labels", "scores"}
    with pytest.raises(ValueError, match="its values are"):
        model([pictures[0] * 255])


def test_in_training_it_gives_losses_that_learn(tiny: Detector, pictures: list[Tensor]) -> None:
    model = tiny.as_torchvision()
    model.train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02)
    sums = []
    for _ in range(8):
        torch.manual_seed(0)
        losses = model(pictures, TARGETS)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        # the head's own depend on how many proposals are good by now
        sums.append((losses["loss_rpn_cls"] + losses["loss_rpn_box"]).item())
    assert set(losses) == {"loss_rpn_cls", "loss_rpn_box", "loss_cls", "loss_box"}
    assert sums[-1] < sums[0]
    model.eval()
    assert "scores" in model(pictures)[0]
    assert tiny.predict(pictures[0]).scores.equal(model(pictures[:1])[0]["scores"])  # one detector


def test_seeds_come_from_torch(tiny: Detector, pictures: list[Tensor]) -> None:
    model = tiny.as_torchvision().train()
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(float(sum(model(pictures, TARGETS).values()).detach()))
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"boxes": torch.tensor([[4.0, 4, 4, 40]])}, "a box without area"),
        ({"labels": torch.tensor([0])}, "the label 0: classes count from 1"),
        ({"labels": torch.tensor([1, 2])}, "1 boxes and labels [2]"),
    ],
)
def test_targets_that_do_not_fit(
    tiny: Detector, pictures: list[Tensor], change: dict[str, Any], says: str
) -> None:
    model = tiny.as_torchvision().train()
    with pytest.raises(ValueError, match="a target") as fault:
        model(pictures[:1], [{**TARGETS[0], **change}])
    assert says in str(fault.value)
    with pytest.raises(ValueError, match="a target for every picture"):
        model(pictures, TARGETS[:2])
    with pytest.raises(ValueError, match="a target for every picture"):
        model(pictures)


def test_a_copy_is_another_detector(tiny: Detector, pictures: list[Tensor]) -> None:
    model = tiny.as_torchvision()
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.zero_()
    scores = model(pictures[:1])[0]["scores"]
    assert tiny.predict(pictures[0]).scores.equal(scores)
    assert not twin(pictures[:1])[0]["scores"].equal(scores)


@torch.inference_mode()
def evaluate(model: torch.nn.Module, loader: Any, truth: COCO) -> np.ndarray:
    """An evaluation as people write it around torchvision's detectors."""
    model.eval()
    results = []
    for images, targets in loader:
        images = [image.to("cpu") for image in images]
        outputs = [{k: v.to("cpu") for k, v in output.items()} for output in model(images)]
        for target, output in zip(targets, outputs, strict=True):
            boxes = output["boxes"].clone()
            boxes[:, 2:] -= boxes[:, :2]
            results += [
                {"image_id": target["image_id"], "category_id": label, "bbox": box, "score": score}
                for box, score, label in zip(
                    boxes.tolist(),
                    output["scores"].tolist(),
                    output["labels"].tolist(),
                    strict=True,
                )
            ]
    judge = COCOeval(truth, truth.loadRes(results), iouType="bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    return judge.stats


def test_code_around_torchvision_runs_unchanged(tiny: Detector, photo: np.ndarray) -> None:
    pictures = {number: np.roll(photo, 9 * number, axis=1) for number in range(3)}
    found = {number: tiny.predict(picture) for number, picture in pictures.items()}
    # true is some of what it finds, moved a little
    true = {number: one[:9:3].boxes + torch.tensor([0, 0, 3, 2]) for number, one in found.items()}
    labels = {number: one[:9:3].labels for number, one in found.items()}
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": number} for number in pictures],
        "categories": [{"id": n, "name": name} for n, name in enumerate(tiny.class_names, 1)],
        "annotations": [
            {
                "id": 3 * number + place + 1,
                "image_id": number,
                "category_id": label,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }
            for number, boxes in true.items()
            for place, ((x1, y1, x2, y2), label) in enumerate(
                zip(boxes.tolist(), labels[number].tolist(), strict=True)
            )
        ],
    }
    truth.createIndex()
    loader = [
        ([torch.from_numpy(picture).permute(2, 0, 1) / 255], [{"image_id": number}])
        for number, picture in pictures.items()
    ]
    stats = evaluate(tiny.as_torchvision(), loader, truth)

    none = torch.zeros(3, dtype=torch.bool)
    own = COCOEvaluator(
        {
            str(number): COCOTruth.from_target(Target(boxes, labels[number], none))
            for number, boxes in true.items()
        },
        tiny.class_names,
    )
    own.update([str(number) for number in found], list(found.values()))
    assert own.compute().figures()["AP"] == pytest.approx(stats[0], abs=1e-9)
    assert 0.1 < stats[0] < 1
