"""The fuzzer passes on what is right, and catches what is wrong with a line that repeats it."""

import re
import shlex

import fuzz
import fuzz_suppression
import pytest
import torch


def test_every_contract_is_fuzzed():
    others = {"nms", "soft_nms", "box_voting", "deform_psroi_pool, offsets"}
    assert {"psroi_pool", "roi_pool", *others} <= set(fuzz.SUBJECTS)
    assert set(fuzz.DRAWN) <= set(fuzz.ROI_OPERATORS)


@pytest.mark.parametrize("op", fuzz.SUBJECTS)
def test_some_cases_pass(compiled, op):
    tally = fuzz.fuzz([op], seed=1, seconds=600, rows=700)
    assert tally.failures == []
    assert tally.rows[op] >= 700


def wrong_by_a_little(original):
    def call(self, features, rois, variant):
        found = original(self, features, rois, variant)
        return torch.where(found == found.max(), found + 1e-3, found)

    return call


def silent_about_rows(original):
    def call(self, features, rois, variant):
        return original(self, features, rois.nan_to_num().clamp(-9, 9) * 0, variant)

    return call


@pytest.mark.parametrize("breaking", [wrong_by_a_little, silent_about_rows])
def test_a_broken_operator_is_caught_and_can_be_repeated(compiled, monkeypatch, capsys, breaking):
    contract = fuzz.ROI_OPERATORS["psroi_pool"]
    with monkeypatch.context() as patch:
        patch.setattr(contract, "call", breaking(contract.call))
        assert fuzz.main(["--op", "psroi_pool", "--rois", "1500"]) == 1
        said = capsys.readouterr().out
        found = re.search(r"python tools/fuzz_ops.py (--op 'psroi_pool' --case \d+)", said)
        assert fuzz.main(shlex.split(found[1])) == 1
        assert capsys.readouterr().out.startswith("fails: ")
    assert fuzz.main(shlex.split(found[1])) == 0
    assert capsys.readouterr().out.startswith("passes: ")


@pytest.mark.parametrize(
    ("op", "where", "name", "breaking"),
    [
        (
            "deform_psroi_pool, offsets",
            fuzz,
            "deform_psroi_pool",
            lambda pool: (
                lambda maps, rois, moves, **numbers: pool(
                    maps, rois, 1.001 * moves - 0.001 * moves.detach(), **numbers
                )
            ),
        ),
        (
            "soft_nms",
            fuzz_suppression,
            "soft_nms",
            lambda keep: (
                lambda *given, **numbers: tuple(
                    one[: len(one) - len(one) // 40] for one in keep(*given, **numbers)
                )
            ),
        ),
        (
            "soft_nms",
            fuzz_suppression,
            "soft_nms",
            lambda keep: (
                lambda *given, **numbers: tuple(
                    one.roll(len(one) // 40) for one in keep(*given, **numbers)
                )
            ),
        ),
        (
            "box_voting",
            fuzz_suppression,
            "box_voting",
            lambda vote: (
                lambda *given, **numbers: (
                    vote(*given, **numbers)[0] + 1e-2,
                    vote(*given, **numbers)[1],
                )
            ),
        ),
    ],
    ids=["gradient of offsets", "boxes lost", "boxes in another order", "boxes moved"],
)
def test_other_operators_are_caught_too(compiled, monkeypatch, op, where, name, breaking):
    monkeypatch.setattr(where, name, breaking(getattr(where, name)))
    assert fuzz.fuzz([op], seed=1, seconds=600, rows=200).failures


def test_the_table_counts_rois_and_failures():
    tally = fuzz.Tally()
    tally.cases["nms"], tally.rows["nms"] = 3, 1234
    tally.failures.append(("nms", 7, "wrong"))
    assert [line.split() for line in tally.table().splitlines()] == [
        ["operator", "cases", "RoIs", "failures"],
        ["nms", "3", "1,234", "1"],
        ["all", "3", "1,234", "1"],
    ]
