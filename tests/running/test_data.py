"""The sets of a run; that there must be objects: tests/cli/test_train.py."""

from rfcn.config.loader import load_config
from rfcn.running.data import data_sets


def test_both_sets_number_their_classes_alike(trained_run) -> None:
    config = load_config(trained_run.config)
    train_set, val_set = data_sets(config)
    assert train_set.class_names == val_set.class_names
    assert set(train_set.ids).isdisjoint(val_set.ids)
    assert len(train_set) > len(val_set) > 0
