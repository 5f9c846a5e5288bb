"""The page: complete, escaped, and in need of nothing else."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from rfcn.evaluation.analysis import analyse
from rfcn.evaluation.page import Shot, confusions, render_page
from rfcn.evaluation.proposal_recall import proposal_recall
from rfcn.evaluation.scored import gather

EVIL = "<script>alert('x')</script>"
NAMES = ("cat", EVIL, "a&b")


class Reader(HTMLParser):
    """Collects tags with their attributes, the text, and what was opened and not closed."""

    VOID = ("meta", "img", "br", "link", "input")

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def analysis(slow):
    scored = gather(*slow.random_scene(0), NAMES)
    boxes = [scored.truths.boxes[scored.truths.pictures == n] for n in range(8)]
    recall = proposal_recall(boxes, scored.truths, most=10)
    return analyse(scored, np.full((8, 2), 100), proposals=recall, resamples=5)


def page_of(analysis, tmp_path, **more):
    (tmp_path / "c.png").write_bytes(b"\x89PNG")
    arguments = {
        "title": f"val of {EVIL}",
        "about": {"weights": EVIL, "sha256": "abc"},
        "config": f"a: {EVIL}",
        "figures": {"confusion": tmp_path / "c.png"},
        "metric": {"AP": 0.4321, "AP75": None},
        "gallery": [Shot(EVIL, "1 missed", 0.01, b"\xff\xd8")],
        **more,
    }
    return render_page(analysis, **arguments)


def test_it_needs_nothing_else_and_is_well_formed(analysis, tmp_path):
    page = page_of(analysis, tmp_path)
    reader = Reader(page)
    assert reader.open == []
    for tag, attributes in reader.tags:
        assert tag != "link"
        for name in ("src", "href"):
            assert attributes.get(name, "data:").startswith(("data:", "#")), (tag, attributes)
    assert "http" not in page
    assert "@import" not in page
    images = [attributes["src"] for tag, attributes in reader.tags if tag == "img"]
    assert images == ["data:image/png;base64,iVBORw==", "data:image/jpeg;base64,/9g="]
    ids = {attributes.get("id") for _, attributes in reader.tags}
    links = {attributes["href"][1:] for tag, attributes in reader.tags if tag == "a"}
    assert links <= ids


def test_what_comes_from_outside_is_escaped(analysis, tmp_path):
    page = page_of(analysis, tmp_path)
    assert EVIL not in page
    assert page.count("&lt;script&gt;") >= 6
    assert [tag for tag, _ in Reader(page).tags].count("script") == 1


def test_it_says_the_figures(analysis, tmp_path):
    words = " ".join("".join(Reader(page_of(analysis, tmp_path)).words).split())
    mean = analysis.intervals.mean
    assert f"{100 * mean.value:.1f}" in words
    assert f"{100 * mean.low:.1f} to {100 * mean.high:.1f}" in words
    for cost in analysis.errors.costs:
        assert f"{100 * cost:.1f}" in words
    assert "What the proposals cover" in words
    assert "1 missed" in words
    assert "AP 43.2, AP75 n/a." in words


def test_parts_that_are_not_there_are_left_out(target, tmp_path):
    scored = gather({"a": target([], [])}, {}, NAMES)
    nothing = analyse(scored, np.full((1, 2), 9), resamples=2)
    page = page_of(nothing, tmp_path, gallery=[], figures={})
    assert Reader(page).open == []
    assert "What the proposals cover" not in page
    assert "costliest pictures" not in page
    assert "<img" not in page
    assert "n/a" in page
    assert not re.search(r"\bnan\b|None", page)


def test_the_most_frequent_confusions(target, detections):
    boxes = [[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]]
    truths = {"a": target(boxes, [1, 1, 2])}
    found = {"a": detections(boxes, [0.9, 0.9, 0.9], [3, 3, 1])}
    analysis = analyse(gather(truths, found, NAMES), np.full((1, 2), 99), resamples=2)
    assert confusions(analysis) == [
        {"true": "cat", "found": "a&b", "count": 2},
        {"true": EVIL, "found": "cat", "count": 1},
    ]
