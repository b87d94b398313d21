"""Layers that are computed together, and the batches that they still need, in blocks that processes share out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from featx.cache.store import FeatureWriter
from featx.core.specs import LayerSpec
from featx.core.types import RowNumbers


class Pass:
    """One way of going through a source's images.

    Batches depend on what was settled when the keys were begun, never on which shards are missing or on who else
    works on them: a resumed run, and one of several processes, give the bytes of a single uninterrupted one.

    Parameters
    ----------
    writers : mapping of LayerSpec to FeatureWriter
        With equal plans, shard sizes apart, and equal rows to put; see `passes`.

    Attributes
    ----------
    layers : list of LayerSpec
        All layers that were begun together, present or not.
    claims : int
        Number of blocks that were claimed so far.
    """

    def __init__(self, writers: Mapping[LayerSpec, FeatureWriter]) -> None:
        self.writers = writers
        self.plan = next(iter(writers.values())).plan
        self.layers = [LayerSpec.parse(layer) for layer in self.plan.layers]
        self._todo = next(iter(writers.values())).todo
        self.claims = 0
        self._claimed: dict[int, list[LayerSpec]] = {}

    def blocks(self) -> list[int]:
        """Return the blocks that lack a shard of some layer, as far as is known here."""
        return sorted({block for writer in self.writers.values() for block in writer.blocks()})

    def due(self) -> int:
        """Return the number of images that still have to go through the network."""
        return len(_union([writer.due() for writer in self.writers.values()]))

    def due_in(self, block: int) -> int:
        """Return the number of them in a block."""
        return len(_union([writer.due(block) for writer in self.writers.values()]))

    def waits(self, block: int) -> bool:
        """Tell whether a block holds copies of rows that are not computed yet."""
        return any(block in writer.blocks() and writer.waits(block) for writer in self.writers.values())

    def refresh(self) -> None:
        """Look what other processes finished."""
        for writer in self.writers.values():
            writer.refresh()

    def batches(self, blocks: Sequence[int], force: bool = False) -> Iterator[RowNumbers]:
        """Claim one block after the other and yield the batches that it needs; ends when no other can be had.

        Parameters
        ----------
        blocks : sequence of int
            Some of `blocks`, rising.
        force : bool
            Also those that other processes have claimed.
        """
        for block in blocks:
            if claimed := self._claim(block, force):
                self.claims += 1
                self._claimed[block] = claimed
                yield from self._batches(block, _union([self.writers[spec].due(block) for spec in claimed]))

    def put(
        self,
        rows: RowNumbers,
        features: Mapping[LayerSpec, npt.NDArray[np.generic]],
        skipped: Sequence[tuple[int, str]],
        seconds: Mapping[str, float],
    ) -> None:
        """Give a batch's features to the layers for which it was claimed."""
        for spec in self._claimed[int(rows[0]) // self.plan.block_rows]:
            self.writers[spec].put(rows, features[spec], skipped, seconds)

    def _claim(self, block: int, force: bool) -> list[LayerSpec]:
        """Claim a block of all layers that lack it, or of none.

        Two processes would otherwise get a layer each, and send the same images through the network. All ask in the
        same order, so that one of them gets it.
        """
        claimed: list[LayerSpec] = []
        for spec, writer in sorted(self.writers.items(), key=lambda item: str(item[0])):
            if block in writer.blocks():
                if not writer.claim(block, force):
                    for other in claimed:
                        self.writers[other].release(block)
                    return []
                claimed.append(spec)
        return claimed

    def _batches(self, block: int, due: RowNumbers) -> Iterator[RowNumbers]:
        start = block * self.plan.block_rows
        rows = start + np.flatnonzero(self._todo[start : start + self.plan.block_rows])
        for at in range(0, len(rows), self.plan.batch_size):
            batch = rows[at : at + self.plan.batch_size]
            if np.isin(batch, due, assume_unique=True).any():
                yield batch


def passes(writers: Mapping[LayerSpec, FeatureWriter]) -> list[Pass]:
    """Group layers into as few passes as their plans allow."""
    groups: dict[tuple[object, ...], dict[LayerSpec, FeatureWriter]] = {}
    for spec, writer in writers.items():
        plan = writer.plan
        same = (plan.batch_size, plan.block_rows, plan.layers, np.packbits(writer.todo).tobytes())
        groups.setdefault(same, {})[spec] = writer
    return [Pass(group) for group in groups.values()]


def _union(rows: Sequence[RowNumbers]) -> RowNumbers:
    return np.unique(np.concatenate(rows)) if rows else np.empty(0, np.int64)
