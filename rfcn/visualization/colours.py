"""One fixed colour a class, told apart by colour-blind readers for the first seven."""

import colorsys

RGB = tuple[int, int, int]

OKABE_ITO: tuple[RGB, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (240, 228, 66),
    (213, 94, 0),
    (0, 114, 178),
)
"""The palette of Okabe and Ito, "Color Universal Design", without black."""
GOLDEN_TURN = 0.618033988749895
"""A step of this share of the circle keeps every new hue far from the earlier ones."""
TIERS = ((0.75, 0.95), (0.55, 0.75), (0.45, 1.0))
"""(saturation, brightness) of the further colours, in turn."""


def class_colour(label: int) -> RGB:
    """The colour of a class, the same in every picture and run. label: 1..C -> (r, g, b) bytes."""
    index = label - 1
    if 0 <= index < len(OKABE_ITO):
        return OKABE_ITO[index]
    saturation, brightness = TIERS[index % len(TIERS)]
    red, green, blue = colorsys.hsv_to_rgb(index * GOLDEN_TURN % 1, saturation, brightness)
    return round(255 * red), round(255 * green), round(255 * blue)


def text_colour(background: RGB) -> RGB:
    """Black or white, whichever has the higher contrast (WCAG 2, relative luminance)."""
    red, green, blue = (_linear(channel / 255) for channel in background)
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    # Contrast with black is (L + 0.05) / 0.05, with white 1.05 / (L + 0.05).
    return (0, 0, 0) if (luminance + 0.05) ** 2 > 1.05 * 0.05 else (255, 255, 255)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4
