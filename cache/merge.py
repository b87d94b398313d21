"""Uniting stores: jobs that each computed some shards of a key in a store of their own."""

from __future__ import annotations

import errno
import functools
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from featx.cache import schema
from featx.cache.entries import digests_in
from featx.cache.folder import KeyFolder, receipt_name, sealed_file
from featx.cache.schema import Plan, Receipt
from featx.cache.store import FeatureStore
from featx.cache.verify import verify_shard
from featx.core import atomic
from featx.errors import CorruptStoreError, OptionError, StoreError

_SIDECARS = (
    schema.KEY_FILE,
    schema.IDS_FILE,
    schema.ROWS_FILE,
    schema.COMPUTED_FILE,
    schema.ABOUT_FILE,
    schema.PLAN_FILE,
)
"""What is copied beside the shards; the plan last, as when a folder is laid out."""

_NAMED = 5
"""So many missing shards are named."""


@dataclass
class Part:
    """What is to be copied of one key: receipts, each with the folder that holds its shard."""

    digest: str
    plan: Plan
    n_rows: int
    first: KeyFolder
    shards: list[tuple[KeyFolder, Receipt]] = field(default_factory=list)
    whole: bool = False

    @property
    def bytes(self) -> int:
        """Bytes of the shards to be copied."""
        return sum(receipt.bytes for _, receipt in self.shards)


def plan_merge(target: FeatureStore, homes: Sequence[Path], *, partial: bool = False) -> list[Part]:
    """Return what merging the stores at `homes` into `target` would copy; nothing is written.

    Parameters
    ----------
    target : FeatureStore
        Where to.
    homes : sequence of Path
        The other stores' home folders.
    partial : bool
        Also keys of which all stores together lack shards: who asks for their features computes the rest.

    Raises
    ------
    OptionError
        A home holds no store, or is the target.
    CorruptStoreError
        A folder is not what it says: a link, a name that is not its key's digest, another version's, a bad receipt.
    StoreError
        Two stores computed a key under different plans, or a shard to different bytes; the union has gaps, and is not
        to be `partial`.
    """
    folders: dict[str, list[KeyFolder]] = {}
    for home in homes:
        for folder in _folders_of(home, target):
            folders.setdefault(folder.digest, []).append(folder)
    return [_plan_key(KeyFolder(target.folder(digest)), folders[digest], partial) for digest in sorted(folders)]


def check_parts(parts: Sequence[Part], tick: Callable[[int], None]) -> None:
    """Read every shard that is to be copied; StoreError for one that is not its receipt's."""
    for part in parts:
        for folder, receipt in part.shards:
            verify_shard(folder, receipt, part.plan, tick)


def copy_parts(target: FeatureStore, parts: Sequence[Part], tick: Callable[[int], None]) -> None:
    """Copy shards, each followed by its receipt: interrupted, it leaves a sound store that has some more of them.

    Raises
    ------
    DiskFullError, StoreError
        A file could not be written; what was copied so far stays.
    CorruptStoreError
        A shard changed since it was checked.
    """
    features = target.home / "features"
    atomic.make_folder(features)
    atomic.tidy(features)
    _check_room(features, sum(part.bytes for part in parts))
    for part in parts:
        folder = KeyFolder(target.folder(part.digest))
        folder.refuse_links()
        if part.shards and not folder.has_plan():
            _copy_frame(part.first, folder)
        for source, receipt in part.shards:
            _copy_shard(source, receipt, folder, tick)


def _folders_of(home: Path, target: FeatureStore) -> list[KeyFolder]:
    """Return a store's key folders; anything else among them is refused."""
    features = home / "features"
    if home.exists() and target.home.exists() and os.path.samefile(home, target.home):
        raise OptionError(f"{home} is the store to merge into", "leave it out")
    if not features.is_dir():
        raise OptionError(f"{home} holds no feature store: there is no folder {features}", "give the home of a store")
    digests = digests_in(features)
    for name in sorted(os.listdir(features)):
        path = features / name
        if name not in digests and not name.startswith(".") and (path.is_dir() or path.is_symlink()):
            kind = "a symbolic link" if path.is_symlink() else "a folder that is not named after a key"
            raise CorruptStoreError(f"{path} is {kind}, expected keys' folders only", "remove it, or move it elsewhere")
    return [KeyFolder(features / digest) for digest in digests]


def _plan_key(there: KeyFolder, sources: Sequence[KeyFolder], partial: bool) -> Part:
    known = [*([there] if os.path.lexists(there.path) else []), *sources]
    part: Part | None = None
    held: dict[int, tuple[KeyFolder, Receipt]] = {}
    for folder in known:
        plan, n_rows, receipts = _read(folder)
        if part is None:
            part = Part(there.digest, plan, n_rows, folder)
        if part.whole:
            continue
        if plan != part.plan:
            raise _differ(part.first, folder, _plan_difference(part.plan, plan))
        for receipt in receipts:
            other, before = held.setdefault(receipt.index, (folder, receipt))
            if before.sha256 != receipt.sha256:
                rows = f"rows {receipt.start:,} to {receipt.stop:,}"
                raise _differ(other, folder, f"shard {receipt.index} ({rows}) has different bytes in each")
        part.whole = folder is there and len(held) == plan.shards(n_rows)
    assert part is not None
    if not partial:
        _refuse_gaps(part, set(held))
    part.shards = [held[index] for index in sorted(held) if held[index][0] is not there]
    return part


def _read(folder: KeyFolder) -> tuple[Plan, int, list[Receipt]]:
    """Return plan, number of rows and receipts of a folder in which all but the shards' bytes is checked."""
    folder.refuse_links()
    key, stored = folder.key(), folder.plan()
    if stored.plan.dtype != key["dtype"]:
        raise folder.damaged(folder.path / schema.PLAN_FILE, "its dtype does not match the key")
    folder.check_sidecar(schema.ROWS_FILE, key, stored)
    folder.check_sidecar(schema.COMPUTED_FILE, key, stored)
    folder.ids(key, stored)
    n_rows = key["n_rows"]
    numbers = sorted(folder.receipt_numbers())
    if numbers and numbers[-1] >= stored.plan.shards(n_rows):
        raise folder.damaged(
            folder.shards / receipt_name(numbers[-1]), f"there are {stored.plan.shards(n_rows)} shards"
        )
    receipts = [folder.receipt(index, stored.plan, n_rows) for index in numbers]
    folder.check_sizes(receipts)
    return stored.plan, n_rows, receipts


def _differ(a: KeyFolder, b: KeyFolder, what: str) -> StoreError:
    return StoreError(
        f"{a.path} and {b.path} do not match: {what}",
        f"remove one of them: `featx cache rm {b.digest[:12]} --home {b.path.parent.parent}`",
    )


def _plan_difference(a: Plan, b: Plan) -> str:
    ours, theirs = a.as_dict(), b.as_dict()
    parts = [f"{name} {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    return f"they were computed under different plans ({', '.join(parts)})"


def _refuse_gaps(part: Part, held: set[int]) -> None:
    missing = [index for index in range(part.plan.shards(part.n_rows)) if index not in held]
    if not missing:
        return
    spans = [part.plan.span(index, part.n_rows) for index in missing[:_NAMED]]
    named = ", ".join(
        f"{index} (rows {start:,} to {stop:,})" for index, (start, stop) in zip(missing, spans, strict=False)
    )
    more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
    raise StoreError(
        f"features {part.digest[:12]} have gaps: of {part.plan.shards(part.n_rows)} shards no store has {named}{more}",
        "name the store of every job; a job that was killed resumes when it is run again; or use --partial",
    )


def _check_room(features: Path, needed: int) -> None:
    """Raise DiskFullError where the shards cannot all be copied: known before the first one."""
    with suppress(OSError):
        if shutil.disk_usage(features).free < needed:
            raise atomic.storage_error(features, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), needed)


def _copy_frame(source: KeyFolder, folder: KeyFolder) -> None:
    """Copy all but the shards to a temporary folder, check the copy there, and rename it."""
    features = folder.path.parent
    temporary = features / atomic.temporary_name()
    copy = KeyFolder(temporary / folder.digest)
    try:
        atomic.make_folder(copy.shards)
        for name in _SIDECARS:
            if name == schema.ABOUT_FILE and not source.about():
                continue
            with atomic.opened(source.path / name, source.hint) as fd:
                _copy_open(fd, copy.path / name)
        _read(copy)
        _rename(copy.path, folder.path)
    finally:
        with suppress(StoreError):
            if temporary.exists():
                atomic.remove_tree(temporary)


def _copy_open(fd: int, to: Path) -> str:
    """Copy an open file and return the SHA-256 of what was written."""
    with atomic.replacing(to, os.fstat(fd).st_size) as out:
        return atomic.sha256_of(fd, functools.partial(atomic.write_all, out))


def _rename(path: Path, to: Path) -> None:
    try:
        os.rename(path, to)
        atomic.sync_folder(to.parent)
    except OSError as exc:
        if exc.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise atomic.storage_error(to, exc) from exc
        raise StoreError(f"{to} was created by another process in the meantime", "run the command again") from exc


def _copy_shard(source: KeyFolder, receipt: Receipt, folder: KeyFolder, tick: Callable[[int], None]) -> None:
    """Copy one shard, hashing what is written, then write its receipt."""
    path = source.shards / receipt.file
    with atomic.opened(path, source.hint) as fd, atomic.replacing(folder.shards / receipt.file, receipt.bytes) as out:
        if atomic.sha256_of(fd, functools.partial(atomic.write_all, out)) != receipt.sha256:
            raise source.damaged(path, "its SHA-256 does not match its receipt")
    tick(receipt.bytes)
    proof = sealed_file(folder.digest, receipt=receipt.as_dict())
    atomic.write_json(folder.shards / receipt_name(receipt.index), proof)
