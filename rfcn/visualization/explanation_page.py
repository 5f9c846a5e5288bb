"""An explanation as one page of HTML that needs nothing else: no network, no files beside it.

Whatever its script shows is computed here and stands in the page as JSON: the script chooses.
"""

import base64
import io
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from torch import Tensor

from rfcn.visualization.explanation import Explanation, Placement
from rfcn.visualization.score_maps import film, full_colour

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATE = "explanation.html.j2"
DIGITS = 7
"""Decimals of the numbers in the page: their means are the logits to 1e-6."""
JPEG_QUALITY = 88


def render_explanation(explanation: Explanation, *, name: str = "") -> str:
    """The page. Names of classes and of the picture come from outside, and are escaped.

    name: of the picture, for the heading.
    """
    return _template().render(
        name=name,
        class_name=explanation.class_names[explanation.label],
        index=explanation.index,
        score=f"{explanation.score:.3f}",
        k=explanation.k,
        bins=explanation.k**2,
        classes=len(explanation.class_names),
        data=page_data(explanation),
    )


def page_data(explanation: Explanation) -> dict[str, Any]:
    """What the page's script is given: pictures as data URIs, numbers rounded to `DIGITS`.

    Shown are the detection's class, the runner-up and background, in this order.
    """
    shown = list(dict.fromkeys((explanation.label, explanation.runner_up, 0)))
    hit = explanation.hit
    largest = full_colour([explanation.view(label, hit, "") for label in shown])
    height, width = explanation.image.shape[:2]
    return {
        "picture": {"uri": _picture_uri(explanation), "width": width, "height": height},
        "k": explanation.k,
        "stride": explanation.stride,
        "cells": list(explanation.maps.shape[-2:]),
        "full": round(largest, DIGITS),
        "box": _rounded(explanation.box),
        "miss": explanation.placements.index(explanation.miss),
        "classes": [
            {
                "name": explanation.class_names[label],
                "role": _role(explanation, label),
                "maps": [_map_uri(one, largest) for one in explanation.maps[label].flatten(0, 1)],
            }
            for label in shown
        ],
        "places": [_place(one, shown) for one in explanation.placements],
    }


def _place(placement: Placement, shown: list[int]) -> dict[str, Any]:
    """The numbers of one place of the RoI, for the classes shown."""
    logits, scores = placement.logits, placement.scores
    without = placement.scores_without
    return {
        "shift": list(placement.shift),
        "roi": _rounded(placement.roi),
        "classes": [
            {
                "votes": _rounded(placement.votes[label]),
                "logit": round(float(logits[label]), DIGITS),
                "score": round(float(scores[label]), DIGITS),
                "without": _rounded(without[label]),
            }
            for label in shown
        ],
    }


def _role(explanation: Explanation, label: int) -> str:
    if label == explanation.label:
        return "detected"
    return "runner-up" if label == explanation.runner_up and label else ""


def _rounded(values: Tensor) -> list[float | None]:
    """Flat, for JSON, which has no NaN."""
    numbers = values.detach().cpu().double().flatten().tolist()
    return [None if np.isnan(one) else round(one, DIGITS) for one in numbers]


def _map_uri(values: Tensor, largest: float) -> str:
    """A score map [h, w] as a film of colour, a pixel a cell."""
    colours = film(values.detach().cpu().double().numpy(), largest)
    return _uri(Image.fromarray(np.rint(255 * colours).astype(np.uint8)), "png")


def _picture_uri(explanation: Explanation) -> str:
    return _uri(Image.fromarray(explanation.image), "jpeg", quality=JPEG_QUALITY)


def _uri(image: Image.Image, kind: str, **settings: Any) -> str:
    content = io.BytesIO()
    image.save(content, kind, **settings)
    return f"data:image/{kind};base64,{base64.b64encode(content.getvalue()).decode('ascii')}"


@cache
def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined

    text = files("rfcn.visualization").joinpath(TEMPLATE).read_text(encoding="utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(text)
