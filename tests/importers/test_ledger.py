import json

import torch

from rfcn.importers.foreign import Foreign
from rfcn.importers.ledger import Ledger, as_json, as_text


def test_every_tensor_is_accounted_for():
    tensors = {"a.weight": torch.ones(2, 3), "b.weight": torch.ones(4), "c": torch.tensor(1.0)}
    ledger = Ledger(Foreign("X", tensors, {"a.weight": ("a[0]",)}, notes=["said"]))
    assert ledger.move("a.weight", "layer.weight", lambda w: w * 2, "doubled")
    assert not ledger.move("d.weight", "other.weight")
    assert torch.equal(ledger.state["layer.weight"], torch.full((2, 3), 2.0))
    assert torch.equal(tensors["a.weight"], torch.ones(2, 3)), "the file's own stays"
    left = ledger.left(lambda name: f"{name} is not wanted")
    assert [one.source for one in left] == ["b.weight", "c"]
    content = json.loads(json.dumps(as_json(ledger, left, {"file": "x"})))
    assert content["file"] == "x"
    assert content["notes"] == ["said"]
    assert content["missing"] == ["d.weight"]
    assert content["tensors"] == [
        {"target": "layer.weight", "sources": ["a[0]"], "shape": [2, 3], "how": "doubled"}
    ]
    assert content["skipped"][1] == {"source": "c", "shape": [], "why": "c is not wanted"}
    text = as_text(ledger, left)
    for words in ("layer.weight  a[0]         2 x 3  doubled", "b.weight", "missing: d.weight"):
        assert words in text
