"""Images to activations to store: every layer that the store lacks, in one forward pass."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featx.cache.key import FeatureKey
from featx.cache.memo import Memo
from featx.cache.store import FeatureStore, FeatureTable
from featx.core.specs import ExtractConfig, LayerSpec, Progress, no_progress
from featx.data.sources import Source
from featx.errors import ImageError
from featx.extraction.compute import Networks, expand_layers, parse_layers
from featx.extraction.fill_store import Filling
from featx.models.backbones import Backbone


@dataclass
class ExtractResult:
    """What an extraction gave.

    Parameters
    ----------
    tables : dict
        FeatureTable by (split, layer).
    layers : list of dict
        A line a table: layer, split, key, rows, columns, bytes, computed, reused, path.
    skipped : list of dict
        ``id`` and ``reason`` of images left out.
    seconds : dict
        By stage: ``read`` (waiting for images), ``forward``, ``write``, ``total``.
    images_per_second : float or None
        From the first image read to the last receipt; None where nothing was computed.
    device, precision : str
        What computed; the device is empty where nothing did.
    batch_size : int or None
        Images in a forward pass, in the end: fewer than asked for where memory ran out. None where nothing was
        computed.
    notes : list of str
        What was warned of.
    why : list of str
        Why features of the same images had to be computed again, where some of other settings are stored.
    """

    precision: str
    tables: dict[tuple[str, str], FeatureTable] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    images_per_second: float | None = None
    device: str = ""
    batch_size: int | None = None
    notes: list[str] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def take(self, filling: Filling) -> None:
        """Take over what was noted while the store was filled."""
        self.device, self.batch_size = filling.device, filling.batch_size
        self.seconds, self.images_per_second = filling.seconds, filling.images_per_second
        self.notes, self.why = filling.notes, filling.why

    def only(self, layer: str) -> ExtractResult:
        """Return the part of one layer."""
        tables = {at: table for at, table in self.tables.items() if at[1] == layer}
        return replace(self, tables=tables, layers=[line for line in self.layers if line["layer"] == layer])

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON-able part."""
        return {k: v for k, v in vars(self).items() if k != "tables"}


def feature_key(source: Source, backbone: Backbone, spec: LayerSpec, config: ExtractConfig) -> FeatureKey:
    """Return the key of one layer's features of one source."""
    return FeatureKey(
        rows=source.fingerprint(),
        n_rows=len(source),
        backbone=backbone.name,
        weights=backbone.weights_sha256,
        layer=str(spec),
        preprocess=backbone.preprocess.as_dict(),
        precision=config.precision,
        dtype=config.dtype,
        options=backbone.options,
        code=backbone.code,
    )


def extract(
    sources: Mapping[str, Source],
    backbone: Backbone,
    layers: Sequence[LayerSpec | str],
    store: FeatureStore,
    config: ExtractConfig | None = None,
    progress: Progress = no_progress,
) -> ExtractResult:
    """Compute the features that the store lacks, and open all that were asked for.

    Parameters
    ----------
    sources : mapping of str to Source
        By split.
    backbone : Backbone
        From `featx.models.backbones.resolve`.
    layers : sequence of LayerSpec or str
        Wanted layers; a pattern means all layers that it matches.
    store : FeatureStore
        Where finished shards go, each as soon as it is full.
    config : ExtractConfig
        Precision, stored dtype, batch size, device, workers, what to do with bad images.
    progress : callable
        Told of the images done.

    Raises
    ------
    ImageError
        An image cannot be decoded and ``config.on_error`` is ``raise``; finished shards stay.
    FeatureError
        Activations are NaN or infinite.
    OptionError
        For a layer, size or device that is not there.
    """
    config = config or ExtractConfig()
    began = time.perf_counter()
    specs, networks = parse_layers(layers), Networks(backbone)
    for source in sources.values():  # all are prepared alike: the first tells what a pattern means
        specs = expand_layers(specs, source, networks, Memo(store.home))
    keys = {(s, spec): feature_key(src, backbone, spec, config) for s, src in sources.items() for spec in specs}
    lacking = {at for at, key in keys.items() if not store.is_complete(key)}
    result = ExtractResult(config.precision)
    computed: dict[tuple[str, LayerSpec], int] = {}
    if lacking:
        filling = Filling(networks, store, config, progress)
        for split, source in sources.items():
            missing = {spec: keys[split, spec] for spec in specs if (split, spec) in lacking}
            if missing:
                computed.update({(split, s): n for s, n in filling.fill(split, source, missing).items()})
        result.take(filling)
    for (split, spec), key in keys.items():
        table = store.open(key, sources[split])
        _check_skipped(table, config)
        result.tables[split, key.layer] = table
        result.layers.append(_line(split, table, computed.get((split, spec), 0), store, key))
    result.skipped = list(
        {name: {"id": name, "reason": why} for t in result.tables.values() for _, name, why in t.skipped}.values()
    )
    result.seconds["total"] = time.perf_counter() - began
    return result


def _line(split: str, table: FeatureTable, computed: int, store: FeatureStore, key: FeatureKey) -> dict[str, Any]:
    rows, columns = table.shape
    return {
        "layer": key.layer,
        "split": split,
        "key": key.digest,
        "rows": rows,
        "columns": columns,
        "bytes": rows * columns * table.dtype.itemsize,
        "computed": computed,
        "reused": key.n_rows - computed,
        "path": str(store.folder(key)),
    }


def _check_skipped(table: FeatureTable, config: ExtractConfig) -> None:
    if table.skipped and config.on_error == "raise":
        raise ImageError(
            f"{len(table.skipped)} images were skipped when these features were computed; the first: "
            f"{table.skipped[0][2]}",
            "mend the images, or use --on-error skip",
        )
