"""Odd data on its way through a whole training step, evaluation or run."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from rfcn.config.loader import load_config
from rfcn.datasets.loader import TrainLoader
from rfcn.datasets.voc import VOCDataset
from rfcn.errors import DataError
from rfcn.evaluation.voc import VOCEvaluator
from rfcn.experiment import run_experiment
from rfcn.models import matching
from rfcn.structures import Detections, ImageBatch, Target

Write = Callable[..., Path]


def _batch(dataset: VOCDataset, **changes: Any) -> tuple[ImageBatch, list[Target]]:
    settings: dict[str, Any] = {
        "batch_size": len(dataset),
        "short_sides": (96,),
        "max_long_side": 128,
        "flip": False,
        "use_difficult": False,
        "seed": 0,
        "workers": 0,
    }
    return next(iter(TrainLoader(dataset, **(settings | changes))))


def _step(detector: Any, batch: ImageBatch, targets: list[Target]) -> dict[str, Tensor]:
    """The losses of a training step, all of them finite and with gradients."""
    losses = detector.train()(batch, targets)
    torch.stack(list(losses.values())).sum().backward()
    gradients = [one.grad for one in detector.parameters() if one.grad is not None]
    assert gradients
    assert all(bool(one.isfinite().all()) for one in (*losses.values(), *gradients))
    return losses


# V21
def test_v21_a_step_on_pictures_without_objects(write_voc: Write, tiny_detector: Any) -> None:
    data = VOCDataset(write_voc({"a": [], "b": []}), "train", classes=("cat",))
    losses = _step(tiny_detector(classes=1), *_batch(data))
    boxes = [loss for name, loss in losses.items() if "box" in name]
    assert boxes
    assert all(loss == 0 for loss in boxes)


# V22
@pytest.mark.parametrize("use", [False, True])
def test_v22_all_difficult_is_trained_on_if_asked_to(
    use: bool, write_voc: Write, voc_object: Callable[..., str], tiny_detector: Any
) -> None:
    xml = f"<annotation>{voc_object('cat', 3, 3, 38, 28, difficult=1)}</annotation>"
    data = VOCDataset(write_voc({"a": xml}), "train")
    batch, targets = _batch(data, use_difficult=use)
    assert len(targets[0].boxes) == int(use)
    losses = _step(tiny_detector(classes=1), batch, targets)
    assert any(loss.item() > 0 for name, loss in losses.items() if "box" in name) == use


# V22
def test_v22_a_class_of_difficult_objects_only_is_not_available(
    write_voc: Write, voc_object: Callable[..., str]
) -> None:
    objects = voc_object("cat", 3, 3, 38, 28, difficult=1) + voc_object("dog", 1, 1, 9, 9)
    data = VOCDataset(write_voc({"a": f"<annotation>{objects}</annotation>"}), "train")
    evaluator = VOCEvaluator({"a": data.target(0)}, data.class_names)
    truth = data.target(0)
    evaluator.update(["a"], [Detections(truth.boxes, torch.tensor([0.9, 0.8]), truth.labels)])
    result = evaluator.compute()
    cat, dog = result.classes
    assert (cat.truths, cat.difficult, cat.curves[0].ap) == (0, 1, None)
    assert dog.curves[0].ap == result.mean_ap(0.5) == 1


@contextmanager
def _no_more_than(more: int) -> Iterator[None]:
    """No allocation takes this process more than so many bytes beyond what it has now."""
    lines = Path("/proc/self/status").read_text().splitlines()
    now = 1024 * int(next(line for line in lines if line.startswith("VmData")).split()[1])
    before = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (now + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


# V24
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is limited on Linux")
def test_v24_a_step_on_five_thousand_objects_in_bounded_memory(
    write_voc: Write, tiny_detector: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = [("cat", 1 + n % 30, 1 + n % 20, 3 + n % 30, 4 + n % 20) for n in range(5000)]
    data = VOCDataset(write_voc({"a": objects}), "train")
    anchors = torch.rand(20_000, 4) * 400
    anchors[:, 2:] += anchors[:, :2]
    target = data.target(0)

    def match() -> None:
        matching.match_anchors(
            anchors, target.boxes, (1000, 1000), positive_iou=0.7, negative_iou=0.3
        )

    batch, targets = _batch(data)
    assert len(targets[0].boxes) == 5000
    detector = tiny_detector(classes=1)
    with _no_more_than(400 << 20):
        _step(detector, batch, targets)
        matching.match_rois(anchors[:2000], target.boxes, target.labels)
        match()
        monkeypatch.setattr(matching, "PAIRS_AT_ONCE", 1 << 40)
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            match()


# I8
def test_i8_extreme_shapes_take_a_step_and_a_look(tmp_path: Path, tiny_detector: Any) -> None:
    sizes = {"dot": (1, 1), "row": (1, 5000), "column": (5000, 1)}
    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / part).mkdir(parents=True)
    for name, (height, width) in sizes.items():
        Image.new("RGB", (width, height), "grey").save(tmp_path / f"JPEGImages/{name}.png")
        box = f"<xmin>1</xmin><ymin>1</ymin><xmax>{width}</xmax><ymax>{height}</ymax>"
        xml = f"<annotation><object><name>x</name><bndbox>{box}</bndbox></object></annotation>"
        (tmp_path / f"Annotations/{name}.xml").write_text(xml)
    (tmp_path / "ImageSets/Main/train.txt").write_text("\n".join(sizes))
    data = VOCDataset(tmp_path, "train")
    assert data.sizes == list(sizes.values())
    detector = tiny_detector(classes=1)
    batch, targets = _batch(data)
    _step(detector, batch, targets)
    with torch.inference_mode():
        found = detector.eval()(batch)
    for one, (height, width) in zip(found, batch.original_sizes, strict=True):
        assert one.boxes.isfinite().all()
        assert (one.boxes <= torch.tensor([width, height, width, height])).all()


# ------------------------------------------------------------------------------- pictures that went


@pytest.fixture
def spoilt(trained_run: Any, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the generated set, in which pictures can be spoilt after they were checked."""
    import shutil

    root = tmp_path / "set"
    shutil.copytree(trained_run.data, root)
    return root


RUN = (
    *("train.iterations=6", "train.lr_steps=[]", "train.warmup_iterations=1"),
    *("runtime.tensorboard=false", "runtime.log_every=6"),
)


def _names(root: Path, part: str) -> list[str]:
    return (root / "ImageSets" / "Main" / f"{part}.txt").read_text().split()


def _picture(root: Path, name: str) -> Path:
    return next((root / "JPEGImages").glob(f"{name}.*"))


# I12
def test_i12_pictures_that_went_are_skipped_counted_and_named(
    spoilt: Path, trained_run: Any, tmp_path: Path
) -> None:
    """P22 too: one missing and one torn in training, one of another size to be tested on."""
    gone, torn = _names(spoilt, "train")[:2]
    replaced = _names(spoilt, "val")[0]
    config = load_config(
        trained_run.config, [*RUN, f"data.root={spoilt}", "data.on_bad_image=skip"]
    )
    _picture(spoilt, gone).unlink()
    path = _picture(spoilt, torn)
    path.write_bytes(path.read_bytes()[:-1500])
    path = _picture(spoilt, replaced)
    path.write_bytes(b"")
    output = tmp_path / "run"
    result = run_experiment(config, output)
    assert not isinstance(result, int)
    assert (result.pictures, result.pictures_missing) == (3, 1)
    log = (output / "train.log").read_text()
    assert f"note: Missing pictures, which will be skipped: 1 ({_relative(spoilt, gone)}" in log
    assert "another takes the place of (2 of at most 3)" in log
    assert f"not detected on (1 of at most 3): {path}: the file is empty" in log
    for name in (gone, torn):
        assert f"{name}" in log.split("note: Pictures that could not be read: 2 (")[1]
    assert f"Pictures that could not be read: 1 ({replaced}). They count as pictures in" in log


def _relative(root: Path, name: str) -> str:
    return str(root / "JPEGImages" / f"{name}.jpg")


# I12
def test_i12_without_the_option_the_run_does_not_begin(
    spoilt: Path, trained_run: Any, tmp_path: Path
) -> None:
    config = load_config(trained_run.config, [*RUN, f"data.root={spoilt}"])
    _picture(spoilt, _names(spoilt, "train")[0]).unlink()
    with pytest.raises(
        DataError, match=r"1 pictures are missing.*or set `data.on_bad_image: skip`"
    ):
        run_experiment(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


# I7, V17: `data.exif`
@pytest.mark.parametrize("orientation", range(1, 9))
def test_i7_boxes_match_the_upright_picture(orientation: int, write_voc: Write) -> None:
    """The annotated patch is the only bright one, whichever way the file stores the picture."""
    root = write_voc({"a": [("patch", 5, 3, 12, 7)]})
    upright = np.zeros((20, 30, 3), np.uint8)
    upright[2:7, 4:12] = 255
    store = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    stored = np.ascontiguousarray(store(upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(root / "JPEGImages" / "a.jpg", format="PNG", exif=exif)
    sample = VOCDataset(root, "train")[0]
    x1, y1, x2, y2 = (int(one) for one in sample.target.boxes[0])
    assert (x1, y1, x2, y2) == (4, 2, 12, 7)
    assert sample.image[y1:y2, x1:x2].min() == 255
    assert sample.image.sum() == 255 * 3 * 40
