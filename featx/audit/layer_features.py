"""Features of several networks' layers on the same images, named as briefly as they can be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from featx.audit.rows import StackedRows, rows_in_all
from featx.cache.memo import Memo
from featx.cache.store import FeatureStore, FeatureTable
from featx.core.specs import ExtractConfig, LayerSpec, Progress, no_progress
from featx.data.batch_loader import image_shape
from featx.data.sources import Source
from featx.errors import OptionError, SourceError, first_few
from featx.extraction.compute import Networks, expand_layers
from featx.extraction.extract import extract
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


def short_names(networks: Sequence[tuple[str, str]]) -> list[str]:
    """Return a name of each network that is not another's: as little as that takes of its name and its weights.

    Parameters
    ----------
    networks : sequence of (str, str)
        Backbones and weights as the command line takes them, no two the same.
    """
    if len(networks) == 1:
        return [""]
    schemes = (
        [_brief(backbone) for backbone, _ in networks],
        [_brief(weights) for _, weights in networks] if len({backbone for backbone, _ in networks}) == 1 else [""],
        [f"{_brief(backbone)} {_brief(weights)}" for backbone, weights in networks],
    )
    for names in schemes:
        if len(set(names)) == len(networks):
            return names
    return [f"{backbone} {weights}" for backbone, weights in networks]


def _brief(text: str) -> str:
    """Return the last part of what may be a path: a file and its function, a weights file."""
    return PurePath(text).name or text


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
    own: Mapping[str, Sequence[LayerSpec]] = dict.fromkeys(networks, layers)
    if len(networks) > 1:
        own, found.notes = _own_layers(sources, networks, layers, Memo(store.home))
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


def _own_layers(
    sources: Mapping[str, Source], networks: Mapping[str, Backbone], layers: Sequence[LayerSpec], memo: Memo
) -> tuple[dict[str, list[LayerSpec]], list[str]]:
    """Return which of the layers each network has, and what is to be said of those that one lacks."""
    source = next(iter(sources.values()))
    own: dict[str, list[LayerSpec]] = {name: [] for name in networks}
    lacks: dict[LayerSpec, dict[str, OptionError]] = {layer: {} for layer in layers}
    for name, backbone in networks.items():
        read = Networks(backbone)
        for layer in layers:
            try:
                _check_layer(layer, source, read, memo)
            except OptionError as error:
                lacks[layer][name] = error
            else:
                own[name].append(layer)
    for errors in lacks.values():
        if len(errors) == len(networks):
            raise next(iter(errors.values()))
    for name, some in own.items():
        if not some:
            raise OptionError(f"{name} has none of the layers {first_few(list(map(str, layers)))}", "give one it has")
    return own, [
        f"{name} is compared without {layer}: {error.message}"
        for layer, errors in lacks.items()
        for name, error in errors.items()
    ]


def _check_layer(layer: LayerSpec, source: Source, networks: Networks, memo: Memo) -> None:
    """Raise OptionError where a network has no such layer."""
    if layer.is_pattern:
        expand_layers([layer], source, networks, memo)
    else:
        networks.of(image_shape(source, networks.backbone.preprocess)).columns(layer)
