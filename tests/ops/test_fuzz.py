"""The fuzzer passes on what is right, and catches what is wrong with a line that repeats it."""

import re

import fuzz
import pytest
import torch


def test_every_contract_is_fuzzed():
    assert {"psroi_pool", "roi_pool", "nms"} <= set(fuzz.SUBJECTS)
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
        found = re.search(r"python tools/fuzz_ops.py (--op psroi_pool --case \d+)", said)
        assert fuzz.main(found[1].split()) == 1
        assert capsys.readouterr().out.startswith("fails: ")
    assert fuzz.main(found[1].split()) == 0
    assert capsys.readouterr().out.startswith("passes: ")


def test_the_table_counts_rois_and_failures():
    tally = fuzz.Tally()
    tally.cases["nms"], tally.rows["nms"] = 3, 1234
    tally.failures.append(("nms", 7, "wrong"))
    assert [line.split() for line in tally.table().splitlines()] == [
        ["operator", "cases", "RoIs", "failures"],
        ["nms", "3", "1,234", "1"],
        ["all", "3", "1,234", "1"],
    ]
