"""Pictures that were written can be read again."""

import numpy as np
from PIL import Image

from rfcn.visualization.files import write_image


def picture():
    ramp = np.arange(64, dtype=np.uint8)
    return np.stack(np.broadcast_arrays(ramp[:, None], ramp[None] * 2, np.uint8(9)), axis=2)


def test_folders_are_made_and_a_png_keeps_every_byte(tmp_path):
    path = tmp_path / "new" / "größer.png"
    write_image(path, picture())
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), picture())


def test_a_jpeg_is_close_to_what_was_drawn(tmp_path):
    for name in ("a.jpg", "b.JPEG"):
        write_image(tmp_path / name, picture())
        with Image.open(tmp_path / name) as image:
            assert image.format == "JPEG"
            assert np.abs(np.asarray(image).astype(int) - picture()).mean() < 3
