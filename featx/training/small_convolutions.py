"""Convolutions of maps no larger than their kernels, as one product with the unrolled kernel.

At 64 px the last stage of a ResNet works on maps of 2 x 2 px, at 32 px of 1 x 1. There most taps of a 3 x 3 kernel meet
padding, and what they do to a map is a small dense matrix. On CPUs its product takes half the time of the convolution
and its gradients (CONTRIBUTING.md, Figures); values and gradients are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

LARGEST = 2
"""The matrix may be this many times as large as the kernel: 16/9 for maps of 2 x 2 px; 3 x 3 px would make it 9."""


class Side(NamedTuple):
    """One side of a map: `n` px in, `outputs` out, and how the kernel slides along it."""

    n: int
    kernel: int
    stride: int
    padding: int

    @property
    def outputs(self) -> int:
        """How many px come out."""
        return (self.n + 2 * self.padding - self.kernel) // self.stride + 1

    def met(self, output: int) -> tuple[slice, slice]:
        """Return which taps meet the map for an output, and which px they meet."""
        corner = output * self.stride - self.padding
        first = max(0, -corner)
        end = max(first, min(self.kernel, self.n - corner))  # the same where padding is all that it meets
        return slice(first, end), slice(first + corner, end + corner)


class UnrolledConv2d(nn.Conv2d):
    """A `Conv2d` with zero padding that multiplies where its map is small."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the convolution of images (m, C, H, W)."""
        y, x = (self._side(input, axis) for axis in (0, 1))
        if not _pays(input, y, x):
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

    def _side(self, input: torch.Tensor, axis: int) -> Side:
        sizes: Any = self.kernel_size, self.stride, self.padding
        return Side(input.shape[axis - 2], *(size[axis] for size in sizes))


def _pays(input: torch.Tensor, y: Side, x: Side) -> bool:
    taps, pixels, outputs = y.kernel * x.kernel, y.n * x.n, max(0, y.outputs) * max(0, x.outputs)
    # Not measured on GPUs, whose libraries choose among kernels themselves.
    return input.ndim == 4 and input.device.type == "cpu" and 0 < pixels * outputs <= LARGEST * taps


class _Unroll(torch.autograd.Function):
    """A kernel (O, C, h, w) as the matrix (out px * O, in px * C) that it is to a channels-last map."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, y: Side, x: Side, dtype: torch.dtype) -> torch.Tensor:
        ctx.sides, ctx.dtype, (outputs, inputs) = (y, x), weight.dtype, weight.shape[:2]
        ctx.blocks = y.outputs, x.outputs, outputs, y.n, x.n, inputs
        matrix = weight.new_zeros(ctx.blocks, dtype=dtype)
        kernel = weight.permute(0, 2, 3, 1)
        for at, taps, pixels in _windows(y, x):
            matrix[at][:, *pixels] = kernel[:, *taps]
        return matrix.view(y.outputs * x.outputs * outputs, y.n * x.n * inputs)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        (y, x), blocks = ctx.sides, gradient.view(ctx.blocks)
        _, _, outputs, _, _, inputs = ctx.blocks
        # Laid out as the kernels of a network in channels-last format; summed in float32.
        kernel = gradient.new_zeros((outputs, y.kernel, x.kernel, inputs), dtype=ctx.dtype)
        for at, taps, pixels in _windows(y, x):
            kernel[:, *taps] += blocks[at][:, *pixels]
        return kernel.permute(0, 3, 1, 2), None, None, None


def _windows(y: Side, x: Side) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Give each output's place, the taps that meet the map there, and the px that they meet."""
    for at in product(range(y.outputs), range(x.outputs)):
        (rows, above), (columns, beside) = y.met(at[0]), x.met(at[1])
        yield at, (rows, columns), (above, beside)


@contextlib.contextmanager
def unrolled(network: nn.Module) -> Iterator[None]:
    """Let a network's convolutions multiply where that is quicker, within the block; its weights stay as they are."""
    convolutions = [m for m in network.modules() if type(m) is nn.Conv2d and _can_unroll(m)]
    for module in convolutions:
        module.__class__ = UnrolledConv2d
    try:
        yield
    finally:
        for module in convolutions:
            module.__class__ = nn.Conv2d


def _can_unroll(module: nn.Conv2d) -> bool:
    plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return plain and module.groups == 1 and module.dilation == (1, 1) and module.kernel_size != (1, 1)
