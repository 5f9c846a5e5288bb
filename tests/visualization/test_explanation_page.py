"""The page of an explanation: what stands in it, and that a real browser shows it."""

import base64
import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.visualization.explanation import Explanation
from rfcn.visualization.explanation_page import page_data, render_explanation
from tests.browser import Page, browser, find_browser

Maker = Callable[..., Explanation]


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


@pytest.mark.parametrize("k", [1, 3, 7])
def test_the_votes_in_the_page_are_those_of_the_logits(explanation: Maker, k: int) -> None:
    one = explanation(k)
    data = page_data(one)
    labels = [1, one.runner_up, 0]
    assert [shown["name"] for shown in data["classes"]] == [one.class_names[n] for n in labels]
    assert len(data["places"]) == len(one.placements) == 25
    for place, placement in zip(data["places"], one.placements, strict=True):
        assert place["shift"] == list(placement.shift)
        for shown, label in zip(place["classes"], labels, strict=True):
            assert len(shown["votes"]) == k * k
            assert np.mean(shown["votes"]) == pytest.approx(shown["logit"], abs=1e-6)
            assert shown["logit"] == pytest.approx(float(placement.logits[label]), abs=1e-6)
            assert shown["score"] == pytest.approx(float(placement.scores[label]), abs=1e-6)
            without = placement.scores_without[label].flatten().tolist()
            if k == 1:
                assert shown["without"] == [None]
            else:
                assert shown["without"] == pytest.approx(without, abs=1e-6)
    assert data["places"][data["miss"]]["shift"] == [-0.5, -0.5]


def test_the_pictures_in_it(explanation: Maker) -> None:
    one = explanation()
    data = page_data(one)
    assert pixels(data["picture"]["uri"]).shape == one.image.shape
    for shown, label in zip(data["classes"], (1, one.runner_up, 0), strict=True):
        assert len(shown["maps"]) == 9
        for uri, values in zip(shown["maps"], one.maps[label].flatten(0, 1), strict=True):
            film = pixels(uri)
            assert film.shape == (12, 16, 4)
            visible = film[..., 3] > 8
            assert ((film[..., 0] > film[..., 2]) == (values.numpy() > 0))[visible].all()


def test_a_class_alone_has_no_runner_up(explanation: Maker) -> None:
    classes = page_data(explanation(names=("cat",)))["classes"]
    roles = [(one["name"], one["role"]) for one in classes]
    assert roles == [("cat", "detected"), ("background", "")]


def test_names_from_outside_are_text(explanation: Maker) -> None:
    evil = "</script><img src=x onerror=alert(1)>"
    html = render_explanation(explanation(names=(evil, "b")), name=evil)
    assert "<img" not in html
    assert html.count("</script>") == 2
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["classes"][0]["name"] == evil


def test_it_needs_nothing_else(explanation: Maker) -> None:
    html = render_explanation(explanation())
    assert "default-src 'none'" in html, "the browser refuses whatever is not in the page"
    links = re.findall(r'(?:src|href)\s*[=:]\s*["\']([^"\']*)', html)
    assert all(link.startswith("data:") for link in links)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", html)


# ----------------------------------------------------------------------------------- in a browser


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for the tests below; without one they are skipped."""
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium is installed: the page is not looked at in a browser")
    with browser(program, tmp_path_factory.mktemp("profile")) as page:
        yield page


def shown(tab: Page, one: Explanation, folder: Path) -> Page:
    """The page of it, opened from its file."""
    file = folder / "page.html"
    file.write_text(render_explanation(one, name="a photo.jpg"), encoding="utf-8")
    tab.problems.clear()
    tab.requests.clear()
    tab.open(file.as_uri(), "document.body && document.body.dataset.ready")
    assert tab.requests == [file.as_uri()]
    return tab


def vote_shown(tab: Page) -> float:
    return float(tab.run("document.getElementById('detail-vote').dataset.vote"))


def test_a_click_on_a_bin_tells_its_vote(tab: Page, explanation: Maker, tmp_path: Path) -> None:
    one = explanation()
    shown(tab, one, tmp_path)
    said = "document.getElementById('detail').textContent"
    assert "Choose a bin" in tab.run(said)

    # a vote of the class, in its table
    tab.click("#vote-0-5")
    assert vote_shown(tab) == pytest.approx(float(one.hit.votes[1, 1, 2]), abs=1e-6)
    assert "row 2, column 3" in tab.run(said)
    without = float(tab.run("document.getElementById('detail-without').dataset.score"))
    assert without == pytest.approx(float(one.hit.scores_without[1, 1, 2]), abs=1e-6)
    assert tab.run("document.getElementById('vote-0-5').ariaPressed") == "true"

    # all votes of all tables: their mean is the logit
    for cls, label in enumerate((1, one.runner_up, 0)):
        votes = tab.run(
            f"[...document.querySelectorAll('[id^=vote-{cls}-]')].map(e => Number(e.dataset.vote))"
        )
        assert np.mean(votes) == pytest.approx(float(one.hit.logits[label]), abs=1e-5)

    # its score map lies over the picture, drawn
    maps = tab.run(
        "[...document.querySelectorAll('#stage image')].map(e => e.getAttribute('href'))"
    )
    assert maps[1] == page_data(one)["classes"][0]["maps"][5]

    # a bin on the picture itself
    tab.click("#stage [data-bin='6']")
    tab.run("document.body.dispatchEvent(new PointerEvent('pointermove'))")
    assert vote_shown(tab) == pytest.approx(float(one.hit.votes[1, 2, 0]), abs=1e-6)
    assert tab.problems == []


def test_the_runner_up_and_the_moved_roi(tab: Page, explanation: Maker, tmp_path: Path) -> None:
    one = explanation()
    shown(tab, one, tmp_path)
    tab.click("#tabs label:nth-child(2)")
    tab.click(f"#place-{one.placements.index(one.miss)}")
    tab.click("#vote-1-0")
    assert vote_shown(tab) == pytest.approx(float(one.miss.votes[one.runner_up, 0, 0]), abs=1e-6)
    assert "50% of its width to the left" in tab.run("document.getElementById('place').textContent")
    assert f"score {float(one.miss.scores[one.runner_up]):.3f}" in tab.run(
        "document.getElementById('off-text').textContent"
    )

    # dragged back by half its size on the picture, it is on the object again
    pixel = tab.run("document.getElementById('stage').getBoundingClientRect().width") / 128
    tab.drag("#stage [data-bin='4']", 24 * pixel, 24 * pixel)
    assert "where the detection was made" in tab.run("document.getElementById('place').textContent")
    tab.click("#vote-1-0")
    assert vote_shown(tab) == pytest.approx(float(one.hit.votes[one.runner_up, 0, 0]), abs=1e-6)
    assert tab.problems == []


def test_it_can_be_used_without_a_mouse(tab: Page, explanation: Maker, tmp_path: Path) -> None:
    one = explanation(7)
    shown(tab, one, tmp_path)
    tab.run("document.getElementById('vote-0-0').focus()")
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "Enter"):
        tab.press(key)
    assert vote_shown(tab) == pytest.approx(float(one.hit.votes[1, 2, 1]), abs=1e-6)
    label = tab.run("document.activeElement.ariaLabel")
    assert label.startswith("cat, bin in row 3, column 2: vote ")
    nameless = tab.run(
        "[...document.querySelectorAll('button, input')].filter("
        "e => !e.ariaLabel && !(e.labels && e.labels.length)).length"
    )
    assert nameless == 0
    assert tab.problems == []
