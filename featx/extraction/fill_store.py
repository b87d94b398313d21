"""A store's missing rows: planned, computed, several layers in one pass, and written."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.cache.compare import why_not_reused
from featx.cache.copies import ReusableRows, is_reused
from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, plan_shard_rows
from featx.cache.store import FeatureStore, FeatureWriter
from featx.core.executors.worker import raise_if_stopped
from featx.core.packages import version
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.batch_loader import image_shape
from featx.data.sources import Source
from featx.extraction.compute import Networks, activations, batch_size_of, check_and_cast
from featx.extraction.scheduler import Pass
from featx.models.families import versions

if TYPE_CHECKING:
    from featx.extraction.forward import Network

ReusableByLayer = Mapping[LayerSpec, Sequence[ReusableRows]]


class Filling:
    """What computes and writes here: torch is loaded, and the network built, once something has to be computed.

    Parameters
    ----------
    networks : Networks
        Of the backbone.
    store : FeatureStore
        Where features go.
    config : ExtractConfig
        How they are computed.

    Attributes
    ----------
    images : int
        That went through the network.
    seconds : dict
        By stage: ``read``, ``forward``, ``write``.
    device : str
        What computed; empty where nothing did.
    batch_size : int or None
        As `featx.extraction.extract.ExtractResult`.
    notes, why : list of str
        As `featx.extraction.extract.ExtractResult`.
    """

    def __init__(self, networks: Networks, store: FeatureStore, config: ExtractConfig) -> None:
        self.networks, self.backbone = networks, networks.backbone
        self.store, self.config = store, config
        self.device = ""
        self.batch_size: int | None = None
        self.notes: list[str] = []
        self.why: list[str] = []
        self._room: Any = None
        self.start_counting()

    def start_counting(self) -> None:
        """Count images and seconds from here on."""
        self.images = 0
        self.seconds = {"read": 0.0, "forward": 0.0, "write": 0.0}

    def writers(
        self, stack: ExitStack, split: str, source: Source, missing: Mapping[LayerSpec, FeatureKey]
    ) -> dict[LayerSpec, FeatureWriter]:
        """Return writers of some layers of one source, which `stack` closes; keys are laid out where they are new."""
        index = self.store.reuse_index()  # looked up for each split: one may lend to the next
        reusable = {spec: index.reusable(key, source.row_hashes()) for spec, key in missing.items()}
        plans = self._plans(source, missing, reusable)
        return {
            spec: stack.enter_context(self._writer(split, source, key, plans[spec], reusable[spec]))
            for spec, key in missing.items()
        }

    def _plans(
        self, source: Source, missing: Mapping[LayerSpec, FeatureKey], reusable: ReusableByLayer
    ) -> dict[LayerSpec, Plan]:
        """Return each layer's plan: its own where it was begun, else a new one; no folder is made yet."""
        begun = {spec: plan for spec, key in missing.items() if (plan := self.store.plan(key))}
        columns = {s: self._columns(source, s, key, reusable[s]) for s, key in missing.items() if s not in begun}
        rows = {s: plan_shard_rows(len(source), d * np.dtype(missing[s].dtype).itemsize) for s, d in columns.items()}
        batch_size = batch_size_of(self.config, image_shape(source, self.backbone.preprocess))
        new = {
            spec: Plan(
                batch_size=batch_size,
                block_rows=max(rows.values()),
                shard_rows=rows[spec],
                columns=d,
                dtype=missing[spec].dtype,
                layers=tuple(map(str, missing)),
                channels_last=True,
                compiled=True,
            )
            for spec, d in columns.items()
        }
        return begun | new

    def _columns(self, source: Source, spec: LayerSpec, key: FeatureKey, reusable: Sequence[ReusableRows]) -> int:
        """Return the length of a new key's rows, from siblings where they have them all, else from the network."""
        if reusable and is_reused(reusable, key.n_rows).all():
            return reusable[0].plan.columns
        if not reusable and (line := why_not_reused(self.store, key, {"weights": self.backbone.weights})):
            self.why.append(line)
        return self._network(source).columns(spec)

    def _network(self, source: Source) -> Network:
        from featx.core.device import pick_device  # torch
        from featx.extraction.forward import BatchSizeBackoff  # torch

        self.device = str(pick_device(self.config.device))
        self._room = self._room or BatchSizeBackoff(notes=self.notes)
        return self.networks.of(image_shape(source, self.backbone.preprocess))

    def _writer(
        self, split: str, source: Source, key: FeatureKey, plan: Plan, reusable: Sequence[ReusableRows]
    ) -> FeatureWriter:
        about = {
            "source": source.spec,
            "split": split,
            "backbone": self.backbone.name,
            "weights": self.backbone.weights,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "device": self.device,
            "versions": {**versions(self.backbone.name), "pillow": version("pillow")},
        }
        return self.store.writer(key, plan, source.ids, source.row_hashes(), about, reusable)

    def compute_blocks(
        self, source: Source, group: Pass, blocks: Sequence[int], force: bool, tick: Callable[[int], None]
    ) -> None:
        """Compute and write those blocks of a pass that can be claimed now.

        Parameters
        ----------
        source : Source
            Of the images.
        group : Pass
            The layers.
        blocks : sequence of int
            Those to try, rising.
        force : bool
            Also those that other processes have claimed.
        tick : callable
            Told of each batch's number of images.
        """
        batches = group.batches(blocks, force)
        first = next(batches, None)  # claims blocks; those of copies alone are written, without any network
        if first is None:
            return
        network, specs, todo = self._network(source), list(group.writers), chain([first], batches)
        for batch, features, seconds in activations(
            source, network, specs, group.layers, todo, self.config, self._room, fused=group.plan.compiled
        ):
            clock = time.perf_counter()
            kept = {s: check_and_cast(X, batch, source, s, self.config) for s, X in zip(specs, features, strict=True)}
            group.put(batch.rows, kept, batch.skipped, seconds)
            for name, spent in {**seconds, "write": time.perf_counter() - clock}.items():
                self.seconds[name] += spent
            self.images += len(batch.rows)
            tick(len(batch.rows))
            raise_if_stopped()
        self.batch_size = min(group.plan.batch_size, self._room.images or group.plan.batch_size)
