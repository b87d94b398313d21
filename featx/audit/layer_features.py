"""Features of several networks' layers on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from featx.audit.rows import StackedRows, rows_in_all
from featx.cache.memo import Memo
from featx.cache.store import FeatureStore, FeatureTable
from featx.core.concatenation import Feature
from featx.core.specs import ExtractConfig, LayerSpec, Progress, no_progress
from featx.data.sources import Source
from featx.errors import SourceError
from featx.extraction.extract import extract
from featx.extraction.own_layers import own_layers
from featx.models.backbones import Backbone


@dataclass
class LayerFeatures:
    """Layers of networks, all with the same rows.

    Parameters
    ----------
    features : dict of str to StackedRows
        By a name that says what tells them apart.
    rows : dict of str to int
        Rows by split.
    lacking : int
        Rows left out of all layers, because the image was skipped for one of them.
    skipped : list of dict
        ``id`` and ``reason`` of these images.
    computed, reused : int
        Rows of all layers.
    notes : list of str
        What else is to be said.
    """

    features: dict[str, StackedRows] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    lacking: int = 0
    skipped: list[dict[str, str]] = field(default_factory=list)
    computed: int = 0
    reused: int = 0
    notes: list[str] = field(default_factory=list)


def layer_features(
    sources: Mapping[str, Source],
    networks: Mapping[str, Backbone],
    layers: Sequence[LayerSpec],
    store: FeatureStore,
    config: ExtractConfig,
    progress: Progress = no_progress,
) -> LayerFeatures:
    """Extract what the store lacks of the networks' layers, and open all of them on the rows that all have.

    Parameters
    ----------
    networks : mapping of str to Backbone
        By name, which is "" where there is only one. Of several, each gives those of the layers that it has.
    layers : sequence of LayerSpec
        Patterns mean what they match in each network.

    Raises
    ------
    OptionError
        A layer is in none of the networks, or a network has none of the layers.
    SourceError
        No row is left.
    FeatxError
        As `extract`.
    """
    found = LayerFeatures()
    own: Mapping[str, Sequence[Feature]] = dict.fromkeys(networks, layers)
    if len(networks) > 1:
        first = next(iter(sources.values()))
        own, found.notes = own_layers(first, networks, layers, Memo(store.home), "is compared")
    tables: dict[str, dict[str, FeatureTable]] = {}
    skipped: dict[str, dict[str, str]] = {}
    for name, network in networks.items():
        result = extract(sources, network, own[name], store, config, progress)
        for line in result.layers:
            label = f"{name} {line['layer']}".strip() if name != line["layer"] else name  # pixels
            tables.setdefault(label, {})[line["split"]] = result.tables[line["split"], line["layer"]]
            found.computed += line["computed"]
            found.reused += line["reused"]
        found.notes += result.notes
        skipped |= {image["id"]: image for image in result.skipped}
    found.features, found.rows, found.lacking = rows_in_all(tables)
    found.skipped = list(skipped.values())
    if not sum(found.rows.values()):
        raise SourceError("no image is left that all layers have", "mend the images that were skipped")
    return found
