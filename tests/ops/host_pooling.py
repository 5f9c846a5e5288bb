"""Calls the kernels over bins on the host, through host_pooling.h, with tensors."""

import ctypes

import torch
from host_program import compile_host_program, pointer

from rfcn.ops.checks import SEMANTICS

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)

SOURCE = """
#include "host_pooling.h"
RFCN_HOST_CALLS(float, float32)
RFCN_HOST_CALLS(double, float64)
RFCN_HOST_CALLS(c10::Half, float16)
RFCN_HOST_CALLS(c10::BFloat16, bfloat16)
"""

ORDERS = ("planes", "channels-last", "by bin")
"""Memory orders of score maps [N, C, k, k, H, W]."""


def lay_out(maps, order):
    """The same maps in another memory order."""
    if order == "planes":
        return maps.contiguous()
    axes = (0, 4, 5, 1, 2, 3) if order == "channels-last" else (0, 4, 5, 2, 3, 1)
    back = [axes.index(axis) for axis in range(6)]
    return maps.permute(axes).contiguous().permute(back)


class Call(ctypes.Structure):
    """rfcn::Call of host_pooling.h."""

    _fields_ = (
        ("sizes", ctypes.c_int64 * 5),
        ("strides", ctypes.c_int64 * 6),
        ("rois", ctypes.c_void_p),
        ("count", ctypes.c_int64),
        ("wide", ctypes.c_int64),
        ("semantics", ctypes.c_int64),
        ("seed", ctypes.c_int64),
        ("scale", ctypes.c_double),
    )


class HostPooling:
    """The kernels, by name. Threads and blocks take turns in an order that follows from `seed`."""

    def __init__(self, folder):
        self.library = compile_host_program(SOURCE, folder)

    def forward(self, maps, rois, scale, semantics="msra", *, packs=False, seed=0):
        """maps: [N, C, k, k, H, W] -> [R, C, k, k] and [R, C]; None if packs do not fit."""
        classes, k = maps.shape[1:3]
        bins = torch.full((len(rois), k, k, classes), torch.nan, dtype=maps.dtype)
        votes = torch.full((len(rois), classes), torch.nan, dtype=maps.dtype)
        run = self._function("forward", maps.dtype)
        run.restype = ctypes.c_bool
        call = _call(maps, rois, scale, semantics, seed)
        if not run(ctypes.byref(call), pointer(maps), packs, pointer(bins), pointer(votes)):
            return None
        return bins.permute(0, 3, 1, 2), votes

    def psroi_backward(self, gradient, like, rois, scale, semantics="msra", *, seed=0):
        """gradient: [R, C, k, k] or [R, C] -> that of the maps, which lie as `like`."""
        result = torch.full_like(like, torch.nan)
        voters = 1 if gradient.dim() == 4 else like.shape[2] ** 2
        stride = torch.tensor([*gradient.stride(), 0, 0][:4])
        call = _call(result, rois, scale, semantics, seed)
        self._function("psroi_backward", like.dtype)(
            ctypes.byref(call),
            pointer(gradient),
            pointer(stride),
            ctypes.c_int64(voters),
            pointer(result),
        )
        return result

    def average_backward(self, gradient, like, rois, scale, semantics="msra", *, seed=0):
        """gradient: [R, D, k, k] -> that of the features, which lie as `like` [N, D, H, W]."""
        result = torch.full_like(like, torch.nan)
        stride = torch.tensor(gradient.stride())
        call = _call(shared(result, gradient.shape[2]), rois, scale, semantics, seed)
        self._function("average_backward", like.dtype)(
            ctypes.byref(call), pointer(gradient), pointer(stride), pointer(result)
        )
        return result

    def order(self, maps, *, seed=0):
        """The elements of the maps as a copy in order holds them, flat."""
        own = maps if maps.stride(2) or maps.stride(3) else maps[:, :, :1, :1]
        copy = torch.full((own.numel(),), torch.nan, dtype=maps.dtype)
        call = _call(maps, torch.zeros(0, 5), 1.0, "msra", seed)
        self._function("order", maps.dtype)(ctypes.byref(call), pointer(maps), pointer(copy))
        return copy

    def _function(self, name, dtype):
        return getattr(self.library, f"{name}_{str(dtype)[6:]}")


def shared(features, k):
    """Features [N, D, H, W] as maps [N, D, k, k, H, W] of which every bin reads the same."""
    return features[:, :, None, None].expand(-1, -1, k, k, -1, -1)


def _call(maps, rois, scale, semantics, seed):
    sizes = (*maps.shape[:3], *maps.shape[4:])
    return Call(
        (ctypes.c_int64 * 5)(*sizes),
        (ctypes.c_int64 * 6)(*maps.stride()),
        rois.data_ptr(),
        len(rois),
        rois.dtype == torch.float64,
        SEMANTICS.index(semantics),
        seed,
        scale,
    )
