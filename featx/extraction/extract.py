"""Images to activations to store: every layer that the store lacks, in one forward pass."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from featx.cache.key import FeatureKey
from featx.cache.memo import Memo
from featx.cache.store import FeatureStore, FeatureTable
from featx.core.concatenation import Feature
from featx.core.executors.executor import Executor
from featx.core.executors.registry import HERE, executing
from featx.core.specs import ExtractConfig, LayerSpec, Progress, no_progress
from featx.data.sources import Source
from featx.errors import ImageError
from featx.extraction.compute import Networks, expand_layers, parse_layers
from featx.extraction.fill_store import Filling
from featx.extraction.keys import feature_key
from featx.extraction.rounds import Rounds
from featx.extraction.shard_task import work_of
from featx.models.backbones import Backbone

__all__ = ["ExtractResult", "extract", "feature_key"]


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
    executor : dict
        ``name``; ``blocks`` of shards that each worker finished; ``lost``, the workers that went away meanwhile.
    part : dict or None
        For a part of a job array: ``shard``; ``blocks`` in all, ``own`` that fall to this part, ``done`` by this run,
        ``left`` by all so far. Where some are left, there are no tables of those layers yet.
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
    executor: dict[str, Any] = field(default_factory=lambda: {"name": HERE, "blocks": {}, "lost": []})
    part: dict[str, Any] | None = None

    def take(self, rounds: Rounds) -> None:
        """Take over what was noted while the store was filled."""
        filling, executor = rounds.filling, rounds.executor
        self.device, self.batch_size = filling.device, filling.batch_size
        self.seconds, self.images_per_second = filling.seconds, rounds.images_per_second
        self.notes, self.why = filling.notes, filling.why
        self.executor = {"name": executor.name, "blocks": dict(rounds.blocks), "lost": list(executor.lost)}

    def only(self, *layers: str) -> ExtractResult:
        """Return the part of some layers, in their order."""
        tables = {at: table for layer in layers for at, table in self.tables.items() if at[1] == layer}
        lines = [line for layer in layers for line in self.layers if line["layer"] == layer]
        return replace(self, tables=tables, layers=lines)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON-able part."""
        return {k: v for k, v in vars(self).items() if k != "tables"}


def extract(
    sources: Mapping[str, Source],
    backbone: Backbone,
    layers: Sequence[Feature | str],
    store: FeatureStore,
    config: ExtractConfig | None = None,
    progress: Progress = no_progress,
    executor: Any = None,
) -> ExtractResult:
    """Compute the features that the store lacks, and open all that were asked for.

    Parameters
    ----------
    sources : mapping of str to Source
        By split.
    backbone : Backbone
        From `featx.models.backbones.resolve`.
    layers : sequence of LayerSpec, Concatenation or str
        Wanted layers; a pattern means all layers that it matches, and joined ones (``layer3:avg+layer4:avg``) mean each
        of their parts.
    store : FeatureStore
        Where finished shards go, each as soon as it is full.
    config : ExtractConfig
        Precision, stored dtype, batch size, device, workers, what to do with bad images.
    progress : callable
        Told of the images done.
    executor : str, distributed.Client or Executor, optional
        What computes: None or ``here``, this process; ``processes:4``; a Dask cluster, by its client, by its
        scheduler's address (``tcp://host:8786``) or ``local:4``; or a part of a job array, ``shard:0/4``. Everything
        but this process itself opens the images and the network anew, from folders and files that it sees under the
        same names, and writes to the same store.

    Raises
    ------
    ImageError
        An image cannot be decoded and ``config.on_error`` is ``raise``; finished shards stay.
    FeatureError
        Activations are NaN or infinite.
    OptionError
        For a layer, size or device that is not there, and for images that other processes cannot open.
    WorkerError
        A worker has other versions of featx, torch or the data, or there is none left.
    """
    with executing(executor) as engine:
        return _extract(sources, backbone, layers, store, config or ExtractConfig(), progress, engine)


def _extract(
    sources: Mapping[str, Source],
    backbone: Backbone,
    layers: Sequence[Feature | str],
    store: FeatureStore,
    config: ExtractConfig,
    progress: Progress,
    executor: Executor,
) -> ExtractResult:
    began = time.perf_counter()
    networks = Networks(backbone)
    keys = keys_of(sources, networks, layers, store, config)
    specs = list(dict.fromkeys(spec for _, spec in keys))
    lacking = {at for at, key in keys.items() if not store.is_complete(key)}
    result = ExtractResult(config.precision)
    computed: dict[tuple[str, LayerSpec], int] = {}
    if lacking:
        rounds = Rounds(Filling(networks, store, config), executor, progress)
        missing = {split: {spec: keys[split, spec] for spec in specs if (split, spec) in lacking} for split in sources}
        for split, counts in _filled(rounds, {s: sources[s] for s, some in missing.items() if some}, missing).items():
            computed.update({(split, spec): n for spec, n in counts.items()})
        result.take(rounds)
        result.part = _part(rounds)
        if result.part and result.part["left"]:
            keys = {at: key for at, key in keys.items() if store.is_complete(key)}
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


def keys_of(
    sources: Mapping[str, Source],
    networks: Networks,
    layers: Sequence[Feature | str],
    store: FeatureStore,
    config: ExtractConfig,
) -> dict[tuple[str, LayerSpec], FeatureKey]:
    """Return by split and layer under which keys the features are, or will be, in the store.

    Raises
    ------
    OptionError
        For layers that are not there.
    """
    specs = parse_layers(layers)
    for source in sources.values():  # all are prepared alike: the first tells what a pattern means
        specs = expand_layers(specs, source, networks, Memo(store.home))
    return {
        (split, spec): feature_key(source, networks.backbone, spec, config)
        for split, source in sources.items()
        for spec in specs
    }


def _filled(
    rounds: Rounds, sources: Mapping[str, Source], missing: Mapping[str, Mapping[LayerSpec, FeatureKey]]
) -> dict[str, dict[LayerSpec, int]]:
    """Fill the store and return the rows that were computed, by split and layer."""
    filling = rounds.filling
    if rounds.executor.in_process:
        return {split: rounds.fill(split, source, missing[split], None) for split, source in sources.items()}
    run = secrets.token_hex(8)
    works = {
        split: work_of(source, filling.backbone, missing[split], filling.config, filling.store.home, run)
        for split, source in sources.items()
    }
    try:
        rounds.check_workers(list(works.values()))
        return {split: rounds.fill(split, source, missing[split], works[split]) for split, source in sources.items()}
    finally:
        rounds.forget(run)


def _part(rounds: Rounds) -> dict[str, Any] | None:
    """Return how far a part of a job array is, where this is one."""
    share = getattr(rounds.executor, "share", None)
    if share is None:
        return None
    done = sum(rounds.blocks.values())
    return {"shard": str(share), "blocks": rounds.present, "own": rounds.own, "done": done, "left": rounds.left}


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
