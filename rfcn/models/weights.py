"""Foreign weights for a backbone: found, downloaded or refused in words."""

import errno
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from rfcn.download import RemoteFile, digest_of, download
from rfcn.errors import MachineError, WeightsError
from rfcn.models.resnet import ResNet
from rfcn.models.vgg import VGG16

logger = logging.getLogger(__name__)

DEFAULT_ENUM = "IMAGENET1K_V1"
"""torchvision's weights whose recipe is closest to those the paper started from."""
UNUSED = ".num_batches_tracked"
"""Live batch norm counts its batches; older files, torchvision's own among them, do not."""
NEW = ".offset."
"""In the name of layers that no classification network has (see `DeformableConv2d`)."""
_MIB = 2**20


def load_backbone(backbone: ResNet | VGG16, weights: str) -> list[str]:
    """Give a backbone its pretrained weights.

    Args:
        backbone: whole, nothing split off; changed in place.
        weights: `imagenet`, the name of a torchvision weight enum, or the path of a state dict with
            torchvision's key names. The file may end after any stage; what it does not hold keeps
            its random initialisation.

    Returns:
        the stages that were left untrained, e.g. ["conv5"].

    Raises:
        MachineError: a download failed. WeightsError: the file, or the download cache's copy, is
            missing, broken, not the published one, or does not fit.
    """
    if weights == "imagenet" or weights.startswith("IMAGENET1K_"):
        state = _download(backbone.architecture, DEFAULT_ENUM if weights == "imagenet" else weights)
        source = weights
    else:
        state = _read(Path(weights).expanduser())
        source = str(weights)
    return load_stages(backbone, state, source)


def load_stages(backbone: ResNet | VGG16, state: dict[str, Tensor], source: str) -> list[str]:
    """Copy whole stages of a state dict; see `load_backbone`. `source` names it in messages."""
    wanted = backbone.state_dict()
    # torchvision's IMAGENET1K_FEATURES fills the layers it lacks with NaN.
    state = {key: value for key, value in state.items() if value.isfinite().all()}
    untrained = []
    for stage, modules in backbone.stages.items():
        prefixes = tuple(f"{module}." for module in modules)
        keys = [key for key in wanted if key.startswith(prefixes) and not _is_ours(key)]
        found = [key for key in keys if key in state]
        if not found:
            untrained.append(stage)
            continue
        wrong = [key for key in keys if key not in state or state[key].shape != wanted[key].shape]
        if wrong:
            raise WeightsError(
                f"{source}: {stage} does not fit this backbone: {wrong[0]} is "
                f"{_shape(state.get(wrong[0]))}, expected {_shape(wanted[wrong[0]])} "
                f"({len(wrong)} of {len(keys)} tensors differ). Check the type and depth of "
                "model.backbone."
            )
        for key in keys:
            wanted[key].copy_(state[key])
    if len(untrained) == len(backbone.stages):
        raise WeightsError(
            f"{source}: holds no tensor of torchvision's {backbone.architecture} (expected names "
            f"such as {next(iter(wanted))}, found {', '.join(list(state)[:3])})."
        )
    return untrained


def _is_ours(key: str) -> bool:
    """Whether a tensor has no place in a file of pretrained weights."""
    return key.endswith(UNUSED) or NEW in key


def _download(architecture: str, name: str) -> dict[str, Tensor]:
    enum = torchvision.models.get_model_weights(architecture)
    if name not in enum.__members__:
        raise WeightsError(
            f"model.backbone.weights: torchvision has no {name} for {architecture}; "
            f"it has {', '.join(enum.__members__)}."
        )
    remote = _remote(enum[name])
    with _cache(remote.name) as folder:
        path = folder / remote.name
        if not path.is_file():
            try:
                download(remote, folder)
            except MachineError as fault:
                raise MachineError(
                    f"{str(fault).rstrip('.')}; or set model.backbone.weights to the path of a "
                    "copy, or to none to start from random weights."
                ) from None
        elif not digest_of(path, remote).startswith(remote.digest):
            raise WeightsError(
                f"{path} is not the published file: its SHA256 does not begin with "
                f"{remote.digest}. It may be truncated; delete it to have it downloaded again."
            )
        return _read(path)


def _remote(weights: torchvision.models.WeightsEnum) -> RemoteFile:
    """What torchvision states of its files: the address, in whose name the SHA256 begins, and the
    size in MiB to three decimals."""
    name = Path(weights.url).stem
    size = round(weights.meta["_file_size"] * _MIB)
    return RemoteFile(weights.url, size, name.rpartition("-")[2], "sha256", slack=_MIB // 1000)


@contextmanager
def _cache(name: str) -> Iterator[Path]:
    """PyTorch's own folder of downloads; or, where it has no file of this name and none can be
    written there, a folder that lasts as long as this."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / name).is_file() and not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as fault:
        with tempfile.TemporaryDirectory(prefix="rfcn-") as temporary:
            logger.warning(
                "%s cannot be written (%s): downloaded weights are not kept. Set TORCH_HOME to a "
                "folder that can be.",
                folder,
                fault.strerror,
            )
            yield Path(temporary)
    else:
        yield folder


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(
            f"model.backbone.weights: there is no file {path}. Use imagenet, none, or the path of "
            "a state dict."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and safetensors raise a dozen kinds for a broken file
        raise _unreadable(path, error, "fetch it again") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} is not a state dict: expected tensors by name.")
    return state


def _unreadable(path: Path, error: Exception, remedy: str) -> WeightsError:
    return WeightsError(
        f"{path} cannot be read as weights ({_reason(error)}). It may be truncated or not a state "
        f"dict; {remedy}."
    )


def _reason(error: Exception) -> str:
    """What an exception says, on one line."""
    words = str(error).splitlines()
    return f"{type(error).__name__}: {words[0]}" if words else type(error).__name__


def _shape(tensor: Tensor | None) -> str:
    return "missing" if tensor is None else str(tuple(tensor.shape))
