"""Names: where they go, and when they are left out."""

import importlib.util

import numpy as np
import pytest
from PIL import Image, ImageFont

from rfcn.visualization import chips as module
from rfcn.visualization.chips import Chip, draw_chips, font_size, load_font

RED = (200, 0, 0)
BLUE = (0, 0, 200)


def drawn(size, chips):
    canvas = Image.new("RGB", size, (255, 255, 255))
    draw_chips(canvas, chips)
    return np.asarray(canvas)


def covered(pixels, colour):
    """The rows and columns a colour reaches: x1, y1, x2, y2."""
    rows, columns = np.nonzero((pixels == colour).all(axis=2))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def test_a_name_stands_above_its_box():
    x1, _, _, y2 = covered(drawn((200, 200), [Chip("cat", RED, (50, 80, 150, 180))]), RED)
    assert (x1, y2) == (50, 80)


def test_at_the_upper_border_it_moves_inside():
    _, y1, _, y2 = covered(drawn((200, 200), [Chip("cat", RED, (50, 0, 150, 180))]), RED)
    assert y1 == 0
    assert y2 < 30


@pytest.mark.parametrize("box", [(-90, -90, 10, 10), (190, 195, 400, 400), (0, 0, 200, 200)])
def test_a_name_never_leaves_the_picture(box):
    pixels = drawn((200, 200), [Chip("cat", RED, box)])
    alone = drawn((200, 200), [Chip("cat", RED, (50, 80, 150, 180))])
    same = [(image == RED).all(axis=2).sum() for image in (pixels, alone)]
    assert same[0] == same[1]


def test_names_of_one_place_do_not_cover_each_other():
    box = (50, 80, 150, 180)
    pixels = drawn((200, 200), [Chip("cat", RED, box), Chip("cat", BLUE, box)])
    red, blue = ((pixels == colour).all(axis=2).sum() for colour in (RED, BLUE))
    assert red == blue
    # The last one, the best detection, has the usual place.
    assert covered(pixels, BLUE)[3] == 80


def test_a_name_that_does_not_fit_is_left_out():
    assert (drawn((20, 200), [Chip("aeroplane", RED, (0, 50, 20, 90))]) == 255).all()
    assert (drawn((5000, 1), [Chip("cat", RED, (0, 0, 50, 1))]) == 255).all()


@pytest.mark.parametrize("text", ["größer", "кот", "犬", "a\nb\t c", "", "😀", "\x00"])
def test_any_name_can_be_drawn(text):
    assert (drawn((300, 100), [Chip(text, RED, (10, 50, 90, 90))]) == RED).all(axis=2).any()


def test_letters_grow_with_the_picture():
    assert font_size(1, 1) == font_size(300, 200) == 10
    assert font_size(4000, 3000) == 76


def test_the_font_of_matplotlib_is_used():
    assert load_font(13).getname() == ("DejaVu Sans", "Book")


@pytest.mark.parametrize("lost", ["package", "file"])
def test_a_missing_font_is_replaced(monkeypatch, lost):
    load_font.cache_clear()
    original = ImageFont.truetype

    def refuse(font=None, *args, **options):
        if isinstance(font, str):
            raise OSError("cannot open resource")
        return original(font, *args, **options)

    if lost == "package":
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    else:
        monkeypatch.setattr(module.ImageFont, "truetype", refuse)
    try:
        pixels = drawn((200, 200), [Chip("cat größer", RED, (50, 80, 150, 180))])
    finally:
        load_font.cache_clear()
    assert (pixels == RED).all(axis=2).any()
    assert (pixels == (255, 255, 255)).all(axis=2).any()
