"""R-FCN: object detection via region-based fully convolutional networks (arXiv 1605.06409)."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfcn.inference.detector import Detector as Detector

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`rfcn.Detector`, imported when it is asked for: the package alone loads without torch."""
    if name != "Detector":
        raise AttributeError(f"module 'rfcn' has no attribute {name!r}")
    from rfcn.inference.detector import Detector

    return Detector
