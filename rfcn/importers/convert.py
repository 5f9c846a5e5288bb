"""From a file of another program to files of ours: recognised, read, checked, written."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save

from rfcn.build import build_detector
from rfcn.config.loader import config_from_mapping
from rfcn.config.schema import Config
from rfcn.engine.atomic import make_folder, write_atomically
from rfcn.engine.finite import first_non_finite
from rfcn.engine.weights import save_weights
from rfcn.errors import WeightsError
from rfcn.filekind import kind_of, origin_of, remedy_for
from rfcn.importers import caffe, detectron2, mxnet, torchvision
from rfcn.importers.backbone import Network, recognise, take_backbone
from rfcn.importers.detector import Wishes, is_detector, take_detector
from rfcn.importers.foreign import EPS, Foreign
from rfcn.importers.ledger import Ledger, as_json, as_text
from rfcn.models.resnet import ResNet
from rfcn.models.vgg import VGG16
from rfcn.models.weights import load_stages

BACKBONE = "backbone.safetensors"
REPORT = "import.json"
SUPPORTED = (
    "Caffe's .caffemodel (py-R-FCN, MATLAB R-FCN, ImageNet ResNets and VGG-16), MXNet's .params "
    "(Deformable-ConvNets), torchvision's state dicts and detectron2's files are."
)


@dataclass(frozen=True)
class Options:
    """What the user says of a file, and wants of it."""

    wishes: Wishes = field(default_factory=Wishes)
    backbone_only: bool = False
    colours: Literal["rgb", "bgr"] | None = None
    """Which the first convolution reads first; nothing: as the program does by default."""
    style: Literal["torchvision", "caffe"] | None = None
    eps: float | None = None
    """Of torchvision's norms, where it is not ours."""
    overrides: Sequence[str] = ()
    """`key=value`, on the config of a detector."""


@dataclass(frozen=True)
class Imported:
    """What was written, and the books."""

    what: str
    """`a detector` or `a backbone`."""
    path: Path
    """The weights folder, or the backbone's file."""
    settings: str
    """YAML that uses a backbone; nothing for a detector, whose weights carry their config."""
    text: str
    """The table of what went where."""
    notes: list[str]


def import_weights(path: Path, output: Path, options: Options) -> Imported:
    """Turn a foreign file into a weights folder, or a backbone, with a report beside it.

    Raises:
        WeightsError: the file is of no known kind, damaged, or something is missing in it.
        ConfigError: classes or overrides do not fit. MachineError: the folder cannot be written.
    """
    foreign = read(path, options.eps)
    if options.colours or options.style:
        bgr = foreign.bgr if options.colours is None else options.colours == "bgr"
        foreign = replace(foreign, bgr=bgr, style=options.style or foreign.style, doubtful=False)
    if foreign.doubtful:
        foreign.notes.append(
            f"the file does not say how pictures are put in: taken as {foreign.program} does by "
            f"default, {'blue' if foreign.bgr else 'red'} first, style {foreign.style}. Say "
            "--colours and --style where that is wrong."
        )
    network = recognise(foreign.tensors)
    if network is None:
        raise WeightsError(
            f"{path} holds no ResNet nor VGG-16, but {', '.join(list(foreign.tensors)[:4])} ... "
            f"{origin_of(path)}".rstrip()
        )
    ledger = Ledger(foreign)
    facts = {
        "file": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "program": foreign.program,
        "backbone": f"{network.kind}{network.depth if network.kind == 'resnet' else ''}",
    }
    if is_detector(foreign) and not options.backbone_only:
        return _detector(path, output, ledger, network, options, facts)
    return _backbone(path, output, ledger, network, facts)


def read(path: Path, eps: float | None = None) -> Foreign:
    """A foreign file of any known kind, by common names.

    Raises:
        WeightsError: unknown, named as what it is; or damaged.
    """
    kind = kind_of(path)
    if kind == "a PyTorch file" or _is_old_torch(path, kind):
        state = torchvision.read_state(path)
        if not detectron2.is_named(state):
            return torchvision.named(state, eps=EPS if eps is None else eps)
        if eps is None:
            return detectron2.named(state)
    if eps is not None:
        raise WeightsError(f"{path}: --eps is for torchvision's files; this is {kind}.")
    reader = _reader(path, kind)
    if reader is None:
        hint = remedy_for(kind) or origin_of(path) or f"Not every program's are read: {SUPPORTED}"
        raise WeightsError(f"{path} cannot be imported: it is {kind}. {hint}")
    return reader(path)


def _reader(path: Path, kind: str) -> Callable[[Path], Foreign] | None:
    """What reads a file that is no PyTorch file."""
    if kind == "a pickle":
        return detectron2.read
    if kind not in ("a file of unknown kind", "a text file"):  # a short net looks like text
        return None
    with path.open("rb") as file:
        head = file.read(8)
    if head == mxnet.MAGIC.to_bytes(8, "little"):
        return mxnet.read
    if path.suffix == ".caffemodel" or head[:1] == b"\x0a":
        return caffe.read
    return None


def _is_old_torch(path: Path, kind: str) -> bool:
    """Whether torch.save wrote it before it wrote zip archives: a pickle of a long number first."""
    if kind != "a pickle":
        return False
    with path.open("rb") as file:
        return file.read(15).endswith(b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")


# ---------------------------------------------------------------------------------------- writing


def _detector(
    path: Path,
    output: Path,
    ledger: Ledger,
    network: Network,
    options: Options,
    facts: dict[str, Any],
) -> Imported:
    mapping, names = take_detector(ledger, network, options.wishes)
    config = config_from_mapping(mapping, options.overrides, source=f"config of {path}")
    _check_detector(path, ledger, config, names)
    metadata = {
        "classes": list(names),
        "config": config.model_dump(mode="json"),
        "metrics": {},
    }
    save_weights(output, ledger.state, metadata)
    return _report(ledger, "a detector", output, output, "", facts)


def _check_detector(path: Path, ledger: Ledger, config: Config, names: Sequence[str]) -> None:
    """Refuse a detector of which something is missing, or has another shape."""
    with torch.device("meta"):  # its shapes matter, not its values
        model = build_detector(config.model, names, pretrained=False)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in ledger.state.items()}
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if wrong:
        shown = "; ".join(
            f"{name}: expected {expected.get(name, 'nothing')}, found {found.get(name, 'nothing')}"
            for name in wrong[:5]
        )
        absent = f" The file lacks {', '.join(ledger.missing[:5])}." if ledger.missing else ""
        raise WeightsError(
            f"{path} does not make a whole detector: {len(wrong)} of {len(expected)} tensors "
            f"differ, the first: {shown}.{absent} --backbone takes its backbone alone."
        )


def _backbone(
    path: Path, output: Path, ledger: Ledger, network: Network, facts: dict[str, Any]
) -> Imported:
    take_backbone(ledger, network)
    bad = first_non_finite(ledger.state)
    if bad is not None:
        raise WeightsError(f"{path} is useless: {bad} holds NaN or infinity.")
    with torch.device("meta"):
        body = VGG16() if network.kind == "vgg16" else ResNet(network.depth)
    if untrained := load_stages(body, ledger.state, str(path)):
        ledger.notes.append(
            f"the file ends before {untrained[0]}, which starts from random weights."
        )
    make_folder(output)
    file = output / BACKBONE
    content = save(ledger.state)
    write_atomically(file, lambda out: out.write(content))
    return _report(ledger, "a backbone", file, output, _settings(ledger, network, file), facts)


def _settings(ledger: Ledger, network: Network, file: Path) -> str:
    foreign = ledger.foreign
    kind = f"    type: {network.kind}"
    if network.kind == "resnet":
        kind += f"\n    depth: {network.depth}\n    style: {foreign.style}"
    return (
        f"model:\n  backbone:\n{kind}\n    weights: {json.dumps(str(file))}\n"
        f"  pixel_mean: {list(foreign.mean)}\n  pixel_std: {list(foreign.std)}"
    )


def _report(
    ledger: Ledger, what: str, path: Path, output: Path, settings: str, facts: dict[str, Any]
) -> Imported:
    """The books, beside what was written."""
    left = ledger.left(_why)
    content = as_json(ledger, left, {**facts, "what": what})
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    write_atomically(output / REPORT, lambda file: file.write(text.encode()))
    return Imported(what, path, settings, as_text(ledger, left), ledger.notes)


def _why(name: str) -> str:
    """Why a tensor has no place here, by its common name."""
    if name.endswith("num_batches_tracked"):
        return "a counter that frozen norms do not keep"
    if name.startswith(("fc", "classifier", "prob", "stem.fc", "pred")):
        return "classifies whole pictures"
    if name.endswith(("_test.weight", "_test.bias")):
        return "a copy with the box statistics multiplied in"
    if name.startswith(("rfcn_", "rpn", "conv_new", "cls_score", "bbox_pred")):
        return "of a detector; only the backbone was taken"
    if name.startswith(("backbone.", "rpn.", "roi_heads.", "proposal_generator.", "head.")):
        return "of a detector that has no counterpart here"
    return "no layer here has its place"
