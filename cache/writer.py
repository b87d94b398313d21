"""Writing features: rows are gathered into shards, each on the disk, receipt and all, once it is full.

A row has up to three numbers. Where nothing else is said, it is a row of the source, counted over all shards. A shard
counts its rows from 0 (`_OpenShard.inside`). A sibling has numbers of its own for equal rows, which `ReusableRows`
keeps to itself: what it reads comes with rows of the source.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np

from featx.cache import schema
from featx.cache.claims import Claims
from featx.cache.copies import ReusableRows, is_reused, read_rows
from featx.cache.duplicates import NONE, find_duplicates
from featx.cache.folder import KeyFolder, receipt_name, sealed_file
from featx.cache.ids import StoredIds
from featx.cache.receipts import receipts_of
from featx.cache.schema import MAX_REASON, SHARD_NAME, Receipt, renamed
from featx.core import atomic
from featx.core.packages import version
from featx.errors import OptionError, StoreError

_ORPHAN_SECONDS = 3600
"""Age from which a shard without a receipt was left by a dead process: living ones need milliseconds."""

Array = np.ndarray[Any, Any]


@dataclass
class _OpenShard:
    """A shard that is being gathered.

    Parameters
    ----------
    number, block : int
        Which one, and the block that it is claimed with.
    start, stop : int
        Its first row of the source, and the one after its last.
    due : ndarray of int64
        Rows of the source that are put, rising; the shard's others are copies.
    values : ndarray of shape (stop - start, columns), optional
        By row of the shard; made with the first row.
    put : int
        How many of `due` were.
    skipped : dict of int to str
        By row of the source: why it has no features.
    seconds : dict of str to float
        By stage.
    """

    number: int
    block: int
    start: int
    stop: int
    due: Array
    values: Array | None = None
    put: int = 0
    skipped: dict[int, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def inside(self, rows: Array) -> Array:
        """Return rows of the source as rows of the shard."""
        return rows - self.start


class FeatureWriter:
    """Writes one key's missing shards, block by block; made by `FeatureStore.writer`.

    A row is put, or it is a copy: of an equal row of the same key, or of a sibling's. Which rows are put was settled
    when the key was started, so that a resumed run gives the bytes of an uninterrupted one; what a sibling lent then
    and has no more is put too.

    Parameters
    ----------
    folder : KeyFolder
        Laid out already.
    ids : sequence of str
        One name a row.
    hashes : ndarray of uint8, shape (n, 32)
        The row hashes, found to be the key's.
    reusable : sequence of ReusableRows
        What siblings have of the rows.
    versions : dict
        Programs that compute the features, for the receipts.

    Attributes
    ----------
    plan : Plan
        The folder's own plan.
    n_rows : int
        Rows of the key.
    todo : ndarray of bool, shape (n_rows,)
        Rows that are put, whether they are there already or not.
    n_put : int
        Rows that were put here.
    """

    def __init__(
        self,
        folder: KeyFolder,
        ids: Sequence[str],
        hashes: Array,
        reusable: Sequence[ReusableRows],
        versions: Mapping[str, str],
    ) -> None:
        key, stored = folder.key(), folder.plan()
        self.folder = folder
        self.plan = stored.plan
        self.n_rows: int = key["n_rows"]
        computed = folder.computed(key, stored)
        self._duplicates = NONE if computed.all() else find_duplicates(hashes)
        borrowed = ~computed
        borrowed[self._duplicates.rows[computed[self._duplicates.first]]] = False
        if borrowed.any():  # what is not lent any more is put
            computed |= borrowed & ~is_reused(reusable, self.n_rows)
        self.todo = computed
        self._ids = ids
        self._reusable = reusable if borrowed.any() else ()
        self._versions = {**_own_versions(), **versions}
        atomic.tidy(folder.path)
        atomic.tidy(folder.shards)
        self._done: set[int] = set()
        # What is left, by block, rising: asked for with every shard, so it must not be counted again each time.
        blocks = range(self.plan.blocks(self.n_rows))
        self._left = {block: len(self.plan.shards_of(block, self.n_rows)) for block in blocks}
        self._rows_left: int = self.n_rows
        for shard in receipts_of(folder, self.plan, self.n_rows).numbers:
            self._finish(shard)
        self._remove_orphans()
        self.n_put = 0
        self._queue: deque[_OpenShard] = deque()
        self._claims = Claims(folder.path / schema.LOCK_FILE)

    def missing(self) -> list[int]:
        """Return the numbers of the shards without a receipt, rising, as far as is known here."""
        shards = (shard for block in self._left for shard in self.plan.shards_of(block, self.n_rows))
        return [shard for shard in shards if shard not in self._done]

    def blocks(self) -> list[int]:
        """Return the blocks that lack a shard, rising."""
        return list(self._left)

    def lacks(self, block: int) -> bool:
        """Tell whether a block lacks a shard, as far as is known here."""
        return block in self._left

    def rows_of(self, shard: int) -> tuple[int, int]:
        """Return a shard's first row and the one after its last."""
        return self.plan.span(shard, self.n_rows)

    def due(self, block: int | None = None) -> Array:
        """Return the rows that are still to be put, of a block or of all, rising."""
        shards = range(self.plan.shards(self.n_rows)) if block is None else self.plan.shards_of(block, self.n_rows)
        spans = [self.rows_of(shard) for shard in shards if shard not in self._done]
        rows = [start + np.flatnonzero(self.todo[start:stop]) for start, stop in spans]
        return np.concatenate(rows) if rows else np.empty(0, np.int64)

    def refresh(self) -> None:
        """Look which shards other processes finished."""
        self._look_at(self.folder.receipt_numbers())

    def claim(self, block: int, force: bool = False) -> bool:
        """Take a block to work on; False while another process has it, or has not finished what it copies from.

        Shards that are nothing but copies are written at once.

        Parameters
        ----------
        block : int
            One of `blocks`.
        force : bool
            Whoever has it: the work may then be done twice.
        """
        if any(part.block == block for part in self._queue):
            return True
        if not self._claims.take(block) and not force:
            return False
        # Not at all shards: a store of a billion rows has 16,000, each of which would be asked for so often.
        self._look_at(self.plan.shards_of(block, self.n_rows))
        missing = [shard for shard in self.plan.shards_of(block, self.n_rows) if shard not in self._done]
        if not missing or not self._can_copy(missing):
            self._claims.drop(block)
            return not missing
        for shard in missing:
            start, stop = self.rows_of(shard)
            due = start + np.flatnonzero(self.todo[start:stop])
            self._queue.append(_OpenShard(shard, block, start, stop, due))
        self._advance()
        return True

    def waits(self, block: int) -> bool:
        """Tell whether a block copies from shards that are neither finished nor claimed here."""
        shards = self.plan.shards_of(block, self.n_rows)
        return not self._can_copy([shard for shard in shards if shard not in self._done])

    def release(self, block: int) -> None:
        """Let go of a claimed block of which nothing was put yet; what were copies alone is written and stays."""
        self._queue = deque(part for part in self._queue if part.block != block)
        self._claims.drop(block)

    def put(
        self,
        rows: Array,
        X: Array,
        skipped: Sequence[tuple[int, str]] = (),
        seconds: Mapping[str, float] | None = None,
    ) -> None:
        """Take some rows of claimed blocks; a shard that they complete is written at once.

        Rows of finished shards are ignored, and rows that are copies. Within a shard rows come in rising order,
        without gaps.

        Parameters
        ----------
        rows : ndarray of int64, shape (m,)
            Rows of the source, rising.
        X : ndarray of shape (m, columns)
            Their features, in the plan's dtype.
        skipped : sequence of (row, reason)
            Rows of the source, among these, that have no features; they are stored as NaN.
        seconds : mapping, optional
            Time by stage that these rows took; counted for the shard of the first of them that is wanted.

        Raises
        ------
        DiskFullError, StoreError
            The shard could not be written; earlier ones stay.
        """
        self._check_rows(rows, X, skipped)
        spent = dict(seconds or {})
        reasons = dict(skipped)
        at = 0
        while at < len(rows):
            shard = int(rows[at]) // self.plan.shard_rows
            end = int(np.searchsorted(rows, self.rows_of(shard)[1]))
            if shard not in self._done:
                wanted = at + np.flatnonzero(self.todo[rows[at:end]])
                self._gather(shard, rows[wanted], X[wanted], reasons, spent)
                spent = {}
            at = end

    def close(self) -> None:
        """Forget rows of unfinished shards and let go of what was claimed; finished ones are on the disk already."""
        self._queue.clear()
        self._claims.close()

    def __enter__(self) -> FeatureWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_rows(self, rows: Array, X: Array, skipped: Sequence[tuple[int, str]]) -> None:
        if X.ndim != 2 or X.shape[1] != self.plan.columns or X.dtype != self.plan.stored:
            raise OptionError(
                f"features are {X.dtype} {X.shape}, expected {self.plan.dtype} (rows, {self.plan.columns}) "
                f"as {self.folder.path / schema.PLAN_FILE} says",
                f"if they are right, `featx cache rm {self.folder.digest[:12]}` removes that plan",
            )
        if len(rows) != len(X) or (np.diff(rows) <= 0).any():
            raise OptionError(f"{len(rows)} rows for {len(X)} features, expected one each, in ascending order")
        if len(rows) and not 0 <= rows[0] <= rows[-1] < self.n_rows:
            raise OptionError(f"rows {rows[0]} to {rows[-1]}, expected some of 0 to {self.n_rows - 1}")
        if skipped and not {row for row, _ in skipped} <= set(rows.tolist()):
            raise OptionError("some skipped rows are not among those written")

    def _gather(
        self, shard: int, rows: Array, X: Array, reasons: Mapping[int, str], seconds: Mapping[str, float]
    ) -> None:
        if not self._queue or self._queue[0].number != shard:
            raise OptionError(f"rows {rows[0]} to {rows[-1]} were written, but their block was not claimed first")
        part = self._queue[0]
        due = part.due[part.put : part.put + len(rows)]
        if not np.array_equal(rows, due):
            wanted = f"row {part.due[part.put]} is next" if part.put < len(part.due) else "all are there"
            raise OptionError(f"row {rows[0]} was written where {wanted}")
        self._values(part)[part.inside(rows)] = X
        part.put += len(rows)
        self.n_put += len(rows)
        for row in rows.tolist():
            if row in reasons:
                part.skipped[row] = self._kept(str(reasons[row]), self._ids[row], row)
        for stage, spent in seconds.items():
            part.seconds[stage] = part.seconds.get(stage, 0.0) + float(spent)
        self._advance()

    def _values(self, part: _OpenShard) -> Array:
        if part.values is None:  # only now: a block's shards may be too much for the memory together
            part.values = np.empty((part.stop - part.start, self.plan.columns), self.plan.stored)
        return part.values

    def _advance(self) -> None:
        """Write the shards in front that have all that is put."""
        while self._queue and self._queue[0].put == len(self._queue[0].due):
            part = self._queue[0]
            if not self._has_receipt(part.number):  # unless a process that took no notice of claims was quicker
                self._fill_in_copies(part)
                self._write(part)
            self._finish(part.number)
            self._queue.popleft()
            if not any(other.block == part.block for other in self._queue):
                self._claims.drop(part.block)

    def _finish(self, shard: int) -> None:
        """Count a shard as done."""
        if shard in self._done:
            return
        self._done.add(shard)
        start, stop = self.rows_of(shard)
        self._rows_left -= stop - start
        block = start // self.plan.block_rows
        self._left[block] -= 1
        if not self._left[block]:
            del self._left[block]

    def _look_at(self, shards: Iterable[int]) -> None:
        """Look which of these shards other processes finished."""
        # What is gathered here is done once it is written here, even if a process without locks was quicker.
        gathered = {part.number for part in self._queue}
        for shard in shards:
            if shard in self._done or shard in gathered or shard >= self.plan.shards(self.n_rows):
                continue
            if self._has_receipt(shard):
                self._finish(shard)

    def _can_copy(self, shards: Sequence[int]) -> bool:
        """Tell whether the shards that these copy from are finished, or will be first."""
        sources = {source for shard in shards for source in self._sources(shard).tolist()}
        sources -= {*shards, *(part.number for part in self._queue)}
        self._look_at(sources)
        return sources <= self._done

    def _copied(self, shard: int) -> tuple[Array, Array]:
        """Return the rows of a shard that equal an earlier row which is put, and that row of each."""
        found = self._duplicates.between(*self.rows_of(shard))
        copied = ~self.todo[found.rows] & self.todo[found.first]
        return found.rows[copied], found.first[copied]

    def _sources(self, shard: int) -> Array:
        """Return the shards that hold what a shard's rows are copies of; itself may be one."""
        return np.unique(self._copied(shard)[1] // self.plan.shard_rows)

    def _fill_in_copies(self, part: _OpenShard) -> None:
        """Fill in the rows that nobody puts: a sibling has them, or they equal an earlier row."""
        self._copy_from_siblings(part)
        copies, originals = self._copied(part.number)
        here = originals >= part.start
        values = self._values(part)
        values[part.inside(copies[here])] = values[part.inside(originals[here])]
        finished = self._receipts_of_sources(part.number)
        values[part.inside(copies[~here])] = read_rows(self.folder, self.plan, finished, originals[~here])
        reasons = {row: why for receipt in finished.values() for row, why in receipt.skipped} | part.skipped
        for copy, original in zip(copies.tolist(), originals.tolist(), strict=True):
            if original in reasons:  # equal bytes fail equally, under a name of their own
                part.skipped[copy] = self._kept(reasons[original], self._stored_ids[original], copy)

    def _copy_from_siblings(self, part: _OpenShard) -> None:
        for reusable_rows in self._reusable:
            rows, X = reusable_rows.read(part.start, part.stop)
            borrowed = ~self.todo[rows]
            self._values(part)[part.inside(rows[borrowed])] = X[borrowed]

    def _receipts_of_sources(self, shard: int) -> dict[int, Receipt]:
        """Return the receipts of the finished shards that a shard copies from."""
        others = [number for number in self._sources(shard).tolist() if number != shard]
        return {number: self.folder.receipt(number, self.plan, self.n_rows) for number in others}

    @functools.cached_property
    def _stored_ids(self) -> StoredIds:
        """The ids under which the key was started: reasons are kept under them, whoever resumes."""
        return self.folder.ids(self.folder.key(), self.folder.plan())

    def _kept(self, reason: str, name: str, row: int) -> str:
        return renamed(reason, name, self._stored_ids[row])[:MAX_REASON]

    def _write(self, part: _OpenShard) -> None:
        """Write a gathered shard, then its receipt."""
        values = self._values(part)
        values[part.inside(np.array(sorted(part.skipped), np.int64))] = np.nan
        data, offset = schema.shard_image(values, self.folder.digest, part.start)
        receipt = Receipt(
            index=part.number,
            start=part.start,
            stop=part.stop,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            offset=offset,
            skipped=[[row, part.skipped[row]] for row in sorted(part.skipped)],
            seconds=part.seconds,
            versions=self._versions,
        )
        atomic.write_bytes(self.folder.shards / receipt.file, data, needed=self._bytes_missing())
        proof = sealed_file(self.folder.digest, receipt=receipt.as_dict())
        atomic.write_json(self.folder.shards / receipt_name(part.number), proof)

    def _bytes_missing(self) -> int:
        """Return the bytes of features that are still to be written: what a full disk has to have room for."""
        return self._rows_left * self.plan.row_bytes

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


def _own_versions() -> dict[str, str]:
    versions = {}
    for name in ("featx", "numpy", "h5py"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = version(name)
    return versions
