"""Selective Search (Uijlings et al., 2013) by OpenCV, whose contrib module holds it."""

from typing import Any

import cv2
import numpy as np

from rfcn.errors import MachineError

WIDTH = 500
"""Pixels to which a picture is resized before the search, as R-CNN did."""


def selective_search(image: np.ndarray, *, most: int, quality: bool = False) -> np.ndarray:
    """Boxes that may hold an object, best first.

    OpenCV ranks them with the C library's random numbers: the order is the same at every run of a
    process that searches the same pictures, and not otherwise.

    Args:
        image: uint8 RGB [H, W, 3]. most: boxes. quality: its slower mode, which finds more.

    Returns:
        [P, 4] float32, half-open, in pixels of the picture, P <= most.

    Raises:
        MachineError: this OpenCV lacks the module.
    """
    search = _searcher()
    height, width = image.shape[:2]
    size = (WIDTH, max(1, round(height * WIDTH / width)))
    search.setBaseImage(cv2.cvtColor(cv2.resize(image, size), cv2.COLOR_RGB2BGR))
    if quality:
        search.switchToSelectiveSearchQuality()
    else:
        search.switchToSelectiveSearchFast()
    found = np.asarray(search.process(), np.float32).reshape(-1, 4)[:most]
    boxes = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:]], axis=1)
    scale = np.array([width / size[0], height / size[1]] * 2, np.float32)
    limits = np.array([width, height] * 2, np.float32)
    return (boxes * scale).clip(0, limits)


def _searcher() -> Any:
    module: Any = getattr(cv2, "ximgproc", None)
    if not hasattr(module, "segmentation"):
        raise MachineError(
            "Selective Search is in OpenCV's contrib module, which this OpenCV lacks. Type: "
            "pip uninstall -y opencv-python-headless opencv-python && "
            "pip install opencv-contrib-python-headless"
        )
    return module.segmentation.createSelectiveSearchSegmentation()
