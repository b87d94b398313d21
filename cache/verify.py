"""Checking all that is stored of a key, whatever this process believes to have checked already."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from featx.cache import schema
from featx.cache.contents import flaw_inside
from featx.cache.entries import digests_in
from featx.cache.folder import KeyFolder, StoredPlan, receipt_name
from featx.cache.key import SCHEMA
from featx.cache.schema import Plan, Receipt
from featx.core import atomic
from featx.errors import StoreError

_KNOWN = {
    schema.KEY_FILE,
    schema.PLAN_FILE,
    schema.IDS_FILE,
    schema.ROWS_FILE,
    schema.COMPUTED_FILE,
    schema.ABOUT_FILE,
    schema.USED_FILE,
    schema.SHARDS,
    schema.LOCK_FILE,
}

_DAMAGE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP)
"""Errors on opening that mean another file or none is there; others may be temporary, such as a lost permission."""


class RepairAction(Enum):
    """What must go so that the next run computes it again."""

    SHARD = "shard"
    FOLDER = "folder"
    RECORD = "record"
    NOTHING = "nothing"


@dataclass(frozen=True)
class Fault:
    """A file that is not what featx wrote.

    Parameters
    ----------
    path : Path
        The file or folder.
    reason : str
        What was found and expected.
    mend : Mend
        What a repair removes; NOTHING for a file that could not be read at all.
    shard : int
        Number of the shard, where `mend` is SHARD.
    """

    path: Path
    reason: str
    mend: RepairAction
    shard: int = -1


@dataclass
class Findings:
    """What the check of one key found; `notes` are (path, remark) that make nothing wrong."""

    digest: str
    shards: int = 0
    faults: list[Fault] = field(default_factory=list)
    notes: list[tuple[Path, str]] = field(default_factory=list)

    def add(self, path: Path, exc: StoreError, mend: RepairAction, shard: int = -1) -> None:
        """Note a fault; one caused by the operating system is left to whoever can fix that."""
        cause = exc.__cause__
        out_of_reach = isinstance(cause, OSError) and cause.errno not in _DAMAGE
        reason = exc.message.removeprefix(f"{path} ").removeprefix("is damaged: ")
        self.faults.append(Fault(path, reason, RepairAction.NOTHING if out_of_reach else mend, shard))


def verify_key(folder: KeyFolder, tick: Callable[[int], None]) -> Findings:
    """Check every file of a key; `tick` is given the bytes of shards as they are read.

    The bytes of all shards are read and hashed again, and their HDF5 is compared with the receipts. What is wrong is
    returned, not raised.
    """
    found = Findings(folder.digest)
    if (version := _other_version(folder)) is not None:
        found.notes.append((folder.path, f"written by another version of featx (schema {version}), not checked"))
        return found
    frame = _check_frame(folder, found)
    if frame is not None:
        _check_shards(folder, *frame, found, tick)
    if found.faults and not folder.path.exists():
        return Findings(folder.digest, notes=[(folder.path, "removed by another process in the meantime")])
    _note_strays(folder, found)
    return found


def verify_shard(folder: KeyFolder, receipt: Receipt, plan: Plan, tick: Callable[[int], None]) -> None:
    """Raise StoreError unless a shard's bytes, read again, match its receipt and its HDF5 holds the rows."""
    path = folder.shards / receipt.file
    folder.check_sizes([receipt])
    with atomic.opened(path, folder.hint) as fd:
        if atomic.sha256_of(fd, lambda block: tick(len(block))) != receipt.sha256:
            raise folder.damaged(path, "its SHA-256 does not match its receipt")
        if flaw := flaw_inside(fd, receipt, plan, folder.digest):
            raise folder.damaged(path, flaw)


def stray_names(features: Path) -> list[Path]:
    """Return what is next to the key folders and belongs to no key."""
    known = {*digests_in(features), ".lock"}
    return sorted(path for path in _listing(features) if path.name not in known)


def _other_version(folder: KeyFolder) -> int | None:
    """Return the schema of a key that is whole but not this version's."""
    try:
        folder.refuse_links()
        key = atomic.read_json(folder.path / schema.KEY_FILE)
    except StoreError:
        return None
    if isinstance(key, dict) and schema.same_digest(key, folder.digest):
        version = key.get("schema")
        return version if type(version) is int and version != SCHEMA else None
    return None


def _check_frame(folder: KeyFolder, found: Findings) -> tuple[Mapping[str, Any], Plan] | None:
    """Check what the shards rely on; without it nothing of the key can be read."""
    path = folder.shards if folder.shards.is_symlink() else folder.path
    try:
        folder.refuse_links()
        path = folder.shards
        os.listdir(path)
        path = folder.path / schema.KEY_FILE
        key = folder.key()
        path = folder.path / schema.PLAN_FILE
        stored = folder.plan()
        if stored.plan.dtype != key["dtype"]:
            raise folder.damaged(path, "its dtype does not match the key")
    except StoreError as exc:
        found.add(path, exc, RepairAction.FOLDER)
        return None
    except OSError as exc:
        unreadable = StoreError(f"{path} cannot be read: {exc.strerror or exc}")
        unreadable.__cause__ = exc
        found.add(path, unreadable, RepairAction.FOLDER)
        return None
    _check_sidecars(folder, key, stored, found)
    return key, stored.plan


def _check_sidecars(folder: KeyFolder, key: Mapping[str, Any], stored: StoredPlan, found: Findings) -> None:
    checks: dict[str, Callable[[], object]] = {
        schema.ROWS_FILE: lambda: folder.check_sidecar(schema.ROWS_FILE, key, stored),
        schema.IDS_FILE: lambda: deque(folder.ids(key, stored), maxlen=0),  # each is read, none is kept
        schema.COMPUTED_FILE: lambda: folder.check_sidecar(schema.COMPUTED_FILE, key, stored),
    }
    for name, check in checks.items():
        try:
            check()
        except StoreError as exc:
            found.add(folder.path / name, exc, RepairAction.FOLDER)
            if name == schema.ROWS_FILE:
                break  # how much the others may claim is not known without it
    about = folder.path / schema.ABOUT_FILE
    if not os.path.lexists(about):
        found.notes.append((about, "missing: the names of its source and weights are not known"))
        return
    try:
        body = schema.unseal(about, atomic.read_json(about), folder.hint)
        if body.get("key") != folder.digest or not isinstance(body.get("about"), dict):
            raise folder.damaged(about, "it belongs to another key")
    except StoreError as exc:
        found.add(about, exc, RepairAction.RECORD)


def _check_shards(
    folder: KeyFolder, key: Mapping[str, Any], plan: Plan, found: Findings, tick: Callable[[int], None]
) -> None:
    n_shards = plan.shards(key["n_rows"])
    present = {index for index in folder.receipt_numbers() if index < n_shards}
    spoken_of = {receipt_name(index) for index in present}
    for index in sorted(present):
        path = folder.shards / receipt_name(index)
        try:
            receipt = folder.receipt(index, plan, key["n_rows"])
            path = folder.shards / receipt.file
            spoken_of.add(receipt.file)
            verify_shard(folder, receipt, plan, tick)
        except StoreError as exc:
            found.add(path, exc, RepairAction.SHARD, index)
        found.shards += 1
    if len(present) < n_shards:
        found.notes.append((folder.path, f"incomplete: {len(present)} of {n_shards} shards"))
    _note_orphans(folder, present, spoken_of, found)


def _note_orphans(folder: KeyFolder, present: set[int], spoken_of: set[str], found: Findings) -> None:
    """Note files among the shards that no receipt speaks of."""
    faulty = {fault.shard for fault in found.faults}
    for path in _listing(folder.shards):
        match = schema.SHARD_NAME.fullmatch(path.name)
        number = int(match[1]) if match else -1
        if path.name not in spoken_of and (number < 0 or number not in faulty):
            orphan = number >= 0 and number not in present
            found.notes.append((path, "a shard without a receipt" if orphan else _stray(path)))


def _note_strays(folder: KeyFolder, found: Findings) -> None:
    found.notes += [(path, _stray(path)) for path in _listing(folder.path) if path.name not in _KNOWN]


def _stray(path: Path) -> str:
    return "a temporary file" if atomic.is_temporary(path.name) else "belongs to nothing, left alone"


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder)) if not folder.is_symlink() else []
    except OSError:
        return []
