"""Proposals that come with the pictures: Fast R-CNN's training and test, any head, no RPN."""

from torch import Tensor, nn

from rfcn.errors import ConfigError
from rfcn.structures import Features, ImageBatch, Target


class GivenProposals(nn.Module):
    """In the place of an RPN: the best proposals of the batch, and nothing to learn.

    Args:
        train_proposals, test_proposals: most a picture, with and without targets.
    """

    def __init__(self, *, train_proposals: int = 2000, test_proposals: int = 2000) -> None:
        super().__init__()
        self.train_proposals = train_proposals
        self.test_proposals = test_proposals

    def forward(
        self, batch: ImageBatch, features: Features, targets: list[Target] | None = None
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """N tensors [P_i, 4] of proposals in pixels of the resized picture, and no losses.

        Raises:
            ConfigError: the batch brings none.
        """
        if batch.proposals is None:
            raise ConfigError(
                "this detector has no RPN: it takes proposals from files, and these pictures come "
                "without. Evaluate it on a data set with data.proposals, give "
                "Detector.predict(images, proposals), or train with model.proposer.type: rpn."
            )
        count = self.test_proposals if targets is None else self.train_proposals
        return [one[:count] for one in batch.proposals], {}
