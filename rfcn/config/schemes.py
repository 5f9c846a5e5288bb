"""In which order the parts of a detector learn."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator

from rfcn.config.section import Count, Positive, Section, whole


class Joint(Section):
    """RPN and head together; no gradient passes through the proposals ("approximate joint
    training", py-R-FCN, Deformable-ConvNets)."""

    type: Literal["joint"] = "joint"


class Alternating(Section):
    """RPN and head in turn, until both read the same convolutions (paper, section 3; Faster R-CNN,
    section 3.2). What a list below leaves out is every stage's as it stands in `train`."""

    type: Literal["alternating"]
    stages: Annotated[Literal[4, 5], BeforeValidator(whole)] = 4
    """4: RPN; R-FCN on its proposals; RPN on R-FCN's convolutions; R-FCN's own layers (Faster
    R-CNN; the paper on VOC). 5: the fourth starts anew from the backbone's weights, and the RPN
    learns its convolutions once more (py-R-FCN; the paper on COCO)."""
    lr: tuple[Positive, ...] = ()
    """`train.lr` of each stage."""
    iterations: tuple[Count, ...] = ()
    """`train.iterations` of each stage."""
    lr_steps: tuple[tuple[Count, ...], ...] = ()
    """`train.lr_steps` of each stage, counted from its own first step."""

    @field_validator("lr", "iterations", "lr_steps")
    @classmethod
    def _one_a_stage(cls, value: tuple[Any, ...], info: ValidationInfo) -> tuple[Any, ...]:
        stages = info.data.get("stages", len(value))
        if value and len(value) != stages:
            raise ValueError(f"expected one entry for each of the {stages} stages, or none")
        return value

    def of_stage(self, number: int) -> dict[str, Any]:
        """What stage `number`, from 1, has otherwise than `train`."""
        lists = {"lr": self.lr, "iterations": self.iterations, "lr_steps": self.lr_steps}
        return {name: values[number - 1] for name, values in lists.items() if values}


Scheme = Annotated[Joint | Alternating, Field(discriminator="type")]
