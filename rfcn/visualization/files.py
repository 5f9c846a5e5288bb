"""Pictures to files."""

from pathlib import Path

from PIL import Image

from rfcn.visualization.draw import Picture

JPEG_QUALITY = 92


def write_image(path: Path, image: Picture) -> None:
    """Write a picture, uint8 RGB [H, W, 3], as the extension of `path` says; folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Formats other than JPEG take no notice of the quality.
    Image.fromarray(image).save(path, quality=JPEG_QUALITY)
