"""From a node's activation to one row an image."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from featx.core.specs import LayerSpec
from featx.errors import OptionError

LAYOUTS = ("NCHW", "NHWC", "NLC", "NCL", "NC", "?")
"""Batch, channels, height, width, length (tokens); '?' is any other."""

CACHED_BYTES = 1 << 22
"""What is copied at once, to stay in a core's own cache."""


def columns(spec: LayerSpec, shape: tuple[int, ...], layout: str, *, class_token: bool) -> int:
    """Return how many values a row has.

    Parameters
    ----------
    spec : LayerSpec
        The node and its pooling.
    shape : tuple of int
        Of one image's activation, without the batch.
    layout : str
        One of `LAYOUTS`.
    class_token : bool
        Whether the network puts one first.

    Raises
    ------
    OptionError
        Where the pooling does not apply to such an activation.
    """
    said = " x ".join(map(str, shape))
    if spec.pool == "flat":
        return math.prod(shape)
    if spec.pool == "cls":
        if layout != "NLC" or not class_token:
            raise OptionError(
                f"layer {spec.node} gives {said}, and :cls needs tokens of a network with a class token",
                f"use {spec.node}:avg",
            )
        return shape[1]
    if layout == "?":
        raise OptionError(f"layer {spec.node} gives {said}, which has no known space to pool over", "use :flat")
    channels = shape[-1] if layout in ("NHWC", "NLC") else shape[0]
    if spec.grid > 1:
        space = {"NCHW": shape[1:], "NHWC": shape[:2]}.get(layout)
        if space is None or min(space) < spec.grid:
            raise OptionError(
                f"layer {spec.node} gives {said}, and :{spec.pool} needs at least {spec.grid} x {spec.grid} in space",
                f"use {spec.node}:avg or a larger --size",
            )
        return channels * spec.grid**2
    return channels


def pool(x: torch.Tensor, how: str, grid: int, layout: str) -> torch.Tensor:
    """Pool a batch of activations into rows.

    Parameters
    ----------
    x : Tensor, shape (n, ...)
        A node's output.
    how, grid : str, int
        ``LayerSpec.pool`` and ``LayerSpec.grid``.
    layout : str
        One of `LAYOUTS`.

    Returns
    -------
    Tensor of float32, shape (n, columns)
        Its own memory: later in-place operations on `x` do not reach it.
    """
    if how == "cls":
        return x[:, 0].to(torch.float32, copy=True)
    if how == "flat" or layout == "NC":
        return x.flatten(1).to(torch.float32, copy=True)
    if layout == "NHWC":
        x = x.permute(0, 3, 1, 2)
    elif layout == "NLC":
        x = x.transpose(1, 2)
    space = tuple(range(2, x.ndim))  # x: (n, channels, *space)
    if how == "max":
        return x.amax(space).to(torch.float32)
    if grid > 1:
        return functional.adaptive_avg_pool2d(x.float(), grid).flatten(1)
    return _mean(x, space)


def _mean(x: torch.Tensor, space: tuple[int, ...]) -> torch.Tensor:
    """Return the mean over space, added up in float32, a few images at a time.

    PyTorch first copies half-precision values to float32, all of them: of a large batch into memory that is new to the
    cache each time.
    """
    size = 4 * x[0].numel()
    if x.dtype == torch.float32 or x.device.type != "cpu" or len(x) * size <= CACHED_BYTES:
        return x.mean(space, dtype=torch.float32)
    count = max(1, CACHED_BYTES // size)
    parts = [x[at : at + count].mean(space, dtype=torch.float32) for at in range(0, len(x), count)]
    return torch.cat(parts)
