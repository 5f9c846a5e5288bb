"""Offsets for the tests of deform_psroi_pool."""

import torch


def offsets_of(rois, groups, k):
    """[R, groups, 2, k, k] that depend on the RoI's numbers alone, most of them within 2."""
    if groups is None:
        return None
    if rois.dim() != 2:  # refused, whatever the offsets are
        return rois.new_zeros(1, groups, 2, k, k)
    rois = rois.detach().to(torch.promote_types(rois.dtype, torch.float32)).clamp(-1e5, 1e5)
    seeds = 0.01 * sum(rois[:, column, None] * (column + 1) for column in range(rois.shape[1]))
    waves = 0.7 * torch.arange(1, groups * 2 * k * k + 1, device=rois.device)
    return (2 * torch.sin(seeds + waves)).view(-1, groups, 2, k, k)
