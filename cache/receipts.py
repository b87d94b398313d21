"""All receipts of a key together, in arrays: read one by one only where they are not remembered.

A key of a billion rows has 16,000 receipts. What they say of their shards is kept as one memo beside the store, under
the times of the folder that they lie in, and so is found again without a look at a shard or a receipt. A memo that is
gone, damaged or out of date costs time: the receipts remain the only truth, and of those that are remembered only the
ones whose shard is still the one of its name are believed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from featx.cache import schema
from featx.cache.folder import KeyFolder, receipt_name
from featx.cache.memo import Memo
from featx.cache.schema import Plan, Receipt, ShardFile
from featx.core.file_stamps import file_stamp, is_settled
from featx.errors import StoreError

Array = np.ndarray[Any, Any]

FEW_SHARDS = 64
"""Receipts of so many shards are read each time: that takes milliseconds."""

_KIND = "receipts"
_RECORD = np.dtype([("index", "<i8"), ("sha256", "u1", 32), ("bytes", "<i8"), ("offset", "<i8"), ("receipt", "<i8")])
_NOTHING: Array = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Receipts(Sequence[ShardFile]):
    """What the sound receipts of a key say of their shards, in order.

    Parameters
    ----------
    plan : Plan
        How the rows are sharded.
    n_rows : int
        Rows of the key.
    records : structured ndarray, shape (m,)
        By shard, rising: ``index``, ``sha256``, ``bytes``, ``offset``, and the bytes of the ``receipt``'s own file.
    skipped : ndarray of int64, shape (k,)
        Rows of these shards that have no features, rising; the receipts themselves say why.
    other_bytes : int
        Bytes of what else lies in the folder.
    new : sequence of Receipt
        Those that were read just now: whether their shards are there is not known.
    """

    plan: Plan
    n_rows: int
    records: Array
    skipped: Array
    other_bytes: int = 0
    new: Sequence[Receipt] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[i] for i in range(len(self))[at]]
        record = self.records[at]
        start, stop = self.plan.span(int(record["index"]), self.n_rows)
        file = record["sha256"].tobytes().hex()
        return ShardFile(int(record["index"]), start, stop, file, int(record["bytes"]), int(record["offset"]))

    def __iter__(self) -> Iterator[ShardFile]:
        names = self.records["sha256"].tobytes().hex()
        columns = (self.records[name].tolist() for name in ("index", "bytes", "offset"))
        for at, (index, size, offset) in enumerate(zip(*columns, strict=True)):
            yield ShardFile(index, *self.plan.span(index, self.n_rows), names[64 * at : 64 * at + 64], size, offset)

    @property
    def is_whole(self) -> bool:
        """Whether there is one of every shard."""
        return len(self) == self.plan.shards(self.n_rows)

    @cached_property
    def numbers(self) -> list[int]:
        """The shards, rising."""
        return list(map(int, self.records["index"]))

    @property
    def bytes(self) -> int:
        """Bytes of the shards, their receipts, and what else lies in the folder."""
        return int(self.records["bytes"].sum() + self.records["receipt"].sum()) + self.other_bytes

    def has_rows(self, start: int, stop: int) -> Array:
        """Return the mask of the rows from `start` on, before `stop`, that these shards have features of."""
        mask = np.isin(np.arange(start, stop) // self.plan.shard_rows, self.records["index"])
        mask[self.skipped[slice(*np.searchsorted(self.skipped, [start, stop]))] - start] = False
        return mask

    def shards_with_skipped(self) -> list[int]:
        """Return the shards of which a row is skipped, rising."""
        return list(map(int, np.unique(self.skipped // self.plan.shard_rows)))


def receipts_of(folder: KeyFolder, plan: Plan, n_rows: int) -> Receipts:
    """Return the sound receipts of a key; a damaged one is none.

    Parameters
    ----------
    folder : KeyFolder
        Of the key; not a link.
    plan : Plan
        Its plan.
    n_rows : int
        Its rows.
    """
    if plan.shards(n_rows) <= FEW_SHARDS:
        return _merged(folder, plan, n_rows, None)
    memo = Memo(folder.path.parent.parent)
    stamp = _stamp(folder)
    known_stamp, known = _recall(memo, folder, plan, n_rows)
    if known is not None and stamp.any() and np.array_equal(stamp, known_stamp):
        return known
    found = _merged(folder, plan, n_rows, known)
    _remember(memo, folder, found, stamp)
    return found


def forget_receipts(folder: KeyFolder) -> None:
    """Remove what is remembered of a key that is going."""
    Memo(folder.path.parent.parent).forget(_KIND, {"key": folder.digest})


def _stamp(folder: KeyFolder) -> Array:
    """Return what changes with the names in the folder of the shards; zeros where that cannot be told yet."""
    with suppress(OSError):
        stamp = file_stamp(folder.shards)
        if is_settled(stamp):
            return np.array(stamp, np.int64)
    return np.zeros(4, np.int64)


def _merged(folder: KeyFolder, plan: Plan, n_rows: int, known: Receipts | None) -> Receipts:
    """Return the receipts that lie in the folder now: known ones by their shards' names, others read."""
    names = _names(folder)
    last = plan.shards(n_rows)
    numbers = sorted(index for index in folder.receipt_numbers() if index < last)
    kept = np.array([], np.int64) if known is None else _still_there(known, names, set(numbers))
    records = [known.records[kept]] if known is not None else []
    have = set() if known is None else {known.numbers[at] for at in kept.tolist()}
    new = list(_read(folder, plan, n_rows, [index for index in numbers if index not in have]))
    records.append(np.array([_record(folder, receipt) for receipt in new], _RECORD))
    joined = np.concatenate(records)
    rows = [row for receipt in new for row, _ in receipt.skipped]
    if known is not None and len(known.skipped):
        old = known.skipped[np.isin(known.skipped // plan.shard_rows, known.records["index"][kept])]
        rows += old.tolist()
    found = Receipts(plan, n_rows, joined[np.argsort(joined["index"])], np.sort(np.array(rows, np.int64)), 0, new)
    spoken_of = {receipt_name(index) for index in found.numbers} | {shard.file for shard in found}
    other = sum(_size(folder, name) for name in names if name not in spoken_of)
    return Receipts(plan, n_rows, found.records, found.skipped, other, new)


def _names(folder: KeyFolder) -> list[str]:
    with suppress(OSError):
        return [] if folder.shards.is_symlink() else os.listdir(folder.shards)
    return []


def _still_there(known: Receipts, names: Sequence[str], numbers: set[int]) -> Array:
    """Return which known receipts are there still, each with its shard and no other of that number."""
    files: dict[int, str] = {}
    for name in names:
        if match := schema.SHARD_NAME.fullmatch(name):
            number = int(match[1])
            files[number] = "" if number in files else name
    kept = [at for at, shard in enumerate(known) if shard.index in numbers and files.get(shard.index) == shard.file]
    return np.array(kept, np.int64)


def _read(folder: KeyFolder, plan: Plan, n_rows: int, numbers: Sequence[int]) -> Iterator[Receipt]:
    for index in numbers:
        with suppress(StoreError):
            yield folder.receipt(index, plan, n_rows)


def _record(folder: KeyFolder, receipt: Receipt) -> tuple[Any, ...]:
    sha256 = np.frombuffer(bytes.fromhex(receipt.sha256), np.uint8)
    return receipt.index, sha256, receipt.bytes, receipt.offset, _size(folder, receipt_name(receipt.index))


def _size(folder: KeyFolder, name: str) -> int:
    with suppress(OSError):
        return os.lstat(folder.shards / name).st_size
    return 0


def _remember(memo: Memo, folder: KeyFolder, found: Receipts, stamp: Array) -> None:
    """Remember the receipts whose shards are there, and the stamp if that is true of all."""
    there = np.ones(len(found), bool)
    for receipt in found.new:
        try:
            folder.check_sizes([receipt])
        except StoreError:
            there[np.searchsorted(found.records["index"], receipt.index)] = False
    records = found.records[there]
    skipped = found.skipped[np.isin(found.skipped // found.plan.shard_rows, records["index"])]
    head = np.array([*(stamp if there.all() else np.zeros(4)), found.other_bytes, len(records)], "<i8")
    data = head.tobytes() + records.tobytes() + skipped.astype("<i8").tobytes()
    memo.put_bytes(_KIND, {"key": folder.digest}, data)


def _recall(memo: Memo, folder: KeyFolder, plan: Plan, n_rows: int) -> tuple[Array, Receipts | None]:
    """Return the stamp and the receipts that were remembered; no receipts where they cannot be this plan's."""
    data = memo.get_bytes(_KIND, {"key": folder.digest}) or b""
    if len(data) < 48:
        return _NOTHING, None
    *_, other, n = head = np.frombuffer(data, "<i8", 6)
    end = 48 + int(n) * _RECORD.itemsize
    if not 0 <= n <= plan.shards(n_rows) or end > len(data) or (len(data) - end) % 8 or other < 0:
        return _NOTHING, None
    found = Receipts(
        plan, n_rows, np.frombuffer(data, _RECORD, int(n), 48), np.frombuffer(data, "<i8", offset=end), int(other)
    )
    return (head[:4], found) if _is_sound(found) else (_NOTHING, None)


def _is_sound(found: Receipts) -> bool:
    """Tell whether remembered receipts may be this key's: a store may be anybody's, and so may its memos."""
    plan, n_rows, index, skipped = found.plan, found.n_rows, found.records["index"], found.skipped
    if not (_rises(index, plan.shards(n_rows)) and _rises(skipped, n_rows)):
        return False
    rows = np.minimum(index * plan.shard_rows + plan.shard_rows, n_rows) - index * plan.shard_rows
    extra = found.records["bytes"] - found.records["offset"] - rows * plan.row_bytes
    fits = (found.records["offset"] >= 0) & (extra >= 0) & (found.records["offset"] + extra <= schema.EXTRA_BYTES)
    fits &= found.records["receipt"] >= 0
    return bool(fits.all() and np.isin(skipped // plan.shard_rows, index).all())


def _rises(numbers: Array, stop: int) -> bool:
    return not len(numbers) or bool(numbers[0] >= 0 and numbers[-1] < stop and (np.diff(numbers) > 0).all())
