"""Convolutions that are trained on maps no larger than their kernels; see `featx.graph.small_maps`.

The product takes half the time of the convolution and its gradients (CONTRIBUTING.md, Figures); values and gradients
are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from featx.graph.small_maps import Side, can_unroll, pays, sides_of, unroll, windows


class UnrolledConv2d(nn.Conv2d):
    """A `Conv2d` with zero padding that multiplies where its map is small."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the convolution of images (m, C, H, W)."""
        # Not measured on GPUs, whose libraries choose among kernels themselves.
        if input.ndim != 4 or input.device.type != "cpu":
            return super().forward(input)
        padding: Any = self.padding
        y, x = sides_of(self, input.shape[2:], padding)
        if not pays(y, x):
            return super().forward(input)
        m, channels = input.shape[:2]
        dtype = self.weight.dtype
        if torch.is_autocast_enabled(input.device.type) and dtype != torch.float64:  # which autocast lets be
            dtype = torch.get_autocast_dtype(input.device.type)
        matrix = _Unroll.apply(self.weight, y, x, dtype)
        bias = None if self.bias is None else self.bias.repeat(y.outputs * x.outputs)
        flat = input.permute(0, 2, 3, 1).reshape(m, y.n * x.n * channels)
        found = functional.linear(flat, matrix, bias)
        return found.view(m, y.outputs, x.outputs, self.out_channels).permute(0, 3, 1, 2)


class _Unroll(torch.autograd.Function):
    """A kernel (O, C, h, w) as the matrix (out px * O, in px * C) that it is to a channels-last map."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, y: Side, x: Side, dtype: torch.dtype) -> torch.Tensor:
        ctx.sides, ctx.dtype, (outputs, inputs) = (y, x), weight.dtype, weight.shape[:2]
        ctx.blocks = y.outputs, x.outputs, outputs, y.n, x.n, inputs
        return unroll(weight, y, x, dtype)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (y, x), blocks = ctx.sides, gradient.view(ctx.blocks)
        _, _, outputs, _, _, inputs = ctx.blocks
        # Laid out as the kernels of a network in channels-last format; summed in float32.
        kernel = gradient.new_zeros((outputs, y.kernel, x.kernel, inputs), dtype=ctx.dtype)
        for at, taps, pixels in windows(y, x):
            kernel[:, *taps] += blocks[at][:, *pixels]
        return kernel.permute(0, 3, 1, 2), None, None, None


@contextlib.contextmanager
def unrolled(network: nn.Module) -> Iterator[None]:
    """Let a network's convolutions multiply where that is quicker, within the block; its weights stay as they are."""
    convolutions = [m for m in network.modules() if type(m) is nn.Conv2d and can_unroll(m)]
    for module in convolutions:
        module.__class__ = UnrolledConv2d
    try:
        yield
    finally:
        for module in convolutions:
            module.__class__ = nn.Conv2d
