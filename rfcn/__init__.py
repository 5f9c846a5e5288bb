"""R-FCN: object detection via region-based fully convolutional networks (arXiv 1605.06409)."""

__version__ = "0.1.0"
