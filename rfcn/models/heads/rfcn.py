"""The R-FCN head: position-sensitive score maps, pooling, voting (paper, section 2)."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rfcn.models.heads.forms import Form, Load, choose_forms
from rfcn.models.heads.pooled_product import pooled_votes
from rfcn.models.heads.poolers import PositionSensitivePooler
from rfcn.models.heads.row_order import bins_of_rows
from rfcn.models.initialization import Initializer, gaussian
from rfcn.structures import RoIOutputs

BIN_MAJOR = 1
"""The mark of rows that lie bin by bin, in a state dict."""


class RFCNHead(nn.Module):
    """k^2 (C+1) score maps and 4 k^2 S box maps; bin (i, j) of a RoI reads maps (i, j); bins vote.

    There is not one weight after the RoIs: all computation is shared by all of them.

    The rows of `score_maps` and `box_maps` lie bin by bin (i, j, c), not class by class as in the
    released code: `row_order.convert_rows` goes both ways. A state dict carries a mark of it, and
    one without the mark is refused.

    Args:
        in_channels: channels of conv5. classes: C, without background.
        pooler: how bins are read; its k is that of the maps. By default 7, at stride 16.
        reduction: width of the 1x1 convolution before the maps.
        box_sets: S: 1 (the paper), 2 (background and foreground, the released code) or C+1.
        hidden_init: how the 1x1 convolution before the maps starts.
        form: `maps` convolves and then pools, `features` pools and then multiplies; the numbers are
            the same. `auto` takes for each layer what `forms.choose_forms` counts as cheaper, and
            `maps` where the graph is traced (torch.compile, torch.export).

    Raises:
        ValueError: form `features` with a pooler that cannot read every map in every bin.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        classes: int,
        pooler: PositionSensitivePooler | None = None,
        reduction: int = 1024,
        box_sets: int = 2,
        hidden_init: Initializer = gaussian,
        form: Form | Literal["auto"] = "auto",
    ) -> None:
        super().__init__()
        self.pooler = pooler or PositionSensitivePooler()
        self.inclusive_corners = self.pooler.inclusive_corners
        self.k = k = self.pooler.k
        if form == "features" and self.pooler.average is None:
            raise ValueError("form features needs a pooler that reads every map in every bin")
        self.form = form
        self.box_sets = box_sets
        self.reduce = nn.Conv2d(in_channels, reduction, 1)
        self.score_maps = nn.Conv2d(reduction, k * k * (classes + 1), 1)
        self.box_maps = nn.Conv2d(reduction, k * k * 4 * box_sets, 1)
        hidden_init(self.reduce)
        gaussian(self.score_maps)
        gaussian(self.box_maps)
        self.register_load_state_dict_pre_hook(_refuse_other_rows)

    def forward(self, features: Tensor, rois: Tensor) -> RoIOutputs:
        """features: [N, Cf, H, W]; rois: [R, 5] -> raw scores [R, C+1] and offsets [R, S, 4]."""
        return self.votes(self.reduced(features), rois)

    def votes(self, reduced: Tensor, rois: Tensor) -> RoIOutputs:
        """The same from what `reduced` gives, each layer in its form."""
        layers = (self.score_maps, self.box_maps)
        forms = self.forms(reduced, rois)
        multiplied = [one for one, form in zip(layers, forms, strict=True) if form == "features"]
        average = self.pooler.average
        found = [] if average is None else pooled_votes(reduced, rois, average, multiplied)
        logits, deltas = (
            found.pop(0)
            if form == "features"
            else self.pooler.vote(self.maps(layer, reduced), rois)
            for layer, form in zip(layers, forms, strict=True)
        )
        return RoIOutputs(logits, deltas.view(-1, self.box_sets, 4))

    def forms(self, reduced: Tensor, rois: Tensor) -> Sequence[Form]:
        """How the votes of score_maps and of box_maps are computed for these RoIs."""
        if self.form != "auto":
            return (self.form, self.form)
        if torch.compiler.is_compiling() or self.pooler.average is None:
            return ("maps", "maps")
        cells = reduced.shape[0] * reduced.shape[2] * reduced.shape[3]
        load = Load(cells, len(rois), reduced.shape[1], self.k)
        layers = (self.score_maps, self.box_maps)
        channels = [layer.out_channels // self.k**2 for layer in layers]
        return choose_forms(load, channels, training=reduced.requires_grad)

    def bins(self, features: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """What the vote is made of: the score maps [N, C+1, k, k, H, W] and what each bin of each
        RoI read from them [R, C+1, k, k]. Their mean over the bins is `class_logits`."""
        maps = self.maps(self.score_maps, self.reduced(features))
        return maps, self.pooler(maps, rois)

    def reduced(self, features: Tensor) -> Tensor:
        """[N, Cf, H, W] -> [N, reduction, H, W], channels-last: all that both kinds of maps read.

        The 1x1 convolutions after it are fastest so, and write what the pooling is fastest with.
        """
        return F.relu(self.reduce(features.contiguous(memory_format=torch.channels_last)))

    def maps(self, layer: nn.Conv2d, reduced: Tensor) -> Tensor:
        """The maps of a layer by class and bin: [N, D, H, W] -> [N, C, k, k, H, W], a view of
        what the convolution wrote: all classes of a cell and bin lie side by side."""
        return bins_of_rows(layer(reduced), self.k)

    def class_rows(self) -> dict[str, Tensor]:
        """The rows of each layer that belong to one class: layer -> [C+1, rows a class] int64."""
        bins, sets = self.k * self.k, self.box_sets
        classes = self.score_maps.out_channels // bins
        rows = {"score_maps": torch.arange(bins * classes, device="cpu").view(bins, -1).t()}
        if sets == classes:
            boxes = torch.arange(bins * sets * 4, device="cpu").view(bins, sets, 4)
            rows["box_maps"] = boxes.transpose(0, 1).flatten(1)
        return rows

    def get_extra_state(self) -> Tensor:
        """The mark that travels with the weights: the order of their rows."""
        return torch.tensor(BIN_MAJOR)

    def set_extra_state(self, state: Any) -> None:
        """Nothing to set: the mark was checked before."""


def _refuse_other_rows(head: nn.Module, state: Mapping[str, Any], prefix: str, *rest: Any) -> None:
    """Before a state dict is loaded: its rows must be in this head's order."""
    mark = state.get(f"{prefix}_extra_state")
    if f"{prefix}score_maps.weight" in state and (mark is None or int(mark) != BIN_MAJOR):
        errors: list[str] = rest[-1]
        errors.append(
            "the rows of score_maps and box_maps are not marked as lying bin by bin; those of the "
            "released code, and of weights saved before the mark, lie class by class. Convert them "
            "with rfcn.models.heads.row_order.convert_rows(..., to='bin_major') and set "
            f"{prefix}_extra_state to torch.tensor({BIN_MAJOR})"
        )
