import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rfcn.datasets.image import MAX_PIXELS, read_header, read_image, read_size
from rfcn.errors import DataError


def _noise(height: int = 24, width: int = 32) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def _smooth(height: int = 48, width: int = 64) -> np.ndarray:
    """Survives JPEG: red grows to the right, green downwards."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([3 * x, 4 * y, 0 * x], axis=2).astype(np.uint8)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds a few rows at most."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def test_pixels_of_a_lossless_file_are_exact(tmp_path: Path) -> None:
    Image.fromarray(_noise()).save(tmp_path / "a.png")
    image = read_image(tmp_path / "a.png")
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, _noise())
    image[0, 0] = 7  # owned and writable
    assert read_size(tmp_path / "a.png") == (24, 32)


@pytest.mark.parametrize("case", ["missing", "folder", "empty", "text"])
# I1
def test_i1_what_is_no_picture_is_named(case: str, tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    if case == "folder":
        path.mkdir()
    elif case != "missing":
        path.write_text("" if case == "empty" else "<html>404</html>")
    words = {"missing": "no such", "folder": "folder", "empty": "empty", "text": "known format"}
    for read in (read_image, read_size):
        with pytest.raises(DataError, match=words[case]) as fault:
            read(path)
        assert str(path) in str(fault.value)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.95])
# I2
def test_i2_truncated_jpeg_is_refused(share: float, tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(_noise(200, 300)).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DataError, match=r"cut\.jpg.*damaged.*Copy it anew"):
        read_image(path)
    assert read_size(path) == (200, 300)


# I3
def test_i3_flipped_bits_never_escape_as_another_error(tmp_path: Path) -> None:
    """A JPEG decodes, or is refused as a DataError: nothing else comes out."""
    path = tmp_path / "flipped.jpg"
    Image.fromarray(_smooth()).save(path)
    content = bytearray(path.read_bytes())
    chance = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        damaged = bytearray(content)
        for place in chance.integers(0, len(content), 3):
            damaged[place] ^= 1 << int(chance.integers(8))
        path.write_bytes(damaged)
        try:
            outcomes.add(read_image(path).ndim)
        except DataError:
            outcomes.add("refused")
    assert outcomes == {3, "refused"}


# I4
def test_i4_the_content_decides_not_the_extension(tmp_path: Path) -> None:
    Image.fromarray(_noise()).save(tmp_path / "really_png.jpg", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "really_png.jpg"), _noise())


def _save(picture: Image.Image, path: Path) -> np.ndarray:
    picture.save(path)
    return read_image(path)


# I5
def test_i5_grey_and_one_bit_are_repeated(tmp_path: Path) -> None:
    grey = _noise()[:, :, 0]
    read = _save(Image.fromarray(grey), tmp_path / "grey.png")
    np.testing.assert_array_equal(read, np.stack([grey] * 3, axis=2))
    bits = _save(Image.fromarray(grey > 127), tmp_path / "bits.png")
    np.testing.assert_array_equal(bits[:, :, 1], np.where(grey > 127, 255, 0))


# I5
def test_i5_palette_is_looked_up(tmp_path: Path) -> None:
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    indexed.putpixel((1, 0), 1)
    assert _save(indexed, tmp_path / "p.png").tolist() == [[[10, 20, 30], [200, 100, 50]]]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
# I5
def test_i5_transparency_lies_on_white(mode: str, tmp_path: Path) -> None:
    colour = {"RGBA": (0, 0, 0), "LA": (0,)}[mode]
    picture = Image.new(mode, (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        picture.putpixel((x, 0), (*colour, alpha))
    assert _save(picture, tmp_path / "a.png")[0, :, 0].tolist() == [255, 127, 0]


# I5
def test_i5_transparent_palette_entry_is_white(tmp_path: Path) -> None:
    indexed = Image.new("P", (2, 1))
    indexed.putpalette([10, 20, 30, 200, 100, 50])
    indexed.putpixel((1, 0), 1)
    indexed.save(tmp_path / "p.png", transparency=0)
    assert read_image(tmp_path / "p.png").tolist() == [[[255, 255, 255], [200, 100, 50]]]


# I5
def test_i5_cmyk(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=100)
    read = read_image(tmp_path / "c.jpg").astype(int)
    assert np.abs(read - [255, 0, 0]).max() <= 4


# I5
def test_i5_sixteen_bits_keep_their_range(tmp_path: Path) -> None:
    levels = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    read = _save(Image.fromarray(levels), tmp_path / "deep.png")
    assert read[0, :, 0].tolist() == [0, 1, 100, 255]


# I5
def test_i5_floats_and_long_integers_are_stretched(tmp_path: Path) -> None:
    for values in (
        np.array([[-1, 0, 1]], dtype=np.float32),
        np.array([[100, 200_100, 400_100]], dtype=np.int32),
    ):
        read = _save(Image.fromarray(values), tmp_path / "range.tiff")
        assert read[0, :, 2].tolist() == [0, 128, 255]
    flat = _save(Image.fromarray(np.full((2, 2), 5, np.float32)), tmp_path / "flat.tiff")
    assert not flat.any()


# I5
def test_i5_nan_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, np.nan]], dtype=np.float32)).save(tmp_path / "nan.tiff")
    with pytest.raises(DataError, match=r"nan\.tiff.*NaN"):
        read_image(tmp_path / "nan.tiff")


@pytest.mark.parametrize("kind", ["gif", "webp", "tiff"])
# I6
def test_i6_first_frame(kind: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    frames[0].save(
        tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:],
        **({"lossless": True} if kind == "webp" else {}),
    )  # fmt: skip
    assert read_image(tmp_path / f"a.{kind}")[0, 0].tolist() == [255, 0, 0]
    assert read_header(tmp_path / f"a.{kind}").several
    frames[0].save(tmp_path / f"one.{kind}")
    assert not read_header(tmp_path / f"one.{kind}").several


# I6
def test_i6_a_phones_stereo_jpeg(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 8), colour) for colour in ("red", "blue")]
    path = tmp_path / "stereo.jpg"
    frames[0].save(path, format="MPO", save_all=True, append_images=frames[1:])
    red, _, blue = read_image(path)[0, 0].tolist()
    assert red > 200 > 60 > blue
    assert not read_header(path).several  # the second is no frame, but for the other eye


_UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}
"""What the EXIF standard says must be done to the stored pixels."""


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
# I7
def test_i7_exif_turns_the_picture_and_its_size(
    orientation: int, kind: str, tmp_path: Path
) -> None:
    path = tmp_path / f"turned.{kind}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(_noise()).save(path, exif=exif, **options)
    expected = _UPRIGHT[orientation](_noise())
    np.testing.assert_array_equal(read_image(path), expected)
    assert read_size(path) == expected.shape[:2]


@pytest.mark.parametrize("orientation", range(1, 9))
# I7
def test_i7_exif_of_a_jpeg(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(_smooth()).save(tmp_path / "turned.jpg", exif=exif, quality=98)
    expected = _UPRIGHT[orientation](_smooth()).astype(int)
    assert read_image(tmp_path / "turned.jpg").shape == expected.shape
    assert np.abs(read_image(tmp_path / "turned.jpg").astype(int) - expected).max() < 8
    assert read_size(tmp_path / "turned.jpg") == expected.shape[:2]
    header = read_header(tmp_path / "turned.jpg", upright=False)
    assert (header.size, header.orientation) == ((48, 64), orientation)
    as_stored = read_image(tmp_path / "turned.jpg", upright=False).astype(int)
    assert np.abs(as_stored - _smooth()).max() < 8


@pytest.mark.parametrize("orientation", [0, 9, 77])
# I7
def test_i7_senseless_orientation_is_none(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(_noise()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), _noise())


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
# I8
def test_i8_extreme_shapes(size: tuple[int, int], tmp_path: Path) -> None:
    Image.fromarray(_noise(*size)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").shape == (*size, 3)
    assert read_size(tmp_path / "a.png") == size


@pytest.mark.parametrize("side", [10_001, 13_000, 30_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
# I9
def test_i9_a_bomb_is_refused_by_its_header(side: int, tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(side, side))
    assert side * side > MAX_PIXELS
    for read in (read_image, read_size):
        with pytest.raises(DataError, match=r"bomb\.png.*limit is 100 million"):
            read(path)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is measured on Linux")
# I9
def test_i9_a_bomb_decodes_nothing(tmp_path: Path) -> None:
    """900 million pixels, which a decoder would have to make room for, whole rows of zeros."""
    path = tmp_path / "bomb.png"
    path.write_bytes(_png_header(30_000, 30_000))
    tried = (
        "import sys, warnings; warnings.simplefilter('ignore')\n"
        "from rfcn.datasets.image import read_image\n"
        "from rfcn.errors import DataError\n"
        "try: read_image(sys.argv[1])\n"
        "except DataError as fault: print(fault)\n"
        "lines = open('/proc/self/status').read().splitlines()\n"
        "print(*[line.split()[1] for line in lines if line.startswith('VmHWM')])"
    )
    command = [sys.executable, "-c", tried, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    fault, kilobytes = done.stdout.splitlines()
    assert "limit is 100 million" in fault
    assert int(kilobytes) < 300 * 1024


# I10
def test_i10_strange_names(tmp_path: Path) -> None:
    folder = tmp_path / ("long " * 20)
    folder.mkdir()
    path = folder / "Größe & 東京 #1 %20.png"
    Image.fromarray(_noise()).save(path)
    np.testing.assert_array_equal(read_image(path), _noise())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
# I11
def test_i11_permission_denied(tmp_path: Path) -> None:
    path = tmp_path / "mine.png"
    Image.fromarray(_noise()).save(path)
    path.chmod(0)
    with pytest.raises(DataError, match=r"mine\.png.*chmod"):
        read_image(path)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize(
    ("at_least", "by"), [((48, 64), 1), ((25, 33), 1), ((24, 30), 2), ((9, 16), 4), ((1, 1), 8)]
)
def test_a_large_jpeg_is_decoded_as_small_as_will_do(
    at_least: tuple[int, int], by: int, orientation: int, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "large.jpg"
    Image.fromarray(_smooth()).save(path, exif=exif, quality=98)
    turned = orientation == 6
    small = read_image(path, at_least=at_least[::-1] if turned else at_least).astype(int)
    whole = read_image(path).astype(int)
    assert small.shape == (*(side // by for side in whole.shape[:2]), 3)
    blocks = whole.reshape(small.shape[0], by, small.shape[1], by, 3).mean(axis=(1, 3))
    assert np.abs(small - blocks).mean() < 2


# I2
def test_i2_a_truncated_jpeg_is_refused_at_any_size(tmp_path: Path) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(_noise(200, 300)).save(path)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(DataError, match="damaged"):
        read_image(path, at_least=(20, 30))


def test_other_formats_are_decoded_whole(tmp_path: Path) -> None:
    Image.fromarray(_noise()).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", at_least=(1, 1)), _noise())
