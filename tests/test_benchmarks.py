"""The benchmark method: what is timed, and tables that cannot drift from the figures."""

import dataclasses
import importlib
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

FOLDER = Path(__file__).parents[1] / "benchmarks"
_SCRIPTS = (
    "bench_guards",
    "bench_loader",
    "bench_systems",
    "expected_scaling",
    "torchvision_frcnn",
)


@pytest.fixture
def method(monkeypatch):
    """benchmarks/common.py and tables.py, found as the scripts beside them find them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import common
    import tables

    yield common, tables
    for name in (*_SCRIPTS, "common", "tables", "loads"):
        sys.modules.pop(name, None)


def times(ms):
    return {f"{clock}_{kind}_ms": ms for clock in ("wall", "cpu") for kind in ("median", "min")}


def test_the_page_is_drawn_from_the_json_files(method):
    _, tables = method
    written = (tables.RESULTS / "README.md").read_text()
    assert written == tables.page(tables.RESULTS), "run: python benchmarks/tables.py"


def test_candidates_take_turns_and_the_floor_with_them(method):
    common, _ = method
    turns = []
    candidates = {name: lambda name=name: turns.append(name) for name in "ab"}
    found = common.interleave(candidates, 2, touches=[torch.zeros(1000)])
    assert turns == list("ababab")  # the first pair is the warm-up
    assert list(found) == ["a", "b", "floor"]
    assert set(found["floor"]) == set(times(0))


def test_the_floor_moves_each_byte_once(method):
    common, _ = method
    maps, output = torch.zeros(2, 3, dtype=torch.float64), torch.zeros(5, dtype=torch.float16)
    assert common.bytes_of([maps, output]) == 58
    assert common.copy_of([maps, output])().numel() == 29
    assert common.floor_ms(maps, output) >= 0


def test_a_report_keeps_its_circumstances(method, tmp_path, monkeypatch, capsys):
    common, tables = method
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(common, "copy_gb_s", lambda: 9.5)
    row = {"rois": 300, "ms": {"rfcn": times(2.0), "torchvision": times(9.0), "floor": times(1.0)}}
    common.report("op", [row, {"rois": 7, "ms": {"rfcn": times(150.4)}}])
    table = "\n".join(
        [
            "| rois | rfcn | torchvision | floor |",
            "| --- | ---: | ---: | ---: |",
            "| 300 | 2 · 4.5× · 50 % | 9 · 11 % | 1 |",
            "| 7 | 150 |  |  |",
        ]
    )
    assert capsys.readouterr().out.strip() == table
    machine = json.loads((tmp_path / "op.json").read_text())["machine"]
    assert {"cpu", "threads", "load_average", "torch", "torchvision", "rfcn"} <= set(machine)
    page = tables.page(tmp_path)
    assert "## op\n" in page
    assert table in page
    assert "copy 9.5 GB/s" in page


SMALL = {
    "psroi_pool": [(2, 3)],
    "psroi_align": [(2, 3)],
    "roi_align": [(4, 3, 2), (4, 3, 0)],
    "roi_pool": [(4, 3)],
    "roi_average_pool": [(2, 3)],
    "deform_psroi_pool": [(2, 3)],
    "nms": [("spread", 20), ("clustered", 20)],
    "evaluation": [("COCO", 4, 3), ("VOC", 4, 3)],
}
"""Loads of the benchmark scripts on which they take milliseconds."""


def test_every_operator_has_a_benchmark():
    scripts = {file.stem.removeprefix("bench_") for file in FOLDER.glob("bench_*.py")}
    assert scripts == {*SMALL, "guards", "head", "loader", "systems"}


@pytest.mark.parametrize("op", SMALL)
def test_a_benchmark_runs_and_holds_the_rival_to_the_same_results(op, method, monkeypatch):
    common, tables = method
    timed = common.interleave
    monkeypatch.setattr(common, "interleave", lambda c, *_, **touches: timed(c, 1, **touches))
    script = importlib.import_module(f"bench_{op}")
    for name, value in (("HEIGHT", 6), ("WIDTH", 7)):
        monkeypatch.setattr(script, name, value, raising=False)
    try:
        rows = common.rows_of(script.bench, SMALL[op])
    finally:
        for name in (f"bench_{op}", "loads"):
            sys.modules.pop(name, None)
    assert rows
    for row in rows:
        assert next(iter(row["ms"])).startswith(("rfcn", op))  # ours comes first
    assert tables.markdown(rows).count("\n") == len(rows) + 1


def test_the_gpu_script_says_in_one_line_that_there_is_no_gpu():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [sys.executable, str(FOLDER / "gpu.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "finds no GPU" in done.stderr


def test_the_checks_of_the_gpu_script_compare(monkeypatch):
    """On the CPU they compare it with itself; an operator that differs is reported."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import gpu_cases

    vote = next(one for one in gpu_cases.subjects() if one.name == "psroi_vote")
    said = list(gpu_cases.check(vote, "cpu", 1, 12))
    assert len(said) == 36
    assert not any(fault for _, fault in said)
    factors = itertools.cycle(
        range(1, 1000, 100)
    )  # what is expected, then three orders thrice each
    other = dataclasses.replace(vote, call=lambda m, r: vote.call(m, r) * next(factors))
    faults = [what for what, fault in gpu_cases.check(other, "cpu", 1, 12) if fault]
    assert len(faults) == 36
    assert not any(fault for _, fault in gpu_cases.check_nms("cpu", 70))
    for name in [name for name in sys.modules if name in {p.stem for p in FOLDER.glob("*.py")}]:
        sys.modules.pop(name)


def test_systems_are_counted_in_the_turn_that_is_not_timed(method, monkeypatch):
    common, _ = method
    import bench_systems

    small, large = torch.ones(10, 10), torch.ones(20, 20)
    turns = []
    runs = {"a": lambda: (turns.append("a"), small @ small), "b": lambda: large @ large}
    monkeypatch.setattr(bench_systems, "interleave", common.interleave)
    counted = bench_systems.Counted(runs["a"])
    counted()
    counted()
    assert counted.gmac == 1000 / 1e9
    turns.clear()
    row = bench_systems.compared({"part": "test"}, "2", runs, rounds=2)
    assert turns == ["a"] * 3
    assert (row["part"], row["counted"], row["aim"]) == ("test", "8.00", "2")
    assert set(row["ms"]) == {"a", "b"}


def test_proposals_of_systems_are_as_many_as_asked_for(method):
    """Of a small network: the RPN runs, then so many boxes take the place of its own."""
    import bench_systems

    batch, targets = bench_systems.picture()
    assert batch.tensor.shape == (1, 3, 600, 1000)
    assert len(targets[0].labels) == 5

    class Proposer(torch.nn.Module):
        def forward(self, *_):
            return [torch.zeros(3, 4)], {"rpn": torch.tensor(2.0)}

    detector = torch.nn.Module()
    detector.proposer = Proposer()
    bench_systems.fixed_proposals(detector, 40)
    boxes, losses = detector.proposer(batch, None, targets)
    assert boxes[0].shape == (40, 4)
    assert losses["rpn"] == 2


def test_loaders_give_the_same_pictures_and_boxes(method, monkeypatch, tmp_path):
    """Ours and torchvision's pipeline, on three small pictures; boxes that differ are seen."""
    import bench_loader

    from rfcn.datasets.voc import VOCDataset

    for part in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (tmp_path / part).mkdir(parents=True)
    box = "<xmin>5</xmin><ymin>3</ymin><xmax>30</xmax><ymax>27</ymax>"
    for name, size in (("a", (60, 40)), ("b", (61, 40)), ("c", (40, 60))):
        picture = torch.linspace(0, 255, size[0] * size[1]).view(size[1], size[0]).byte()
        Image.fromarray(picture.numpy()).convert("RGB").save(tmp_path / f"JPEGImages/{name}.jpg")
        xml = f"<annotation><object><name>x</name><bndbox>{box}</bndbox></object></annotation>"
        (tmp_path / f"Annotations/{name}.xml").write_text(xml)
    (tmp_path / "ImageSets/Main/train.txt").write_text("a\nb\nc")
    dataset = VOCDataset(tmp_path, "train")
    for name, value in {"SHORT": 50, "LONG": 80, "WORKERS": 0, "BATCH": 2, "WARM": 0}.items():
        monkeypatch.setattr(bench_loader, name, value)
    rows = bench_loader.bench(dataset, rounds=1, batches=3)
    assert [row["ours gives"] for row in rows] == ["bytes", "floats"]
    assert all(set(row["ms"]) == {"rfcn", "torchvision"} for row in rows)
    reference = bench_loader.Reference.__getitem__

    def moved(self, item):
        image, target = reference(self, item)
        target["boxes"][:, 0] += 0.1
        return image, target

    monkeypatch.setattr(bench_loader.Reference, "__getitem__", moved)
    with pytest.raises(AssertionError):
        bench_loader.check_equal(dataset, 1)


def test_guards_are_timed_on_the_steps_of_the_bare_loop(method, tmp_path):
    guards = importlib.import_module("bench_guards")
    config = guards.config_of(64, {"type": "tiny", "width": 8})
    weights = []
    for name in ("guarded", "bare"):
        (tmp_path / name).mkdir()
        loops = guards.Loops(tmp_path / name, config)
        getattr(loops, name)()
        weights.append(loops.model.state_dict())
    guarded, bare = weights
    assert all(torch.equal(guarded[name], bare[name]) for name in guarded)
    row = guards.bench(loops, 64, pairs=2)
    assert set(row["ms"]) == {guards.GUARDED, guards.BARE}
    assert row["cost"].count(" %") == 1
    lines = (tmp_path / "bare" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 3, "a line a turn"


def test_torchvisions_detector_keeps_the_contract(method):
    """Losses with targets; without, detections in the pixels of the original picture."""
    import torchvision_frcnn

    table = torchvision_frcnn.TABLES["table3"]
    config = torchvision_frcnn.row_config(
        table.rows[0], table, "mini", seed=0, overrides=["model.backbone.weights=none"]
    )
    torch.manual_seed(0)
    detector = torchvision_frcnn.TorchvisionDetector(config, classes=2)
    box = torch.tensor([[8.0, 8, 70, 60]])
    target = torchvision_frcnn.Target(box, torch.tensor([2]), torch.tensor([False]))
    pixels = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    batch = torchvision_frcnn.ImageBatch(pixels, [(64, 80)], [(128, 160)])
    losses = detector.train()(batch, [target])
    assert len(losses) == 4
    assert all(one.isfinite() and one.ndim == 0 for one in losses.values())
    with torch.no_grad():
        [found] = detector.eval()(batch)
    assert len(found) > 0
    assert set(found.labels.tolist()) <= {1, 2}
    assert 80 < found.boxes[:, 2].max() <= 160


def test_the_largest_picture_of_a_step_keeps_all_waiting(method):
    scaling = importlib.import_module("expected_scaling")
    assert scaling.stretch([[2], [4], [6]]) == 1
    assert scaling.stretch([[2, 6], [4, 4]]) == pytest.approx((6 + 4) / 2 / 4)


def test_a_ring_is_as_fast_as_its_slowest_link(method):
    scaling = importlib.import_module("expected_scaling")
    cluster = scaling.Cluster(machine=100.0, network=10.0, cards=8, hop=0.0)
    assert scaling.exchange_seconds(1, 10**9, cluster) == 0
    assert scaling.exchange_seconds(2, 10**9, cluster) == pytest.approx(0.01)
    assert scaling.exchange_seconds(16, 10**9, cluster) == pytest.approx(2 * 15 / 16 / 10)


def test_an_exchange_that_backward_hides_costs_its_last_bucket(method):
    scaling = importlib.import_module("expected_scaling")
    cluster = scaling.Cluster(tflops=1.0, machine=100.0, hop=0.0)
    step = scaling.Step(gmac=500, gradient_bytes=10**9)  # a second of work, 10 ms of exchange
    last = scaling.exchange_seconds(2, scaling.BUCKET, cluster)
    assert scaling.step_seconds(2, step, 1.0, cluster) == pytest.approx(1 + last)
    slow = scaling.Cluster(tflops=1.0, machine=0.1, hop=0.0)  # ten seconds of exchange
    seconds = scaling.step_seconds(2, step, 1.0, slow)
    assert seconds == pytest.approx(1 + 10 - 2 / 3)
