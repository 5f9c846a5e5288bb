"""What torch must know of an operator that is linear in its features: its shapes and its gradients.

Such an operator is `op(features, rois, *numbers)`, and its gradient
`op_backward(gradient, rois, *numbers, size, stride)`, with size and strides of the features.
The gradient is linear too, and its gradient is the operator, so there are gradients of every order.
"""

from collections.abc import Callable

import torch
from torch import Tensor

import rfcn.ops.library as library


def register(op: str, fake: Callable[..., Tensor]) -> None:
    """Registers shapes and gradients of `op` and its `op_backward`, where they are compiled.

    fake: (features, rois, *numbers) -> an empty tensor with the shape and strides that `op` gives.
    """
    if not library.declared(op):
        return
    forward = getattr(torch.ops.rfcn, op).default
    backward = getattr(torch.ops.rfcn, f"{op}_backward").default

    def fake_backward(gradient, rois, *numbers):  # type: ignore[no-untyped-def]
        return gradient.new_empty_strided(*numbers[-2:])

    def save(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        features, rois, *ctx.numbers = inputs
        ctx.save_for_backward(rois)
        ctx.size = list(features.shape)
        # The memory order of the features; overlapping ones (expanded) get a plain one.
        ctx.stride = list(torch.empty_like(features, device="meta").stride())

    def back(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
        (rois,) = ctx.saved_tensors
        found = backward(gradient, rois, *ctx.numbers, ctx.size, ctx.stride)
        return found, *[None] * (1 + len(ctx.numbers))

    def save_for_second(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        _, rois, *numbers, _, _ = inputs
        ctx.save_for_backward(rois)
        ctx.numbers = numbers

    def back_again(ctx, gradient: Tensor):  # type: ignore[no-untyped-def]
        (rois,) = ctx.saved_tensors
        found = forward(gradient, rois, *ctx.numbers)
        return found, *[None] * (3 + len(ctx.numbers))

    torch.library.register_fake(f"rfcn::{op}", fake)
    torch.library.register_fake(f"rfcn::{op}_backward", fake_backward)
    torch.library.register_autograd(f"rfcn::{op}", back, setup_context=save)
    torch.library.register_autograd(
        f"rfcn::{op}_backward", back_again, setup_context=save_for_second
    )
