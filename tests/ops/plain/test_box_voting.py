"""Memory of the plain PyTorch form; what it computes is tested with the operator."""

import torch

from rfcn.ops.plain import box_voting as plain


def test_many_boxes_stay_within_memory(monkeypatch):  # O19: it works in chunks
    g = torch.Generator().manual_seed(0)
    corners = torch.rand(300, 2, generator=g) * 50
    boxes = torch.cat([corners, corners + 20], dim=1)
    scores, kept = torch.rand(300, generator=g), torch.arange(0, 300, 3)
    call = (boxes, scores, kept, 0.5, None, "average")
    expected = plain.box_voting(*call)
    seen = []
    iou = plain.iou
    monkeypatch.setattr(plain, "CHUNK_PAIRS", 1500)
    monkeypatch.setattr(plain, "iou", lambda *a: seen.append(iou(*a)) or seen[-1])
    found = plain.box_voting(*call)
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert len(seen) == 20
    assert max(one.numel() for one in seen) <= 1500
