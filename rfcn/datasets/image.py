"""Picture files to RGB bytes: strict, upright, by one rule for each colour mode.

Pillow decodes: it refuses a truncated JPEG, of which some versions of OpenCV make a half-grey
picture. Their pixels are equal bit for bit; Pillow takes 1.0 ms for a VOC photo, OpenCV 0.7 ms.

Colour modes: grey is repeated thrice; palettes are looked up; transparent pixels lie on white;
CMYK, YCbCr and LAB are converted by Pillow; 16-bit grey 0..65535 is scaled to 0..255; 32-bit
integers and floats, which have no agreed range, are stretched from their smallest to their largest.
Of an animation or a multi-page file the first frame is taken; `Header.frames` says there are more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rfcn.errors import DataError

MAX_PIXELS = 100_000_000
"""Larger pictures are refused by their header, unless more are allowed: a file of 100 kB can claim
a gigapixel."""
PILLOWS_LIMIT = 178_000_000
"""More than these Pillow refuses itself."""

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
"""Of the files that are taken for pictures, in lower case."""

FILMS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")
"""Of the files that are taken for videos, in lower case."""
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")
_EXIF_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What a file says of its picture before it is decoded."""

    size: tuple[int, int]
    """(height, width), upright."""
    orientation: int
    """EXIF's, 1..8, whether it is applied or not; 1 is upright."""
    several: bool
    """An animation or a file of several pages, whose first is taken."""


def read_image(
    path: str | Path,
    *,
    max_pixels: int = MAX_PIXELS,
    upright: bool = True,
    at_least: tuple[int, int] | None = None,
) -> np.ndarray:
    """The picture in a file, [H, W, 3] uint8 RGB; `upright` turns it as its EXIF orientation says.

    at_least: (height, width) that will do: a JPEG of twice as much or more is decoded at a half, a
    quarter or an eighth of its size, in a fraction of the time, each pixel the mean of its block.

    Raises DataError, naming the file, when it is missing, no picture, damaged or too large.
    """
    with _opened(Path(path), max_pixels) as picture:
        orientation = _orientation(picture) if upright else 1
        if at_least is not None:
            height, width = at_least if orientation < 5 else at_least[::-1]
            picture.draft(None, (width, height))  # of no effect on other formats
        picture.load()
        return _to_rgb(_turned(picture, orientation), Path(path))


def from_pillow(
    picture: Image.Image, *, max_pixels: int = MAX_PIXELS, upright: bool = True
) -> np.ndarray:
    """What `read_image` gives, of a picture that Pillow has opened or made.

    Raises DataError when it cannot be decoded or is too large.
    """
    path = Path(getattr(picture, "filename", "") or "the picture")
    with _named_faults(path, max_pixels):
        _check_pixels(path, picture, max_pixels)
        picture.load()
        return _to_rgb(_turned(picture, _orientation(picture) if upright else 1), path)


def read_header(path: str | Path, *, max_pixels: int = MAX_PIXELS, upright: bool = True) -> Header:
    """What `read_image` with the same arguments would give, from the header of the file only.

    Raises DataError as `read_image` does, except for damage behind the header.
    """
    with _opened(Path(path), max_pixels) as picture:
        width, height = picture.size
        orientation = _orientation(picture)
        turned = upright and orientation >= 5
        several = bool(getattr(picture, "is_animated", False)) and picture.format != "MPO"
        return Header((width, height) if turned else (height, width), orientation, several)


def read_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of the upright picture, as `read_header` has it."""
    return read_header(path).size


@contextmanager
def _opened(path: Path, max_pixels: int) -> Iterator[Image.Image]:
    """The file, its header read and checked; whatever goes wrong inside becomes a DataError."""
    with _named_faults(path, max_pixels), Image.open(path, formats=_FORMATS) as picture:
        _check_pixels(path, picture, max_pixels)
        yield picture


def _check_pixels(path: Path, picture: Image.Image, limit: int) -> None:
    width, height = picture.size
    if width * height > limit:
        raise DataError(_too_large(path, f"{width} x {height} pixels", limit))


@contextmanager
def _named_faults(path: Path, max_pixels: int) -> Iterator[None]:
    """Whatever goes wrong with a picture becomes a DataError that names it."""
    try:
        yield
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(
            f"{path}: there is no such picture. Restore the file, or take it off the "
            "list of pictures."
        ) from None
    except IsADirectoryError:
        raise DataError(f"{path}: a folder, where a picture was expected.") from None
    except PermissionError:
        raise DataError(
            f"{path}: the picture may not be read. Give yourself the right to (chmod +r)."
        ) from None
    except Image.DecompressionBombError:
        size = f"more than {PILLOWS_LIMIT // 1_000_000} million pixels"
        raise DataError(_too_large(path, size, max_pixels)) from None
    except UnidentifiedImageError:
        raise DataError(_unknown(path)) from None
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError) as fault:
        # Pillow's decoders raise each of these on damaged files.
        raise DataError(
            f"{path}: the picture is damaged ({fault}). Copy it anew from its source, "
            "or take it off the list of pictures."
        ) from fault


def _too_large(path: Path, size: str, limit: int) -> str:
    return (
        f"{path}: {size}, the limit is {limit / 1_000_000:g} million. Make the picture smaller, "
        "take it out, or raise `data.max_pixels`."
    )


def _unknown(path: Path) -> str:
    if path.stat().st_size == 0:
        return f"{path}: the file is empty. Copy the picture anew from its source."
    if path.suffix.lower() in FILMS:
        return (
            f"{path}: a video, of which pictures must be taken first, for example with "
            f"ffmpeg -i {path.name} frames/%06d.jpg"
        )
    return (
        f"{path}: not a picture in a known format (JPEG, PNG, BMP, WebP, TIFF, GIF, PPM). "
        "Convert it, or take it off the list of pictures."
    )


def _orientation(picture: Image.Image) -> int:
    """EXIF orientation 1..8 as the header tells it; 1 for none, or for one that makes no sense."""
    if picture.format == "TIFF":
        return 1  # Pillow turns TIFF files itself, size included
    # The base class's method: the one of PNG would decode the whole picture to look behind it.
    value = Image.Image.getexif(picture).get(_EXIF_ORIENTATION, 1)
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def _to_rgb(picture: Image.Image, path: Path) -> np.ndarray:
    """[H, W, 3] uint8, by the rules at the top of this file."""
    if picture.mode.startswith("I;16"):
        levels = np.asarray(picture).astype(np.float32) / 257
        return _from_grey(levels)
    if picture.mode in ("I", "F"):
        return _from_grey(_stretched(np.asarray(picture, dtype=np.float64), path))
    if "A" in picture.getbands() or "a" in picture.getbands() or "transparency" in picture.info:
        above = picture.convert("RGBA")
        white = Image.new("RGBA", above.size, "white")
        picture = Image.alpha_composite(white, above)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _stretched(levels: np.ndarray, path: Path) -> np.ndarray:
    if not np.isfinite(levels).all():
        raise DataError(
            f"{path}: the picture holds NaN or infinite values. Replace them, or "
            "convert it to 8 bits a channel."
        )
    low, high = levels.min(), levels.max()
    return (levels - low) * (255 / (high - low)) if high > low else np.zeros_like(levels)


def _from_grey(levels: np.ndarray) -> np.ndarray:
    grey = np.rint(levels).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
