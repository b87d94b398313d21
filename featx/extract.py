"""Images to activations to store: every layer that the store lacks, in one forward pass."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featx.activations import activations, batches_of, expand_layers, parse_layers, stored
from featx.backbones import Backbone
from featx.cache.memo import Memo
from featx.cache.schema import Plan, plan_shard_rows
from featx.cache.store import FeatureStore, FeatureTable, FeatureWriter
from featx.errors import ImageError
from featx.loading import image_shape
from featx.sources import Source
from featx.specs import ExtractConfig, FeatureKey, LayerSpec, Progress, no_progress

if TYPE_CHECKING:
    from featx.forward import Network

Rows = npt.NDArray[np.int64]


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
    """

    precision: str
    tables: dict[tuple[str, str], FeatureTable] = field(default_factory=dict)
    layers: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    images_per_second: float | None = None
    device: str = ""

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
        preprocess=asdict(backbone.preprocess)
        | {"mean": [*backbone.preprocess.mean], "std": [*backbone.preprocess.std]},
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
        From `featx.backbones.resolve`.
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
    specs = parse_layers(layers)
    for source in sources.values():  # all are prepared alike: the first tells what a pattern means
        specs = expand_layers(specs, source, backbone, Memo(store.home))
    keys = {(s, spec): feature_key(src, backbone, spec, config) for s, src in sources.items() for spec in specs}
    lacking = {at for at, key in keys.items() if not store.is_complete(key)}
    result = ExtractResult(config.precision)
    computed: dict[tuple[str, LayerSpec], int] = {}
    if lacking:
        work = _Work(backbone, store, config, progress, result)
        for split, source in sources.items():
            missing = {spec: keys[split, spec] for spec in specs if (split, spec) in lacking}
            if missing:
                computed.update({(split, s): n for s, n in work.fill(split, source, missing).items()})
    for (split, spec), key in keys.items():
        table = store.open(key, sources[split])
        _check_skipped(table, config)
        result.tables[split, str(spec)] = table
        result.layers.append(_line(split, str(spec), table, computed.get((split, spec), 0), store, key))
    result.skipped = list(
        {name: {"id": name, "reason": why} for t in result.tables.values() for _, name, why in t.skipped}.values()
    )
    result.seconds["total"] = time.perf_counter() - began
    return result


def _line(
    split: str, layer: str, table: FeatureTable, computed: int, store: FeatureStore, key: FeatureKey
) -> dict[str, Any]:
    rows, columns = table.shape
    return {
        "layer": layer,
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


class _Work:
    """One extraction under way: the network is built at most once a run and image size."""

    def __init__(
        self,
        backbone: Backbone,
        store: FeatureStore,
        config: ExtractConfig,
        progress: Progress,
        result: ExtractResult,
    ) -> None:
        from featx.forward import Network, pick_device  # torch: only where something is to be computed

        self._network_of = Network
        self.device = pick_device(config.device)
        self.backbone, self.store, self.config = backbone, store, config
        self.progress, self.result = progress, result
        self.networks: dict[tuple[int, int, int], Network] = {}
        self.images = 0
        self.elapsed = 0.0
        result.device = str(self.device)
        result.seconds.update(read=0.0, forward=0.0, write=0.0)

    def fill(self, split: str, source: Source, missing: Mapping[LayerSpec, FeatureKey]) -> dict[LayerSpec, int]:
        """Compute the missing shards of some layers of one source; return the rows computed for each."""
        shape = image_shape(source, self.backbone.preprocess)
        if shape not in self.networks:
            self.networks[shape] = self._network_of(self.backbone, shape)
        network = self.networks[shape]
        # All layers are checked before the first folder is made.
        columns = {spec: network.columns(spec) for spec in missing}
        together = tuple(map(str, missing))
        with ExitStack() as stack:
            writers = {
                spec: stack.enter_context(self._writer(split, source, columns[spec], key, together))
                for spec, key in missing.items()
            }
            rows = {spec: _missing_rows(writer) for spec, writer in writers.items()}
            # Layers that were begun together are gone on with together: their plans fix how they are computed.
            passes: dict[tuple[int, tuple[str, ...]], dict[LayerSpec, FeatureWriter]] = {}
            for spec, writer in writers.items():
                passes.setdefault((writer.plan.batch_size, writer.plan.layers), {})[spec] = writer
            for group in passes.values():
                self._run(split, source, network, shape, group, {spec: rows[spec] for spec in group})
        if self.elapsed:
            self.result.images_per_second = self.images / self.elapsed
        return {spec: int(mask.sum()) for spec, mask in rows.items()}

    def _writer(
        self, split: str, source: Source, columns: int, key: FeatureKey, together: tuple[str, ...]
    ) -> FeatureWriter:
        plan = Plan(
            batch_size=self.config.batch_size,
            shard_rows=plan_shard_rows(key.n_rows, columns * np.dtype(key.dtype).itemsize),
            columns=columns,
            dtype=key.dtype,
            layers=together,
            channels_last=True,
        )
        about = {
            "source": source.spec,
            "split": split,
            "backbone": self.backbone.name,
            "weights": self.backbone.weights,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": str(self.device),
            "versions": {name: version(name) for name in ("torch", "torchvision", "pillow")},
        }
        return self.store.writer(key, plan, source.ids, source.row_hashes(), about)

    def _run(
        self,
        split: str,
        source: Source,
        network: Network,
        shape: tuple[int, int, int],
        writers: Mapping[LayerSpec, FeatureWriter],
        wanted: Mapping[LayerSpec, npt.NDArray[np.bool_]],
    ) -> None:
        """Run one pass over the batches that hold a missing row, and write what it gives."""
        plan = next(iter(writers.values())).plan
        keep = [LayerSpec.parse(layer) for layer in plan.layers]
        batches = list(batches_of(np.logical_or.reduce(list(wanted.values())), plan.batch_size))
        total, done = sum(map(len, batches)), 0
        began = time.perf_counter()
        self.progress(f"extract {split}", 0, total)
        for batch, features, seconds in activations(source, network, shape, list(writers), keep, batches, self.config):
            clock = time.perf_counter()
            for (spec, writer), X in zip(writers.items(), features, strict=True):
                writer.put(int(batch.rows[0]), stored(X, batch, source, spec, self.config), batch.skipped, seconds)
            for stage, spent in {**seconds, "write": time.perf_counter() - clock}.items():
                self.result.seconds[stage] += spent
            done += len(batch.rows)
            self.progress(f"extract {split}", done, total)
        self.images += total
        self.elapsed += time.perf_counter() - began


def _missing_rows(writer: FeatureWriter) -> npt.NDArray[np.bool_]:
    mask = np.zeros(writer.n_rows, bool)
    for shard in writer.missing():
        mask[slice(*writer.rows_of(shard))] = True
    return mask
