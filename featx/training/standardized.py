"""A head on a frozen base learns on standardised features, at a rate that knows them, and is folded into a plain one.

What a base gives may be of any size: 1e-9 with some random weights, 1e4 with others. A learning rate that suits one
makes a head on another diverge, or not move at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from featx.core.device import arithmetic, memory_errors
from featx.core.types import RowNumbers
from featx.training.batches import FeatureLoader, ImageLoader, chunks
from featx.training.config import TrainConfig
from featx.training.trainable import TrainableModel

SAMPLE = 2048
"""Training rows, drawn by the seed, that mean and spread are taken of."""

LOUD = 2.0
"""Columns that vary more than so many times the median are brought down to it. Quieter ones are not made louder: on
Tiny-ImageNet's ResNet-18 and CIFAR-10 that costs a percent."""

CURVATURE_ROWS, CURVATURE_BATCH = 256, 64
"""Rows whose curvature is measured, in batches of at most so many."""

NOISE = 4 * float(np.finfo(np.float32).eps)
"""A column that varies by less, relative to its mean, varies by float32's rounding."""

RATES: dict[str, Callable[[float, int], float]] = {
    "sgd": lambda curvature, width: 10 / curvature,
    "adam": lambda curvature, width: 300 / math.sqrt(curvature * width),
    "adamw": lambda curvature, width: 300 / math.sqrt(curvature * width),
}
"""Factor of the first layer's learning rate, of the largest eigenvalue of a batch's z.T z / m and the number of
columns: the largest step along its vector is then alike for all features. A step of SGD is as long as its gradient,
one of Adam as the square root of the number of weights."""


class Standardized(nn.Module):
    """A head whose input is standardised, until `fold` makes it one that takes features as they are.

    Parameters
    ----------
    head : nn.Module
        Linear, a 1 x 1 convolution, or a sequence that begins with one of them.

    Attributes
    ----------
    rate : float
        Factor of the learning rate of the first layer's weights; a power of two, so that rounding cannot change it.
    """

    mean: torch.Tensor
    spread: torch.Tensor

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head
        self.rate = 1.0
        shape = (-1, 1, 1) if isinstance(self.first, nn.Conv2d) else (-1,)
        width = self.first.weight.shape[1]
        device = self.first.weight.device
        self.register_buffer("mean", torch.zeros(width, device=device).reshape(shape))
        self.register_buffer("spread", torch.ones(width, device=device).reshape(shape))

    @property
    def first(self) -> Any:
        """The layer that takes the features."""
        return self.head[0] if isinstance(self.head, nn.Sequential) else self.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) for features as they come from the base."""
        logits: torch.Tensor = self.head((x - self.mean) / self.spread)
        return logits

    def unfold(self) -> None:
        """Let a head that was learnt on features as they are give the same on standardised ones."""
        mean, spread = (values.double().flatten() for values in (self.mean, self.spread))
        self._change(lambda weight, bias: (weight * spread, bias + weight @ mean))

    def fold(self) -> None:
        """Let the head take features as they are, and standardise no more."""
        mean, spread = (values.double().flatten() for values in (self.mean, self.spread))
        self._change(lambda weight, bias: (weight / spread, bias - weight / spread @ mean))
        self.mean.zero_()
        self.spread.fill_(1.0)

    @torch.no_grad()
    def _change(self, changed: Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]) -> None:
        weight, bias = self.first.weight, self.first.bias
        new_weight, new_bias = changed(weight.double().flatten(1), bias.double())
        weight.copy_(new_weight.reshape(weight.shape))
        bias.copy_(new_bias)

    def measure(self, module: nn.Module, loader: ImageLoader | FeatureLoader, config: TrainConfig) -> None:
        """Find mean, spread and rate of what the head is given of the training rows, as they are without augmentation.

        Parameters
        ----------
        module : nn.Module
            What runs the head: the network, or the head itself where features are cached.
        loader : ImageLoader or FeatureLoader
            Of the training part.
        """
        sample = np.random.default_rng([config.seed, 0, 3]).permutation(len(loader.part))[:SAMPLE]
        moments, kept = _Moments(), list[torch.Tensor]()
        for x in self._given(module, loader, chunks(sample, config.batch_size), config.precision):
            moments.add(x.flatten(0, 1))
            if sum(map(len, kept)) < CURVATURE_ROWS:
                kept.append(x)
        if not moments.are_finite:  # the first step says so, and names its images
            return
        mean, spread = moments.mean.float(), moments.spread().float()
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.spread.copy_(spread.reshape(self.spread.shape))
        z = torch.cat([((x - mean) / spread).mean(1) for x in kept])[:CURVATURE_ROWS]
        curvature = _curvature(z, min(CURVATURE_BATCH, config.batch_size * config.accumulate))
        if curvature > 0:
            self.rate = 2.0 ** round(math.log2(RATES[config.optimizer](curvature, z.shape[1])))

    def _given(
        self, module: nn.Module, loader: ImageLoader | FeatureLoader, batches: list[RowNumbers], precision: str
    ) -> Iterator[torch.Tensor]:
        """Give what goes into the head, a batch at a time: images, places in space, values."""
        seen: list[torch.Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
        device = self.mean.device
        module.eval()
        try:
            for _, x in loader.batches(batches, None):
                with torch.inference_mode(), memory_errors("a look at the features"), arithmetic(device, precision):
                    module(x)
                yield self._places(seen.pop().float())
        finally:
            hook.remove()

    def _places(self, x: torch.Tensor) -> torch.Tensor:
        if isinstance(self.first, nn.Conv2d):
            x = x.movedim(1, -1)
        return x.reshape(len(x), -1, x.shape[-1])


def standardize(
    trainable: TrainableModel, module: nn.Module, loader: ImageLoader | FeatureLoader, config: TrainConfig
) -> Standardized:
    """Let the head of a frozen base learn on standardised features, in its network too, and return it so.

    Parameters
    ----------
    module : nn.Module
        What is given the loader's batches: the network, or its head where features are cached; on the device.
    """
    found = Standardized(trainable.head)
    found.measure(module, loader, config)
    if config.init_head is not None:
        found.unfold()
    trainable.network.set_submodule(trainable.place, found)
    return found


class _Moments:
    """Mean and variance of columns, rows coming in blocks (Chan, Golub and LeVeque, 1979), in float64."""

    def __init__(self) -> None:
        self.n, self.mean, self.squares = 0, torch.zeros(()), torch.zeros(())

    def add(self, x: torch.Tensor) -> None:
        x = x.double()
        mean, n = x.mean(0), self.n + len(x)
        apart = mean - self.mean
        self.squares = self.squares + (x - mean).square().sum(0) + apart.square() * (self.n * len(x) / n)
        self.mean, self.n = self.mean + apart * (len(x) / n), n

    @property
    def are_finite(self) -> bool:
        return bool(torch.isfinite(self.squares).all())

    def spread(self) -> torch.Tensor:
        """Return what each column is divided by."""
        std = (self.squares / self.n).sqrt()
        std = torch.where(std > NOISE * self.mean.abs(), std, 0.0)
        varying = std[std > 0]
        return std.clamp(min=LOUD * float(varying.median())) if len(varying) else torch.ones_like(std)


def _curvature(z: torch.Tensor, size: int) -> float:
    """Return the largest eigenvalue of z.T z / m, the mean over batches of m = `size` rows."""
    whole = [z[start : start + size] for start in range(0, len(z) - size + 1, size)] or [z]
    found = [torch.linalg.eigvalsh((part @ part.T / len(part)).double().cpu())[-1] for part in whole]
    return float(torch.stack(found).mean())
