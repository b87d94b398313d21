"""The rows of one layer, or of several that are joined, as the store has them for each part of a partition."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.cache.store import FeatureTable
from featx.data.splits import Part, Partition
from featx.extraction.extract import ExtractResult
from featx.probes.check_array import is_streamed


@dataclass(frozen=True)
class LayerRows:
    """What a head is fitted on and scored by.

    Parameters
    ----------
    partition : Partition
        The parts.
    found : ExtractResult
        Of the layers whose columns stand side by side, in this order, and of no others.
    """

    partition: Partition
    found: ExtractResult

    @property
    def columns(self) -> int:
        """Values of a row."""
        return sum(table.shape[1] for table in self._tables(self.partition.train))

    @property
    def bytes(self) -> int:
        """Of all features that were extracted."""
        return sum(line["bytes"] for line in self.found.layers)

    def part(self, use: str) -> Part:
        """Return a part without the rows whose image was skipped."""
        part = self.partition.parts()[use]
        there = [np.isin(part.rows, table.rows) for table in self._tables(part)]
        return replace(part, rows=part.rows[np.all(there, axis=0)])

    def labels(self, use: str) -> npt.NDArray[np.int64]:
        """Return the class numbers of a part."""
        return self.part(use).labels

    def read(
        self, use: str, places: npt.NDArray[np.int64] | None = None, *, streams: bool = False
    ) -> tuple[Any, npt.NDArray[np.int64]]:
        """Return features (n, d) and labels (n,) of a part.

        Parameters
        ----------
        use : str
            ``train``, ``val`` or ``test``.
        places : ndarray of int64, optional
            Which of the part's rows, rising; all by default.
        streams : bool
            Leave what is larger than `featx.probes.check_array.HELD_BYTES` on the disk, where it is of one layer.
        """
        part = self.part(use)
        part = part if places is None else replace(part, rows=part.rows[places])
        return read_rows(self._tables(part), part.rows, streams=streams), part.labels

    def keys(self, use: str) -> tuple[str, ...]:
        """Return the digests of the keys that a part's columns are stored under, in the columns' order."""
        split = self.partition.parts()[use].source.split
        return tuple(line["key"] for line in self.found.layers if line["split"] == split)

    def _tables(self, part: Part) -> list[FeatureTable]:
        return [table for (split, _), table in self.found.tables.items() if split == part.source.split]


def read_rows(tables: Sequence[FeatureTable], rows: npt.NDArray[np.int64], *, streams: bool) -> Any:
    """Return some rows of a source, whose tables' columns stand side by side, as float32 (n, d).

    With `streams` they are left on the disk where they are many, and of one table.
    """
    found = [table.X.subset(np.searchsorted(table.rows, rows)) for table in tables]
    if len(found) == 1:
        return found[0] if streams and is_streamed(found[0]) else np.asarray(found[0], np.float32)
    return np.concatenate([np.asarray(X, np.float32) for X in found], axis=1)
