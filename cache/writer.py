"""Writing features: rows are gathered into shards, each on the disk, receipt and all, once it is full."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

import numpy as np

from featx.cache import atomic, schema
from featx.cache.folder import KeyFolder, receipt_name, sealed_file
from featx.cache.schema import MAX_REASON, SHARD_NAME, Plan, Receipt
from featx.errors import OptionError, StoreError

_ORPHAN_SECONDS = 3600
"""Age from which a shard without a receipt was left by a dead process: living ones need milliseconds."""


class FeatureWriter:
    """Writes one key's missing shards; made by `FeatureStore.writer`.

    Parameters
    ----------
    folder : KeyFolder
        Laid out already.
    plan : Plan
        The folder's own plan.
    n_rows : int
        Rows of the key.
    versions : dict
        Programs that compute the features, for the receipts.
    """

    def __init__(self, folder: KeyFolder, plan: Plan, n_rows: int, versions: Mapping[str, str]) -> None:
        self.folder = folder
        self.plan = plan
        self.n_rows = n_rows
        self._versions = {**_own_versions(), **versions}
        atomic.tidy(folder.path)
        atomic.tidy(folder.shards)
        self._done = folder.valid_receipts(plan, n_rows)
        self._remove_orphans()
        self._forget()

    def missing(self) -> list[int]:
        """Return the numbers of the shards without a receipt, rising."""
        return [shard for shard in range(self.plan.shards(self.n_rows)) if shard not in self._done]

    def rows_of(self, shard: int) -> tuple[int, int]:
        """Return a shard's first row and the one after its last."""
        return self.plan.span(shard, self.n_rows)

    def put(
        self,
        start: int,
        X: np.ndarray[Any, Any],
        skipped: Sequence[tuple[int, str]] = (),
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        """Take rows ``start`` to ``start + len(X)``; a shard that they complete is written at once.

        Rows of shards that have receipts are ignored. Within a shard rows come in rising order, without gaps.

        Parameters
        ----------
        start : int
            Row of the source that ``X[0]`` is.
        X : ndarray of shape (m, columns)
            In the plan's dtype.
        skipped : sequence of (row, reason)
            Rows of the source, among these, that have no features; they are stored as NaN.
        seconds : mapping, optional
            Time by stage that these rows took; counted for the shard of the first of them that is wanted.

        Raises
        ------
        DiskFullError, StoreError
            The shard could not be written; earlier ones stay.
        """
        self._check_rows(start, X, skipped)
        spent = dict(seconds or {})
        row, stop = start, start + len(X)
        while row < stop:
            shard = row // self.plan.shard_rows
            end = min(stop, self.rows_of(shard)[1])
            if shard not in self._done:
                self._gather(shard, row, X[row - start : end - start])
                self._skipped += [[r, str(why)[:MAX_REASON]] for r, why in skipped if row <= r < end]
                for stage, s in spent.items():
                    self._seconds[stage] = self._seconds.get(stage, 0.0) + float(s)
                spent = {}
                if end == self.rows_of(shard)[1]:
                    self._commit(shard)
            row = end

    def close(self) -> None:
        """Forget rows of an unfinished shard; finished ones are on the disk already."""
        self._forget()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self) -> None:
        self._buffer: np.ndarray[Any, Any] | None = None
        self._shard = -1
        self._next = 0
        self._skipped: list[list[Any]] = []
        self._seconds: dict[str, float] = {}

    def _check_rows(self, start: int, X: np.ndarray[Any, Any], skipped: Sequence[tuple[int, str]]) -> None:
        if X.ndim != 2 or X.shape[1] != self.plan.columns or X.dtype != self.plan.stored:
            raise OptionError(
                f"features are {X.dtype} {X.shape}, expected {self.plan.dtype} (rows, {self.plan.columns})"
            )
        if not 0 <= start <= start + len(X) <= self.n_rows:
            raise OptionError(f"rows {start} to {start + len(X)}, expected some of 0 to {self.n_rows}")
        if not all(start <= row < start + len(X) for row, _ in skipped):
            raise OptionError(f"skipped rows are not among rows {start} to {start + len(X)}")

    def _gather(self, shard: int, row: int, X: np.ndarray[Any, Any]) -> None:
        first, last = self.rows_of(shard)
        if self._buffer is None:
            self._buffer = np.empty((last - first, self.plan.columns), self.plan.stored)
            self._shard, self._next = shard, first
        if (shard, row) != (self._shard, self._next):
            raise OptionError(f"row {row} was put where row {self._next} is due")
        self._buffer[row - first : row - first + len(X)] = X
        self._next = row + len(X)

    def _commit(self, shard: int) -> None:
        """Write the gathered shard, then its receipt, unless another process was quicker."""
        buffer, skipped, seconds = self._buffer, self._skipped, self._seconds
        assert buffer is not None
        self._forget()
        if not self._has_receipt(shard):
            start, stop = self.rows_of(shard)
            reasons = dict(skipped)
            buffer[[row - start for row in reasons]] = np.nan
            data, offset = schema.shard_image(buffer, self.folder.digest, start)
            receipt = Receipt(
                index=shard,
                start=start,
                stop=stop,
                sha256=hashlib.sha256(data).hexdigest(),
                bytes=len(data),
                offset=offset,
                skipped=[[row, reasons[row]] for row in sorted(reasons)],
                seconds=seconds,
                versions=self._versions,
            )
            atomic.write_bytes(self.folder.shards / receipt.file, data)
            proof = sealed_file(self.folder.digest, receipt=receipt.as_dict())
            atomic.write_json(self.folder.shards / receipt_name(shard), proof)
        self._done.add(shard)

    def _has_receipt(self, shard: int) -> bool:
        with suppress(StoreError):
            self.folder.receipt(shard, self.plan, self.n_rows)
            return True
        return False

    def _remove_orphans(self) -> None:
        """Remove old shards of unfinished numbers: a process died between shard and receipt."""
        with suppress(OSError):
            for entry in list(os.scandir(self.folder.shards)):
                match = SHARD_NAME.fullmatch(entry.name)
                if match and int(match[1]) not in self._done:
                    age = time.time() - entry.stat(follow_symlinks=False).st_mtime
                    if age > _ORPHAN_SECONDS:
                        os.unlink(self.folder.shards / entry.name)


@functools.cache
def _own_versions() -> dict[str, str]:
    versions = {}
    for name in ("featx", "numpy", "h5py"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
