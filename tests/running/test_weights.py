import json
from pathlib import Path

import torch

from rfcn.config.schema import Config
from rfcn.engine.distributed import World
from rfcn.running.weights import KeptWeights


def test_what_was_kept_is_read_with_what_it_is(tmp_path: Path) -> None:
    kept = KeptWeights(tmp_path, Config(), ("cat",), World())
    kept.keep("best", {"layer": torch.ones(2)}, 7, {"AP": 0.5})
    assert torch.equal(kept.read("best")["layer"], torch.ones(2))
    facts = json.loads((tmp_path / "weights/best/config.json").read_text())
    assert facts["classes"] == ["cat"]
    assert facts["metrics"] == {"step": 7, "AP": 0.5}


def test_one_process_writes_and_all_wait_for_it(tmp_path: Path) -> None:
    class Second(World):
        rank = 1
        waited = 0

        def share(self, value: object) -> object:
            self.waited += 1
            return value

    world = Second()
    KeptWeights(tmp_path, Config(), ("cat",), world).keep("last", {}, 1, {})
    assert world.waited == 1
    assert not (tmp_path / "weights").exists()
