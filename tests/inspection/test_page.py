"""The page: complete in itself, and text stays text."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rfcn.config.schema import Config
from rfcn.inspection.page import MOST_PLACES, page
from rfcn.inspection.report import Report


class Structure(HTMLParser):
    """Tags that were opened and not closed, and what refers to elsewhere."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images = 0
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.links += [value or "" for name, value in attributes if name in ("src", "href")]
        self.images += tag == "img"
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def report(planted_voc, report_of) -> Report:
    return report_of(planted_voc.config)


def test_the_page_is_whole_and_needs_nothing_else(report: Report) -> None:
    content = page(report)
    found = Structure(content)
    assert found.open == []
    assert found.images > 10
    assert all(link.startswith("data:image/jpeg;base64,") for link in found.links)
    assert not re.search(r"https?:|@import|url\(", content)
    assert content.count('<svg class="bars"') == 4


def test_every_kind_and_place_is_on_it(report: Report) -> None:
    content = page(report)
    for _, kind, _, _ in report.grouped():
        assert report.kinds[kind].title in content
    assert "V13.xml, object 1" in content


def test_names_of_the_user_are_escaped(report: Report) -> None:
    case = report.cases[0]
    report.cases = [type(case)("bad", "train", "<script>alert(1)</script> & more")] * (
        MOST_PLACES + 3
    )
    content = page(report)
    assert "<script" not in content
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in content
    assert "and 3 more; all of them are in the JSON report" in content


def test_a_clean_set_says_so(planted_voc, voc_config: Callable[..., Config], report_of) -> None:
    root = Path(planted_voc.config.data.root)
    (root / "ImageSets/Main/good.txt").write_text("V9\nV10")
    (root / "ImageSets/Main/other.txt").write_text("V4")
    clean = page(report_of(voc_config(root, train="good", val="other")))
    assert "Ready to train." in clean
    assert "What was found" not in clean


def test_nothing_read_is_a_page_too(
    voc_config: Callable[..., Config], tmp_path: Path, report_of
) -> None:
    content = page(report_of(voc_config(tmp_path / "absent")))
    assert Structure(content).open == []
    assert "cannot be read" in content
