"""A step that failed, kept and read back."""

import json
import pickle

import pytest
import torch

from rfcn.engine.bundle import (
    FailedStep,
    RunFacts,
    read_bundle,
    restore_torch_rng,
    torch_rng,
    where_to_look,
    write_bundle,
)
from rfcn.engine.checkpoint import load_checkpoint
from rfcn.engine.weights import load_weights
from rfcn.errors import DataError, WeightsError
from tests.engine.conftest import toy_batch

CPU = torch.device("cpu")
WEIGHTS = {"head.weight": torch.tensor([1.0, float("nan")])}
REPORT = {"likely_cause": "a bad box", "pictures": [{"id": "step7_a"}, {"id": "step7_b"}]}


def failed(**changes):
    parts = {"step": 7, "pieces": [toy_batch(7)], "weights": WEIGHTS, "rng": torch_rng(CPU)}
    return FailedStep(**(parts | {"extra": {"scale": 8.0}} | changes))


FACTS = RunFacts(("cat", "dog"), {"train": {"lr": 0.1}})


@pytest.fixture
def place(tmp_path):
    folder, lacking = write_bundle(tmp_path / "failure", failed(), REPORT, FACTS)
    assert lacking == []
    return folder


def test_what_is_read_back_is_what_was_written(place):
    assert place.name == "step_00000007"
    bundle = read_bundle(place)
    assert bundle.class_names == ("cat", "dog")
    assert bundle.config == {"train": {"lr": 0.1}}
    assert bundle.report["likely_cause"] == "a bad box"
    assert bundle.failed.extra == {"scale": 8.0}
    ((batch, targets),), ((before, truths),) = bundle.failed.pieces, [toy_batch(7)]
    assert torch.equal(batch.tensor, before.tensor)
    assert (batch.ids, batch.sizes, batch.share) == (before.ids, before.sizes, before.share)
    for read, written in zip(targets, truths, strict=True):
        assert torch.equal(read.boxes, written.boxes)
        assert read.seed == written.seed == 7
    assert torch.equal(bundle.failed.weights["head.weight"], WEIGHTS["head.weight"]) is False
    assert bundle.failed.weights["head.weight"].isnan().tolist() == [False, True]


def test_the_random_state_makes_the_step_the_same(place):
    torch.manual_seed(3)
    state = torch_rng(CPU)
    first = torch.rand(4)
    restore_torch_rng(state, CPU)
    assert torch.equal(torch.rand(4), first)


def test_files_are_named_where_they_are_known(tmp_path):
    def file_of(name):
        if name == "step7_b":
            raise DataError("the picture is damaged")
        return tmp_path / f"{name}.jpg"

    place, _ = write_bundle(tmp_path, failed(), REPORT, RunFacts(file_of=file_of))
    report = json.loads((place / "failure.json").read_text())
    assert [each["file"] for each in report["pictures"]] == [str(tmp_path / "step7_a.jpg"), None]


def test_each_process_has_its_own(tmp_path):
    places = {write_bundle(tmp_path, failed(), REPORT, FACTS, rank=rank)[0] for rank in (0, 1)}
    assert {place.name for place in places} == {"step_00000007", "step_00000007_rank_1"}


def test_a_part_that_cannot_be_written_hides_nothing(tmp_path):
    def draw(path, pieces):
        raise ValueError("no such colour")

    place, lacking = write_bundle(tmp_path, failed(), REPORT, RunFacts(draw=draw))
    assert lacking == ["pictures.jpg could not be written (ValueError: no such colour)"]
    assert sorted(file.name for file in place.iterdir()) == ["failure.json", "step.pt"]
    assert where_to_look(place, lacking) == (
        f"`rfcn replay {place}` takes the step again and says more (pictures.jpg could not be "
        "written (ValueError: no such colour))."
    )


def test_a_disk_that_is_full_is_told_and_hides_nothing(tmp_path):
    (tmp_path / "failure").write_text("in the way")
    place, lacking = write_bundle(tmp_path / "failure", failed(), REPORT, FACTS)
    assert len(lacking) == 2
    assert "should hold the step, but" in where_to_look(place, lacking)


def test_weights_that_may_be_lost_are_no_checkpoint_and_no_weights(place):
    with pytest.raises(WeightsError, match="another program"):
        load_checkpoint(place / "step.pt")
    with pytest.raises(WeightsError):
        load_weights(place / "step.pt")


class Evil:
    def __reduce__(self):
        return print, ("owned",)


def spoil(path, how):
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-400])
    elif how == "evil":
        torch.save({"kind": Evil()}, path)
    elif how == "foreign":
        torch.save({"model": 1}, path)
    elif how == "newer":
        torch.save({"kind": "rfcn-failed-step", "format": 99}, path)
    elif how == "pickle":
        path.write_bytes(pickle.dumps({"a": 1}))
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("cut", "damaged"),
        ("evil", "refused"),
        ("foreign", "no failed step"),
        ("newer", "Update rfcn"),
        ("pickle", "is no failed step but a pickle"),
        ("gone", "is no failed step but missing"),
    ],
)
def test_what_is_no_bundle_is_told(place, how, words, capsys):
    spoil(place / "step.pt", how)
    with pytest.raises(WeightsError, match=words):
        read_bundle(place)
    assert "owned" not in capsys.readouterr().out
