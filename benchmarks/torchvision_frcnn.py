"""torchvision's Faster R-CNN under the conditions of a row of table 3 at the scale `mini`.

    python benchmarks/torchvision_frcnn.py --data VOCdevkit --output runs/torchvision \
        --set model.backbone.weights=resnet18_imagenet_trunk.pth

The trunk (ResNet-18 up to conv4, frozen as in the row), the pictures in their order and sizes,
mirroring, schedule, optimizer, seed and metric are the row's, and so are anchors, score threshold,
NMS and detections a picture. The rest is torchvision's own: 2,000 RoIs of which 512 are sampled,
RoI Align to 7 x 7, two layers of 1,024, 1,000 RoIs at test. `--fewer-rois 10` divides the first
two, where the rows beside it train on fewer. `rfcn reproduce table3 --scale mini` runs those.
"""

import argparse
import json
import logging
import statistics
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator

from rfcn.assessment import assess
from rfcn.boxes import rescale
from rfcn.build import build_dataset, build_schedule, build_train_loader
from rfcn.config.loader import dump_config
from rfcn.config.schema import RPN, Config
from rfcn.engine.environment import create_run_folder, describe_environment
from rfcn.engine.logging import RunLog
from rfcn.engine.optimizer import build_sgd
from rfcn.engine.schedule import scaled
from rfcn.engine.step import Manner
from rfcn.engine.train import Milestones, train
from rfcn.parts.backbones import build_backbone
from rfcn.reproduction.run import row_config
from rfcn.reproduction.tables import TABLES
from rfcn.structures import Detections, ImageBatch, Target


class Trunk(nn.Module):
    """The backbone up to conv4, as torchvision takes one: one map."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.backbone, _ = build_backbone(config.model.backbone, "conv4", pretrained=True)
        self.out_channels = self.backbone.rpn_channels

    def forward(self, images: Tensor) -> Tensor:
        """[N, 3, H, W] normalised -> conv4."""
        return self.backbone(images).rpn


class TorchvisionDetector(nn.Module):
    """torchvision's detector behind this project's contract: losses with targets, else detections.

    Pictures come resized, so torchvision's own resizing is left out.
    """

    def __init__(self, config: Config, classes: int, fewer_rois: int = 1) -> None:
        super().__init__()
        proposer, found = config.model.proposer, config.model.postprocess
        assert isinstance(proposer, RPN)
        anchors = proposer.anchors
        self.detector = FasterRCNN(
            Trunk(config),
            num_classes=classes + 1,
            rpn_anchor_generator=AnchorGenerator(
                sizes=(tuple(anchors.base_size * scale for scale in anchors.scales),),
                aspect_ratios=(anchors.ratios,),
            ),
            image_mean=[one / 255 for one in config.model.pixel_mean],
            image_std=[one / 255 for one in config.model.pixel_std],
            rpn_post_nms_top_n_train=2000 // fewer_rois,
            box_batch_size_per_image=512 // fewer_rois,
            box_score_thresh=found.score_threshold,
            box_nms_thresh=found.nms_threshold,
            box_detections_per_img=found.max_detections,
            _skip_resize=True,
        )

    def forward(
        self, batch: ImageBatch, targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[Detections]:
        """batch of resized pictures -> scalar losses, or detections in original pixels."""
        pictures = [
            one[:, :height, :width].float() / 255
            for one, (height, width) in zip(batch.tensor, batch.sizes, strict=True)
        ]
        if targets is not None:
            truth = [{"boxes": one.boxes, "labels": one.labels} for one in targets]
            return self.detector(pictures, truth)
        return [
            Detections(rescale(one["boxes"], size, original), one["scores"], one["labels"])
            for one, size, original in zip(
                self.detector(pictures), batch.sizes, batch.original_sizes, strict=True
            )
        ]


def run(config: Config, output: Path, fewer_rois: int = 1) -> dict[str, float]:
    """Train and measure in a folder like that of any run; the figures by name."""
    data = config.data
    train_set = build_dataset(data, data.train)
    val_set = build_dataset(data, data.val, class_names=train_set.class_names)
    device = torch.device("cpu")
    environment = describe_environment(device=device, ops_backend="torchvision")
    create_run_folder(
        output, config_text=dump_config(config), environment=environment, overwrite=True
    )
    torch.manual_seed(config.runtime.seed)
    model = TorchvisionDetector(config, len(train_set.class_names), fewer_rois)
    model.to(memory_format=torch.channels_last)
    settings = config.train
    schedule = scaled(build_schedule(settings), settings.schedule_batch_size, settings.batch_size)
    optimizer = build_sgd(
        model,
        lr=settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        bias_lr_factor=settings.bias_lr_factor,
        new_parameters=lambda name: not name.startswith("detector.backbone."),
    )
    log_every = config.runtime.log_every
    with RunLog(output, iterations=schedule.iterations, every=log_every, tensorboard=False) as log:
        train(
            model,
            build_train_loader(config, train_set),
            optimizer=optimizer,
            schedule=schedule,
            log=log,
            milestones=Milestones(save=lambda step: None, save_every=schedule.iterations),
            manner=Manner(settings.max_gradient_norm),
        )
    found = assess(model, val_set, config, device=device, output=output)
    return {f"mAP@{one:g}": found.mean_ap(one) for one in found.iou_thresholds}


def train_seconds(output: Path, batch_size: int) -> float:
    """A picture, median over the run's log lines, as `rfcn reproduce` prints it."""
    lines = map(json.loads, (output / "metrics.jsonl").read_text().splitlines())
    steps = [line["time/step"] for line in lines if "time/step" in line]
    return round(statistics.median(steps) / batch_size, 4)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", help="folder of VOCdevkit")
    parser.add_argument("--row", default="rfcn_300", help="of table 3 (default: rfcn_300)")
    parser.add_argument("--scale", default="mini", choices=TABLES["table3"].scales)
    parser.add_argument("--fewer-rois", type=int, default=1, metavar="N", help="a N-th in training")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    table = TABLES["table3"]
    [row] = [one for one in table.rows if one.name == args.row]
    config = row_config(row, table, args.scale, seed=0, data=args.data, overrides=args.set)
    figures = run(config, args.output, args.fewer_rois)
    figures["train s/picture"] = train_seconds(args.output, config.train.batch_size)
    (args.output / "outcome.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(figures)


if __name__ == "__main__":
    main()
