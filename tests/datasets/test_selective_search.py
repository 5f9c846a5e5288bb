"""Selective Search: a real one where OpenCV has it, a played one for the rest."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from rfcn.datasets.selective_search import WIDTH, selective_search
from rfcn.errors import MachineError


class Played:
    """Answers as OpenCV's class does: (x, y, w, h) of the resized picture, best first."""

    def __init__(self, found) -> None:
        self.found = found
        self.said = []

    def setBaseImage(self, image):  # noqa: N802 - OpenCV's name
        self.image = image

    def switchToSelectiveSearchFast(self):  # noqa: N802
        self.said.append("fast")

    def switchToSelectiveSearchQuality(self):  # noqa: N802
        self.said.append("quality")

    def process(self):
        return np.array(self.found, np.int32).reshape(-1, 4)


def play(monkeypatch, *found):
    search = Played(found)
    contrib = SimpleNamespace(
        segmentation=SimpleNamespace(createSelectiveSearchSegmentation=lambda: search)
    )
    monkeypatch.setattr(cv2, "ximgproc", contrib, raising=False)
    return search


def test_boxes_come_back_in_pixels_of_the_picture(monkeypatch):
    search = play(monkeypatch, [0, 0, WIDTH, 250], [100, 50, 50, 25], [1, 1, 1, 1])
    image = np.zeros((500, 1000, 3), np.uint8)
    image[..., 0] = 200
    boxes = selective_search(image, most=2)
    assert boxes.tolist() == [[0, 0, 1000, 500], [200, 100, 300, 150]]
    assert boxes.dtype == np.float32
    assert search.image.shape == (250, WIDTH, 3)
    assert search.image[0, 0].tolist() == [0, 0, 200]  # BGR, as OpenCV counts
    assert search.said == ["fast"]


def test_its_slower_mode_and_nothing_found(monkeypatch):
    search = play(monkeypatch)
    boxes = selective_search(np.zeros((10, 10, 3), np.uint8), most=2, quality=True)
    assert boxes.shape == (0, 4)
    assert search.said == ["quality"]


def test_without_the_module_one_line_says_what_to_install(monkeypatch):
    monkeypatch.delattr(cv2, "ximgproc", raising=False)
    with pytest.raises(MachineError, match="opencv-contrib-python-headless"):
        selective_search(np.zeros((9, 9, 3), np.uint8), most=1)


def test_a_real_search_finds_a_square():
    if not hasattr(cv2, "ximgproc"):
        pytest.skip("this OpenCV lacks its contrib module")
    image = np.full((200, 250, 3), 30, np.uint8)
    image[60:140, 80:190] = (220, 40, 40)
    boxes = selective_search(image, most=2000)
    wanted = np.array([80, 60, 190, 140])
    assert (np.abs(boxes - wanted).max(axis=1) <= 4).any()
