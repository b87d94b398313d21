"""What keeps a store small and sound: removing damaged parts, and keys that were not used recently."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from featx.cache import schema
from featx.cache.claims import HELD
from featx.cache.entries import digests_in
from featx.cache.folder import KeyFolder, receipt_name
from featx.cache.store import FeatureStore
from featx.cache.verify import Fault, Findings, RepairAction
from featx.core import atomic
from featx.errors import StoreError


def in_use(folder: Path) -> bool:
    """Tell whether another process holds a lock on any part of a key's ``lock`` file.

    Where the file system has no locks nothing counts as in use: a lock only saves work, a writer whose folder is
    gone says so and can start again. A process does not see its own locks, and loses them by asking.
    """
    try:
        fd = os.open(folder / schema.LOCK_FILE, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        return exc.errno in HELD
    finally:
        os.close(fd)
    return False


@dataclass
class Repair:
    """What a repair removed and what it left: lines for people, and faults."""

    removed: list[Path] = field(default_factory=list)
    left: list[tuple[Fault, str]] = field(default_factory=list)
    whole: bool = False


def repair(store: FeatureStore, found: Findings, dry_run: bool = False) -> Repair:
    """Remove what `verify_key` found damaged, so that the next run computes just that again.

    A bad shard goes with its receipt. Where the key, plan, ids or row hashes are damaged no shard can be read, and the
    key's folder goes as a whole. What could not be read for want of permission, say, and keys that a process is
    writing stay. Links are removed, never followed.

    Raises
    ------
    StoreError
        Something could not be removed.
    """
    done = Repair(left=[(fault, "cannot be read") for fault in found.faults if fault.mend is RepairAction.NOTHING])
    faults = [fault for fault in found.faults if fault.mend is not RepairAction.NOTHING]
    folder = KeyFolder(store.folder(found.digest))
    if faults and in_use(folder.path):
        done.left += [(fault, "in use by another process") for fault in faults]
    elif any(fault.mend is RepairAction.FOLDER for fault in faults):
        done.whole = True
        done.removed.append(folder.path)
        if not dry_run:
            store.remove(found.digest)
    else:
        for fault in faults:
            paths = [fault.path] if fault.mend is RepairAction.RECORD else _shard_files(folder, fault.shard)
            done.removed += paths
            if not dry_run:
                _remove_files(paths)
    return done


def _shard_files(folder: KeyFolder, index: int) -> list[Path]:
    """Return a shard's receipt, and after it all files that may hold its rows."""
    names = [match for match in map(schema.SHARD_NAME.fullmatch, sorted(os.listdir(folder.shards))) if match]
    receipt = folder.shards / receipt_name(index)
    return [receipt, *(folder.shards / match[0] for match in names if int(match[1]) == index)]


def _remove_files(paths: Sequence[Path]) -> None:
    for path in paths:
        if os.path.lexists(path):
            atomic.remove_tree(path)
    with suppress(OSError):
        atomic.sync_folder(paths[0].parent)


class Listed(Protocol):
    """What can be chosen to go: a key's entry, or a run's."""

    @property
    def digest(self) -> str:
        """The name by which it is asked for."""

    @property
    def bytes(self) -> int:
        """Size on the disk."""

    @property
    def last_used(self) -> float:
        """When it was last used, in seconds since 1970."""


E = TypeVar("E", bound=Listed)


@dataclass
class Choice(Generic[E]):
    """Which entries are to go and why, least recently used first; which were spared because they are in use."""

    going: list[tuple[E, str]] = field(default_factory=list)
    busy: list[E] = field(default_factory=list)
    staying: list[E] = field(default_factory=list)

    @property
    def bytes_left(self) -> int:
        """Bytes of what stays."""
        return sum(entry.bytes for entry in [*self.busy, *self.staying])


def choose(
    entries: Sequence[E],
    now: float,
    max_bytes: int | None = None,
    max_age: float | None = None,
    busy: Callable[[E], bool] = lambda entry: False,
) -> Choice[E]:
    """Choose what to remove: all that is older than `max_age`, then the least recently used ones above `max_bytes`.

    Parameters
    ----------
    entries : sequence of Entry or RunEntry
        As `FeatureStore.ls` and `featx.runs.entries.entries_of` return them.
    now : float
        Seconds since 1970, against which ages are taken.
    max_bytes : int, optional
        What the entries may take together.
    max_age : float, optional
        Seconds since the last use.
    busy : callable
        Tells whether an entry is in use and must stay.
    """
    chosen: Choice[E] = Choice()
    total = sum(entry.bytes for entry in entries)
    for entry in sorted(entries, key=lambda entry: (entry.last_used, entry.digest)):
        old = max_age is not None and now - entry.last_used > max_age
        large = max_bytes is not None and total > max_bytes
        if not (old or large):
            chosen.staying.append(entry)
        elif busy(entry):
            chosen.busy.append(entry)
        else:
            chosen.going.append((entry, "not used recently" if old else "least recently used"))
            total -= entry.bytes
    return chosen


def sweep(store: FeatureStore) -> None:
    """Remove temporary files and folders that dead processes left in a store, as far as that is allowed."""
    features = store.home / "features"
    atomic.tidy(store.home)  # whole stores, of runs that were repeated
    atomic.tidy(features)
    for digest in digests_in(features):
        folder = KeyFolder(features / digest)
        atomic.tidy(folder.path)
        if not folder.shards.is_symlink():
            atomic.tidy(folder.shards)
    memo = store.home / "memo"
    if not memo.is_symlink():
        atomic.tidy(memo)


def remove_unless_used(store: FeatureStore, digest: str) -> int | None:
    """Remove a key and return the bytes freed: 0 when it is gone already, None when it is in use."""
    folder = store.folder(digest)
    if in_use(folder):
        return None
    try:
        return store.remove(digest)
    except StoreError:
        if folder.exists():
            raise
        return 0
