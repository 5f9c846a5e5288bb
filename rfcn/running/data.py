"""The pictures of a run: those to learn from and those to measure on."""

from rfcn.build import build_dataset, with_proposals
from rfcn.config.schema import Config
from rfcn.datasets.sample import Dataset
from rfcn.errors import DataError


def data_sets(config: Config) -> tuple[Dataset, Dataset]:
    """The sets of `data.train` and `data.val`, with their proposals where the config has some.

    Raises:
        DataError: there is nothing to learn from.
    """
    data = config.data
    train_set = with_proposals(config, build_dataset(data, data.train), "train")
    if not any(len(train_set.target(index).labels) for index in range(len(train_set))):
        raise DataError(f"data.train ({data.train}): no picture has an object to learn from.")
    val_pictures = build_dataset(data, data.val, class_names=train_set.class_names)
    return train_set, with_proposals(config, val_pictures, "val")
