"""A data set is searched once; a search that was stopped goes on."""

from types import SimpleNamespace

import numpy as np
import pytest

from rfcn.datasets.proposal_files import read_proposals
from rfcn.inference import proposing


class Pictures:
    """Four pictures; number i is i + 1 pixels wide."""

    ids = ("a", "b", "c", "d")

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, index):
        return SimpleNamespace(image=np.zeros((5, index + 1, 3), np.uint8))


def test_a_stopped_search_goes_on_and_a_done_one_does_nothing(tmp_path, monkeypatch):
    searched = []

    def search(image, *, most, quality):
        if len(searched) == 3:
            raise KeyboardInterrupt
        searched.append(image.shape[1])
        return np.array([[0, 0, image.shape[1], 5]] * most, np.float32)

    monkeypatch.setattr(proposing, "KEPT_EVERY", 2)
    monkeypatch.setattr(proposing, "selective_search", search)
    path = tmp_path / "a.npz"
    with pytest.raises(KeyboardInterrupt):
        proposing.search_dataset(Pictures(), path, most=2)
    assert set(read_proposals(path)) == {"a", "b"}
    searched.clear()
    assert proposing.search_dataset(Pictures(), path, most=2) == 8
    assert searched == [3, 4]
    monkeypatch.setattr(proposing, "selective_search", None)
    assert proposing.search_dataset(Pictures(), path, most=2) == 8
    assert read_proposals(path)["d"].tolist() == [[0, 0, 4, 5]] * 2
