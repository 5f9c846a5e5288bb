"""Names of classes: foreign files hold none; the two published sets are known by their count."""

from collections.abc import Sequence

from rfcn.config.classes import check_class_names
from rfcn.errors import ConfigError

VOC = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train",
    "tvmonitor",
)  # fmt: skip
COCO = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat",
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange",
    "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant",
    "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone",
    "microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors",
    "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip
"""In the order of their category ids, as every code counts them."""
_BY_COUNT = {len(names): names for names in (VOC, COCO)}


def names_for(count: int, given: Sequence[str] = ()) -> tuple[str, ...]:
    """The names of so many classes, without background: those given, or the published ones.

    Raises:
        ConfigError: there are more or fewer names than classes, or none are known.
    """
    names = tuple(given) or _BY_COUNT.get(count)
    if names is None:
        raise ConfigError(
            f"the file has {count} classes and no names for them. Name them in the order of their "
            "labels: --classes FILE, one a line, or --classes NAME NAME ..."
        )
    if len(names) != count:
        raise ConfigError(f"--classes: {len(names)} names for the {count} classes of the file.")
    try:
        check_class_names(names)
    except ValueError as error:
        raise ConfigError(f"--classes: {error}.") from None
    return names
