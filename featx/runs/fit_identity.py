"""Which fit a command means: everything that its numbers depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from featx.core.concatenation import Feature, as_feature
from featx.core.run_folder import jsonable
from featx.core.specs import ExtractConfig
from featx.data.splits import Partition
from featx.models.backbones import Backbone
from featx.models.content import content_of, network_content
from featx.probes.config import SWEEPS, FitConfig, idle_options

if TYPE_CHECKING:
    from featx.probes.several_networks import NetworkLayers  # torch

COMPUTED = ("precision", "dtype", "on_error")
"""Options of an extraction that decide about values, or about which rows are left out; the others about rounding."""

OF_THE_SWEEP = {"C", "standardize", "normalize"}
"""What a sweep decides itself."""


def fit_identity(
    partition: Partition,
    backbone: Backbone,
    layers: Sequence[Feature | str],
    extraction: ExtractConfig,
    config: FitConfig,
    others: Sequence[NetworkLayers] = (),
) -> dict[str, Any]:
    """Return everything that a fit's numbers depend on, JSON-able, without options that change nothing.

    Parameters
    ----------
    partition : Partition
        The rows.
    backbone : Backbone
        The network, or ``pixels``.
    layers : sequence of LayerSpec, Concatenation or str
        As asked for, patterns among them.
    extraction, config : ExtractConfig, FitConfig
        As asked for, before anything was chosen.
    others : sequence of NetworkLayers
        Among which a network is chosen, beside the first one, `backbone`.
    """
    idle = unused(config)
    found: dict[str, Any] = jsonable(
        {
            **content_of(partition, backbone),
            **{name: getattr(extraction, name) for name in COMPUTED},
            **{name: value for name, value in asdict(config).items() if name not in idle},
            "layers": [str(as_feature(layer)) for layer in layers],
        }
    )
    if others:
        found["others"] = jsonable(
            [{**network_content(one.backbone), "layers": list(map(str, one.layers))} for one in others]
        )
    return found


def unused(config: FitConfig) -> set[str]:
    """Return the names of a fit's options that change nothing beside the others."""
    return idle_options(asdict(config)) | (OF_THE_SWEEP if config.sweep in SWEEPS else set())
