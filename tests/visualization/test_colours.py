"""Fixed, distinct and readable colours."""

import pytest

from rfcn.visualization.colours import OKABE_ITO, class_colour, text_colour


def test_the_first_seven_are_those_of_okabe_and_ito():
    assert tuple(class_colour(label) for label in range(1, 8)) == OKABE_ITO


def test_eighty_classes_have_eighty_colours():
    colours = [class_colour(label) for label in range(1, 81)]
    assert len(set(colours)) == 80
    assert all(0 <= channel <= 255 for colour in colours for channel in colour)


@pytest.mark.parametrize(
    ("background", "text"),
    [
        ((255, 255, 255), (0, 0, 0)),
        ((0, 0, 0), (255, 255, 255)),
        ((240, 228, 66), (0, 0, 0)),
        ((0, 0, 160), (255, 255, 255)),
    ],
)
def test_text_contrasts_with_its_chip(background, text):
    assert text_colour(background) == text


def luminance(colour):
    linear = [
        channel / 255 / 12.92 if channel <= 10 else ((channel / 255 + 0.055) / 1.055) ** 2.4
        for channel in colour
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_name_is_readable():
    """WCAG 2 asks for a contrast of 4.5 for text."""
    for label in range(1, 81):
        chip = class_colour(label)
        low, high = sorted((luminance(chip), luminance(text_colour(chip))))
        assert (high + 0.05) / (low + 0.05) >= 4.5
