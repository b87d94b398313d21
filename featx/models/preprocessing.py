"""A network's own preprocessing, adjusted as the user asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from featx.core.specs import BackboneConfig, PreprocessSpec


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
