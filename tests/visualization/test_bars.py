"""Bars as SVG: the heights are the shares, the text is text."""

from xml.etree import ElementTree

import pytest

from rfcn.visualization.bars import BOTTOM, HEIGHT, TOP, grouped_bars


def test_a_bar_for_each_share_as_high_as_it_says() -> None:
    chart = ElementTree.fromstring(
        grouped_bars(["a", "b"], [("train", [0.4, 0.1]), ("val", [0.2, 0.0])])
    )
    bars = chart.findall("rect")
    assert [bar.get("class") for bar in bars] == ["series-0", "series-1"] * 2
    heights = [float(bar.get("height", "")) for bar in bars]
    inner = HEIGHT - TOP - BOTTOM
    assert heights == pytest.approx(
        [inner, inner / 2, inner / 4, 0], abs=0.1
    )  # the axis ends at 40
    floors = {float(bar.get("y", "")) + float(bar.get("height", "")) for bar in bars}
    assert all(floor == pytest.approx(HEIGHT - BOTTOM, abs=0.1) for floor in floors)
    assert bars[0].findtext("title") == "train, a: 40.0 %"
    levels = [one.text for one in chart.findall("text") if one.get("class") == "level"]
    assert levels == ["0 %", "10 %", "20 %", "30 %", "40 %"]


def test_names_are_escaped_and_nothing_is_no_fault() -> None:
    chart = ElementTree.fromstring(grouped_bars(["<b>&"], [("<i>", [0.0])]))
    assert chart.findtext("rect/title") == "<i>, <b>&: 0.0 %"
    assert ElementTree.fromstring(grouped_bars([], [])).findall("rect") == []
