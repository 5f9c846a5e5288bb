"""Proposals for a whole data set, made once and kept in a file."""

from pathlib import Path

import numpy as np
from tqdm import tqdm

from rfcn.datasets.proposal_files import read_proposals, write_proposals
from rfcn.datasets.sample import Dataset
from rfcn.datasets.selective_search import selective_search
from rfcn.engine.atomic import write_atomically

KEPT_EVERY = 200
"""Pictures after which what was found so far is kept, for a stopped search to go on from."""


def search_dataset(dataset: Dataset, path: Path, *, most: int, quality: bool = False) -> int:
    """Write the Selective Search boxes of every picture to `path` (.npz): at once where they are
    complete, and from where an earlier search was stopped. Returns how many boxes there are.

    Raises:
        MachineError: this OpenCV lacks the module.
    """
    found: dict[str, np.ndarray] = read_proposals(path) if path.is_file() else {}
    missing = [index for index, name in enumerate(dataset.ids) if name not in found]
    for count, index in enumerate(tqdm(missing, f"Searching for {path.name}", disable=None), 1):
        image = dataset[index].image
        found[dataset.ids[index]] = selective_search(image, most=most, quality=quality)
        if count % KEPT_EVERY == 0 or count == len(missing):
            write_atomically(path, lambda file: write_proposals(file, found))
    return sum(len(found[name]) for name in dataset.ids)
