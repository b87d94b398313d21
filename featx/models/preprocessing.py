"""A network's own preprocessing, or a plain one where nobody published any, adjusted as the user asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from featx.core.specs import IMAGENET_MEAN, IMAGENET_STD, BackboneConfig, PreprocessSpec


def plain_preset(px: int, channels: int) -> PreprocessSpec:
    """Return the preprocessing of a network whose own nobody published: ImageNet's statistics.

    A grey image has the mean of the three channels' statistics; of other channels none are known, and values stay 0
    to 1.
    """
    mean, std = (0.0,) * channels, (1.0,) * channels
    if channels == 3:
        mean, std = IMAGENET_MEAN, IMAGENET_STD
    elif channels == 1:
        mean, std = (round(sum(IMAGENET_MEAN) / 3, 3),), (round(sum(IMAGENET_STD) / 3, 3),)
    return PreprocessSpec(resize=px, crop=px, channels=channels, mean=mean, std=std)


def adjusted(spec: PreprocessSpec, how: BackboneConfig) -> PreprocessSpec:
    """Return the preprocessing with what is given instead of its own; one `mean` or `std` serves every channel."""
    if how.resize == "none" and how.size is None:
        spec = replace(spec, resize=None, crop=None)
    if how.size is not None:
        spec = replace(spec, resize=how.size, crop=how.size)
    spec = replace(spec, fit=how.resize or spec.fit, interpolation=how.interpolation or spec.interpolation)
    mean, std = how.mean or spec.mean, how.std or spec.std
    spec = replace(spec, mean=_wide(mean, spec.channels), std=_wide(std, spec.channels))
    if how.views.crops > 1 and spec.fit == "crop" and spec.crop is not None and spec.resize == spec.crop:
        spec = replace(spec, resize=(8 * spec.crop + 3) // 7)  # to the nearest px
    return replace(spec, views=how.views, bits=spec.bits if how.bits is None else how.bits)


def _wide(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) * channels if len(values) == 1 else tuple(values)
