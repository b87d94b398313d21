"""A convolution with its weights packed once, and what follows it computed before the result leaves the cache.

These are oneDNN's fused operators, as PyTorch's own compiler (`torch._inductor.mkldnn_lowerings`) calls them. They need
no compiler, and take no longer to make than to copy the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

from featx.core.device import has_onednn
from featx.graph.small_maps import can_unroll, pays, sides_of, unroll


class Activation(NamedTuple):
    """An activation as oneDNN calls it."""

    name: str = "none"
    numbers: tuple[float, ...] = ()


SAFE = 1e30
"""No activation of the first batch reaches it; another image's would have to be 1e8 times as high to overflow."""

_ACTIVATE: dict[str, Any] = {
    "none": lambda x: x,
    "relu": functional.relu_,
    "hardtanh": functional.hardtanh_,
    "hardswish": functional.hardswish,
    "swish": functional.silu,
}
"""The activations as PyTorch has them."""


class Packed(NamedTuple):
    """What a convolution is on maps of one size.

    Parameters
    ----------
    weight : Tensor
        In oneDNN's own layout: of the kernel, or of the matrix that it is to a small map (`featx.graph.small_maps`).
    bias : Tensor or None
        One value for each channel, or for each of the matrix's rows.
    size : tuple of int
        Height and width of the result.
    is_matrix : bool
        Which of the two it is.
    padding, stride : tuple of int
        Of the operator.
    pads : list of int
        What a map is padded by before the operator, as `functional.pad` takes it.
    is_safe : bool
        Whether values are so far from overflowing that an activation within the operator, which makes 0 of what is no
        number, hides nothing.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    size: tuple[int, int]
    is_matrix: bool
    padding: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    pads: Sequence[int] = ()
    is_safe: bool = False


def can_pack(precision: str) -> bool:
    """Tell whether this machine's CPU has the operators in a precision."""
    if not has_onednn("_convolution_pointwise"):
        return False
    return precision == "fp32" or (precision == "bf16" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported()))


class PackedConv2d(nn.Module):
    """A convolution on the CPU, with an activation and a sum in it; the weights are packed when a map is first seen.

    Parameters
    ----------
    conv : nn.Conv2d
        With padding by zeros; ``same`` is that of TensorFlow, which timm's networks from there have.
    dtype : torch.dtype
        Of input, weights and result: float32 or bfloat16.
    """

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype) -> None:
        super().__init__()
        self.conv, self.dtype = conv, dtype
        self.activation = Activation()
        self._weight = conv.weight.detach().to(dtype)
        self._bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self._padding, self._around = _paddings(conv)
        # A kernel of one px has no taps to spread; told otherwise, the operator crashes on maps one px wide.
        self._dilation = tuple(1 if k == 1 else d for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
        self._packed: dict[tuple[int, int], Packed] = {}

    def forward(self, x: torch.Tensor, other: torch.Tensor | None = None) -> torch.Tensor:
        """Return the activation of the convolution of images (m, C, H, W), to which `other` is added before."""
        x = x.to(self.dtype)
        x = padded(x, self._around or same_padding(self.conv, x.shape[2:]))
        height, width = x.shape[2:]
        if (height, width) not in self._packed:
            packed = self._pack(height, width, len(x))
            highest = self._run(x, packed, other, Activation()).abs().max()  # not a number where one value is not
            self._packed[height, width] = packed._replace(is_safe=bool(highest < SAFE))
        packed = self._packed[height, width]
        if packed.is_safe:
            return self._run(x, packed, other, self.activation)
        name, numbers = self.activation
        return _ACTIVATE[name](self._run(x, packed, other, Activation()), *numbers)  # type: ignore[no-any-return]

    def _run(self, x: torch.Tensor, packed: Packed, other: torch.Tensor | None, activation: Activation) -> torch.Tensor:
        run = self._multiply if packed.is_matrix else self._convolve
        if other is None:
            return run(x, packed, *activation)
        shape = (len(x), self.conv.out_channels, *packed.size)
        can_add = not packed.is_matrix and self.conv.groups == 1  # with groups PyTorch adds, and not in bfloat16
        if can_add and other.shape == shape and other.dtype == self.dtype:
            return self._convolve_and_add(x, packed, other, *activation)
        return _ACTIVATE[activation.name](run(x, packed, *Activation()) + other)  # type: ignore[no-any-return]

    def _pack(self, height: int, width: int, images: int) -> Packed:
        conv, mkldnn = self.conv, torch.ops.mkldnn
        y, x = sides_of(conv, (height, width), self._padding)
        size = y.outputs, x.outputs
        if can_unroll(conv) and pays(y, x):
            matrix = unroll(self._weight, y, x, self.dtype)
            bias = None if self._bias is None else self._bias.repeat(y.outputs * x.outputs)
            return Packed(mkldnn._reorder_linear_weight(matrix, images), bias, size, is_matrix=True)
        padding, stride, pads = self._padding, conv.stride, list[int]()
        if self.dtype == torch.bfloat16 and x.outputs == 1 and x.stride > 1:
            # On CPUs with AMX the operator, and PyTorch's own, gives what lay in memory for results one px wide whose
            # stride is not 1. Cut to what the kernel meets, a map needs no stride.
            pads = [x.padding, x.dilation * (x.kernel - 1) + 1 - x.n - x.padding]
            padding, stride = (y.padding, 0), (y.stride, 1)
        seen = [images, conv.in_channels, height, width + sum(pads)]
        weight = mkldnn._reorder_convolution_weight(self._weight, padding, stride, self._dilation, conv.groups, seen)
        return Packed(weight, self._bias, size, is_matrix=False, padding=padding, stride=stride, pads=pads)

    def _multiply(self, x: torch.Tensor, packed: Packed, name: str, numbers: Sequence[float]) -> torch.Tensor:
        # Rows in the order in which channels-last maps lie in memory.
        rows = x.permute(0, 2, 3, 1).reshape(len(x), -1)
        found: torch.Tensor = torch.ops.mkldnn._linear_pointwise(rows, packed.weight, packed.bias, name, numbers, "")
        return found.view(len(x), *packed.size, -1).permute(0, 3, 1, 2)

    def _convolve(self, x: torch.Tensor, packed: Packed, name: str, numbers: Sequence[float]) -> torch.Tensor:
        convolution: Any = torch.ops.mkldnn._convolution_pointwise
        how = packed.padding, packed.stride, self._dilation, self.conv.groups
        found: torch.Tensor = convolution(padded(x, packed.pads), packed.weight, packed.bias, *how, name, numbers, "")
        return found

    def _convolve_and_add(
        self, x: torch.Tensor, packed: Packed, other: torch.Tensor, name: str, numbers: Sequence[float]
    ) -> torch.Tensor:
        after = None if name == "none" else name
        convolution: Any = torch.ops.mkldnn._convolution_pointwise.binary
        how = packed.padding, packed.stride, self._dilation, self.conv.groups
        found: torch.Tensor = convolution(
            padded(x, packed.pads), other, packed.weight, packed.bias, *how, "add", 1.0, after, numbers, ""
        )
        return found


def padded(x: torch.Tensor, pads: Sequence[int]) -> torch.Tensor:
    """Return a map padded, or cut where `pads` are negative, in channels-last memory."""
    return (functional.pad(x, list(pads)) if pads else x).contiguous(memory_format=torch.channels_last)


def _paddings(conv: nn.Conv2d) -> tuple[tuple[int, int], list[int]]:
    """Return what the operator pads by, and what a map is padded by before it, as `functional.pad` takes it.

    The operator may crash where a kernel meets nothing but padding, as PyTorch's own convolution does.
    """
    if is_same(conv):
        return (0, 0), []
    assert not isinstance(conv.padding, str)
    height, width = conv.padding
    reach = [d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True)]
    if height <= reach[0] and width <= reach[1]:
        return (height, width), []
    return (0, 0), [width, width, height, height]


def same_padding(conv: nn.Conv2d, size: torch.Size | tuple[int, ...]) -> list[int]:
    """Return what TensorFlow's ``SAME`` pads a map (H, W) by, as `functional.pad` takes it; empty where nothing."""
    if not is_same(conv):
        return []
    pads: list[int] = []
    for n, kernel, stride, dilation in zip(size, conv.kernel_size, conv.stride, conv.dilation, strict=True):
        wanted = max((-(-n // stride) - 1) * stride + (kernel - 1) * dilation + 1 - n, 0)
        pads = [wanted // 2, wanted - wanted // 2, *pads]  # `functional.pad` begins with the last dimension
    return pads if any(pads) else []


def is_same(conv: nn.Conv2d) -> bool:
    """Tell whether a convolution is timm's with TensorFlow's ``SAME`` padding, which depends on the map's size."""
    return type(conv).__name__ == "Conv2dSame" and type(conv).__module__.startswith("timm.")
