"""The head on the layers of one network, or of several among which successive halving chooses."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featx.cache.store import FeatureStore
from featx.core.concatenation import Feature
from featx.core.device import pick_device
from featx.core.executors.registry import executing
from featx.core.specs import ExtractConfig, Progress, no_progress
from featx.data.splits import Partition
from featx.errors import OptionError
from featx.models.backbones import Backbone
from featx.probes.config import FitConfig
from featx.probes.halving import halve
from featx.probes.layer_rows import LayerRows
from featx.probes.probe import (
    ProbeResult,
    best_layer,
    check_classes,
    check_rows,
    fit_chosen,
    fit_layers,
    stored_rows,
)

CHOOSES = "--halving chooses among several; else one command each"
"""How several networks can be given."""


@dataclass(frozen=True)
class NetworkLayers:
    """A network, and those of its layers that are candidates.

    Parameters
    ----------
    name : str
        No other candidate's.
    backbone : Backbone
        The network.
    layers : tuple of LayerSpec or Concatenation
        Patterns stand for all layers that they match.
    """

    name: str
    backbone: Backbone
    layers: tuple[Feature, ...]

    @property
    def is_choice(self) -> bool:
        """Whether one of several layers is to be chosen."""
        return len(self.layers) > 1 or self.layers[0].is_pattern


@dataclass(frozen=True)
class NetworkChoice:
    """The network that was chosen, and what was fitted on it.

    Parameters
    ----------
    networks : tuple of NetworkLayers
        What it was chosen among.
    chosen : NetworkLayers
        One of them.
    layer : str
        Of its layers.
    results : dict of str to ProbeResult
        What was fitted on them; the halving of a result says how all was chosen.
    counts : dict of str to dict
        By the name of each of several networks the rows, of all of its layers, that were ``computed`` and ``reused``.
    """

    networks: tuple[NetworkLayers, ...]
    chosen: NetworkLayers
    layer: str
    results: dict[str, ProbeResult]
    counts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def result(self) -> ProbeResult:
        """Of the chosen layer."""
        return self.results[self.layer]

    @property
    def layers(self) -> dict[str, ProbeResult] | None:
        """What was fitted on the chosen network's layers, where one of several was to be chosen."""
        return self.results if self.chosen.is_choice else None


def fit_networks(
    partition: Partition,
    networks: Sequence[NetworkLayers],
    store: FeatureStore,
    extraction: ExtractConfig,
    config: FitConfig,
    progress: Progress = no_progress,
    executor: Any = None,
) -> NetworkChoice:
    """Extract what is missing, and fit on the layers of one network, or on the chosen of several networks' layers.

    Of one network, the layer with the best validation score is the result. Of several, network, layer and C are chosen
    together by successive halving.

    Parameters
    ----------
    partition : Partition
        Disjoint rows; validation rows choose.
    networks : sequence of NetworkLayers
        Of equal ones the earlier is chosen.
    store, extraction, progress, executor : FeatureStore, ExtractConfig, callable, Executor
        As of `featx.probes.probe.fit_layers`.
    config : FitConfig
        How to fit; of several networks with ``halving``.

    Raises
    ------
    OptionError
        Several networks without ``halving``, or two of the same name.
    FeatxError
        As `featx.probes.probe.fit_layers`.
    """
    if len(networks) == 1:
        one = networks[0]
        results = fit_layers(partition, one.backbone, one.layers, store, extraction, config, progress, executor)
        return NetworkChoice(tuple(networks), one, best_layer(results), results)
    if not config.halving:
        raise OptionError(f"{len(networks)} networks were given, expected one", CHOOSES)
    by_name = {network.name: network for network in networks}
    if len(by_name) < len(networks):
        raise OptionError(f"the networks are called {', '.join(n.name for n in networks)}, expected names of their own")
    check_rows(partition, config)
    began = time.perf_counter()
    found: dict[str, dict[str, LayerRows]] = {}
    with executing(executor) as engine:
        for name, one in by_name.items():
            found[name] = stored_rows(partition, one.backbone, one.layers, store, extraction, progress, engine)
    seconds = time.perf_counter() - began
    named = {f"{name} {layer}": (name, layer) for name, layers in found.items() for layer in layers}
    rows = _rows_of_all({label: found[name][layer] for label, (name, layer) in named.items()})
    for some in rows.values():
        check_classes(some)
    halving = halve(rows, config, str(pick_device(extraction.device)), networks=named)
    name, layer = named[halving.layer]
    result = fit_chosen(rows, config, extraction.device, seconds, halving)
    counts = {name: _counts(layers) for name, layers in found.items()}
    return NetworkChoice(tuple(networks), by_name[name], layer, {layer: result}, counts)


def _rows_of_all(layers: Mapping[str, LayerRows]) -> dict[str, LayerRows]:
    """Return all layers with the rows that all of them have: an image may be skipped for one network alone."""
    partition = next(iter(layers.values())).partition
    parts = {}
    for use, part in partition.parts().items():
        there = [np.isin(part.rows, some.part(use).rows) for some in layers.values()]
        parts[use] = replace(part, rows=part.rows[np.all(there, axis=0)])
    common = replace(partition, train=parts["train"], val=parts["val"], test=parts["test"])
    skipped = list({image["id"]: image for some in layers.values() for image in some.found.skipped}.values())
    return {name: LayerRows(common, replace(some.found, skipped=skipped)) for name, some in layers.items()}


def _counts(layers: Mapping[str, LayerRows]) -> dict[str, int]:
    """Return the rows of a network that were computed and reused: joined layers share theirs with single ones."""
    lines = {line["key"]: line for some in layers.values() for line in some.found.layers}
    return {name: sum(line[name] for line in lines.values()) for name in ("computed", "reused")}
