"""A network's own preprocessing, adjusted as the user asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from featx.core.specs import Interpolation, PreprocessSpec, Resize, Views
from featx.core.validation import checked_numbers


def adjusted(
    spec: PreprocessSpec,
    size: int | None,
    resize: Resize | None,
    interpolation: Interpolation | None,
    mean: Sequence[float] | None,
    std: Sequence[float] | None,
    views: Views,
) -> PreprocessSpec:
    """Return the preprocessing with what is given instead of its own; one `mean` or `std` serves every channel."""
    if resize == "none" and size is None:
        spec = replace(spec, resize=None, crop=None)
    if size is not None:
        spec = replace(spec, resize=size, crop=size)
    spec = replace(spec, fit=resize or spec.fit, interpolation=interpolation or spec.interpolation)
    centre, spread = (
        None if values is None else checked_numbers(name, values) for name, values in (("mean", mean), ("std", std))
    )
    spec = replace(spec, mean=_wide(centre or spec.mean, spec.channels), std=_wide(spread or spec.std, spec.channels))
    if views.crops > 1 and spec.fit == "crop" and spec.crop is not None and spec.resize == spec.crop:
        spec = replace(spec, resize=(8 * spec.crop + 3) // 7)  # to the nearest px
    return replace(spec, views=views)


def _wide(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) * channels if len(values) == 1 else tuple(values)
