"""What is odd in files, as sentences, as an error, and as a list."""

from pathlib import Path

import pytest

from rfcn.datasets.findings import BROKEN, Finding, Findings, some
from rfcn.errors import DataError


def test_findings_become_sentences_in_their_order() -> None:
    findings = Findings()
    for number in range(7):
        findings.add("odd", f"place {number}")
    assert findings.notes({"even": "Even ones", "odd": "Odd ones"}) == [
        "Odd ones: 7 (place 0, place 1, place 2, place 3, place 4, and 2 more)."
    ]
    findings.stop_at_bad_boxes()
    findings.add("bad", "here")
    with pytest.raises(DataError, match="1 boxes have no area: here"):
        findings.stop_at_bad_boxes()


@pytest.mark.parametrize(("places", "text"), [([], ""), (["a", "b"], "a, b")])
def test_few_are_all_named(places: list[str], text: str) -> None:
    assert some(places) == text


def test_what_cannot_be_read_ends_the_reading() -> None:
    findings = Findings()
    with pytest.raises(DataError, match="torn"), findings.survived("a.xml"):
        raise DataError("torn")
    assert findings.found == []


def test_a_tolerant_reading_goes_on_behind_it() -> None:
    findings = Findings(tolerant=True)
    with findings.survived(Path("a.xml"), object=2):
        raise DataError("torn")
    findings.add("bad", "here")
    findings.stop_at_bad_boxes()
    assert findings.found == [Finding(BROKEN, "torn", "a.xml", 2), Finding("bad", "here")]


def test_other_errors_are_not_for_the_user_and_pass() -> None:
    with pytest.raises(KeyError), Findings(tolerant=True).survived("a.xml"):
        raise KeyError("a programmer's")
