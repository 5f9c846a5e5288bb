"""What every reader of a foreign file gives: tensors by common names, and how they were used.

Common names are those of Caffe's ResNets, which most old programs took over: `LAYER.weight`,
`LAYER.bias`, and of a norm `bnNAME.weight`, `.bias`, `.running_mean`, `.running_var`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from torch import Tensor

from rfcn.errors import WeightsError

EPS = 1e-5
"""What our frozen norms add to variances."""
MOST_BYTES = 2**32
"""Of a file of weights; ResNet-152 with all heads has a tenth of it."""

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
"""RGB, of torchvision's weights; detectron2 uses the means."""


@dataclass(frozen=True)
class Foreign:
    """A file of weights of another program."""

    program: str
    """Its name, for people."""
    tensors: Mapping[str, Tensor]
    """By common name, float32."""
    origin: Mapping[str, tuple[str, ...]]
    """Common name -> what the file calls the tensors that one was made from."""
    bgr: bool = False
    """Whether its first convolution reads blue first."""
    mean: Sequence[float] = IMAGENET_MEAN
    """What it subtracts from pictures, RGB, of bytes 0..255."""
    std: Sequence[float] = (1, 1, 1)
    """What it divides them by then."""
    style: Literal["torchvision", "caffe"] = "caffe"
    """See `rfcn.models.resnet.ResNet`."""
    doubtful: bool = False
    """Whether colours, mean and style are what the program uses by default, and not sure."""
    notes: list[str] = field(default_factory=list)
    """What the reader folded or had to assume, sentences."""


def read_bytes(path: Path) -> memoryview:
    """A whole file of at most `MOST_BYTES`.

    Raises:
        WeightsError: it is larger, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise WeightsError(
                f"{path} has {size / 1e9:.1f} GB, and weights of more than {MOST_BYTES / 1e9:.1f} "
                "are not read."
            )
        return memoryview(path.read_bytes())
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror}).") from error


def broken(path: Path, kind: str, error: Exception) -> WeightsError:
    """What is said of a file that begins as one of this kind and does not go on so."""
    return WeightsError(
        f"{path} cannot be read as {kind} ({error}). It is damaged, cut short or something else; "
        "copy or download it again."
    )
