"""Convolutions of maps no larger than their kernels, as one matrix product.

At 64 px the last stage of a ResNet works on maps of 2 x 2 px, at 32 px of 1 x 1. There most taps of a 3 x 3 kernel meet
padding, and what they do to a map is a small dense matrix. On CPUs its product takes half the time of the convolution
(CONTRIBUTING.md, Figures); values are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from typing import NamedTuple

import torch
from torch import nn

LARGEST = 2
"""The matrix may be this many times as large as the kernel: 16/9 for maps of 2 x 2 px; 3 x 3 px would make it 9."""


class Side(NamedTuple):
    """One side of a map: `n` px in, `outputs` out, and how the kernel slides along it."""

    n: int
    kernel: int
    stride: int
    padding: int
    dilation: int = 1

    @property
    def outputs(self) -> int:
        """How many px come out."""
        return (self.n + 2 * self.padding - self.dilation * (self.kernel - 1) - 1) // self.stride + 1

    def met(self, output: int) -> tuple[slice, slice]:
        """Return which taps meet the map for an output, and which px they meet."""
        corner = output * self.stride - self.padding
        first = max(0, -corner)
        end = max(first, min(self.kernel, self.n - corner))  # the same where padding is all that it meets
        return slice(first, end), slice(first + corner, end + corner)


def can_unroll(module: nn.Conv2d) -> bool:
    """Tell whether a convolution is one that `unroll` can write as a matrix, and that could gain by it."""
    plain = module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return plain and module.groups == 1 and module.dilation == (1, 1) and module.kernel_size != (1, 1)


def sides_of(module: nn.Conv2d, map_size: Sequence[int], padding: Sequence[int]) -> tuple[Side, Side]:
    """Return both sides of a map (H, W) that a convolution sees."""
    sizes = module.kernel_size, module.stride, padding, module.dilation
    y, x = (Side(map_size[axis], *(size[axis] for size in sizes)) for axis in (0, 1))
    return y, x


def pays(y: Side, x: Side) -> bool:
    """Tell whether the matrix is small enough to be quicker than the convolution."""
    taps, pixels, outputs = y.kernel * x.kernel, y.n * x.n, max(0, y.outputs) * max(0, x.outputs)
    return 0 < pixels * outputs <= LARGEST * taps


def unroll(weight: torch.Tensor, y: Side, x: Side, dtype: torch.dtype) -> torch.Tensor:
    """Return a kernel (O, C, h, w) as the matrix (out px * O, in px * C) that it is to a channels-last map."""
    outputs, inputs = weight.shape[:2]
    matrix = weight.new_zeros((y.outputs, x.outputs, outputs, y.n, x.n, inputs), dtype=dtype)
    kernel = weight.permute(0, 2, 3, 1)
    for at, taps, pixels in windows(y, x):
        matrix[at][:, *pixels] = kernel[:, *taps]
    return matrix.view(y.outputs * x.outputs * outputs, y.n * x.n * inputs)


def windows(y: Side, x: Side) -> Iterator[tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]]:
    """Give each output's place, the taps that meet the map there, and the px that they meet."""
    for at in product(range(y.outputs), range(x.outputs)):
        (rows, above), (columns, beside) = y.met(at[0]), x.met(at[1])
        yield at, (rows, columns), (above, beside)
