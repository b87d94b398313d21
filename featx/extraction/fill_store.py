"""The shards that a store lacks: planned, computed in as few passes as possible, written."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.cache.claims import PATIENCE_SECONDS
from featx.cache.compare import why_not_reused
from featx.cache.copies import ReusableRows, is_reused
from featx.cache.key import FeatureKey
from featx.cache.schema import Plan, plan_shard_rows
from featx.cache.store import FeatureStore, FeatureWriter
from featx.core.specs import ExtractConfig, LayerSpec, Progress
from featx.data.batch_loader import image_shape
from featx.data.sources import Source
from featx.extraction.compute import Networks, activations, batch_size_of, check_and_cast
from featx.extraction.scheduler import Pass, passes
from featx.models.families import versions

if TYPE_CHECKING:
    from featx.extraction.forward import Network

ReusableByLayer = Mapping[LayerSpec, Sequence[ReusableRows]]

POLL_SECONDS = 0.2
"""How often a process looks whether another one has finished what both want."""


class Filling:
    """One extraction under way: torch is loaded, and the network built, once something has to be computed.

    Attributes
    ----------
    seconds : dict
        By stage: ``read``, ``forward``, ``write``.
    images_per_second : float or None
        While images were computed; None where none was.
    device : str
        What computed; empty where nothing did.
    batch_size : int or None
        As `ExtractResult`.
    notes, why : list of str
        As `ExtractResult`.
    """

    def __init__(self, networks: Networks, store: FeatureStore, config: ExtractConfig, progress: Progress) -> None:
        self.networks, self.backbone = networks, networks.backbone
        self.store, self.config, self.progress = store, config, progress
        self.seconds = {"read": 0.0, "forward": 0.0, "write": 0.0}
        self.images_per_second: float | None = None
        self.device = ""
        self.batch_size: int | None = None
        self.notes: list[str] = []
        self.why: list[str] = []
        self._room: Any = None
        self._images = 0
        self._elapsed = 0.0

    def fill(self, split: str, source: Source, missing: Mapping[LayerSpec, FeatureKey]) -> dict[LayerSpec, int]:
        """Write the missing shards of some layers of one source; return the rows that were computed for each."""
        index = self.store.reuse_index()  # looked up for each split: one may lend to the next
        reusable = {spec: index.reusable(key, source.row_hashes()) for spec, key in missing.items()}
        plans = self._plans(source, missing, reusable)
        with ExitStack() as stack:
            writers = {
                spec: stack.enter_context(self._writer(split, source, key, plans[spec], reusable[spec]))
                for spec, key in missing.items()
            }
            # Layers that were begun together are gone on with together: their plans fix how they are computed.
            for group in passes(writers):
                self._run(f"extract {split}", source, group)
            if self._elapsed:
                self.images_per_second = self._images / self._elapsed
            return {spec: writer.n_put for spec, writer in writers.items()}

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

    def _run(self, stage: str, source: Source, group: Pass) -> None:
        """Go through the images until no shard is missing, sharing the work with other processes that do the same."""
        total = group.due()
        moved = time.monotonic()
        self.progress(stage, 0, total)
        while blocks := group.blocks():
            claims = group.claims
            self._round(stage, source, group, total, force=time.monotonic() - moved > PATIENCE_SECONDS)
            group.refresh()
            if group.claims != claims or group.blocks() != blocks:
                moved = time.monotonic()
            else:
                self.progress(f"{stage}: another process is at it", total - group.due(), total)
                time.sleep(POLL_SECONDS)

    def _round(self, stage: str, source: Source, group: Pass, total: int, force: bool) -> None:
        """Compute and write what can be claimed now."""
        done = total - group.due()
        batches = group.batches(force)
        first = next(batches, None)  # claims blocks; those of copies alone are written, without any network
        if first is None:
            return
        began = time.perf_counter()
        network, specs, todo = self._network(source), list(group.writers), chain([first], batches)
        for batch, features, seconds in activations(
            source, network, specs, group.layers, todo, self.config, self._room, fused=group.plan.compiled
        ):
            clock = time.perf_counter()
            kept = {s: check_and_cast(X, batch, source, s, self.config) for s, X in zip(specs, features, strict=True)}
            group.put(batch.rows, kept, batch.skipped, seconds)
            for name, spent in {**seconds, "write": time.perf_counter() - clock}.items():
                self.seconds[name] += spent
            self._images += len(batch.rows)
            done += len(batch.rows)
            self.progress(stage, done, total)
        self.batch_size = min(group.plan.batch_size, self._room.images or group.plan.batch_size)
        self._elapsed += time.perf_counter() - began
