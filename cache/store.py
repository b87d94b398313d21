"""The feature store: one folder per key under ``<home>/features``, and receipts as the only truth."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache import schema
from featx.cache.copies import ReusableRows, ReuseIndex, is_reused
from featx.cache.duplicates import find_duplicates
from featx.cache.entries import Entry, bytes_of, describe, digests_in
from featx.cache.folder import KeyFolder, lay_out
from featx.cache.key import FeatureKey
from featx.cache.receipts import Receipts, forget_receipts, receipts_of
from featx.cache.schema import Plan
from featx.cache.table import FeatureMatrix, FeatureTable
from featx.cache.writer import FeatureWriter
from featx.core import atomic
from featx.core.paths import home_folder
from featx.core.validation import check_path, shown
from featx.errors import CorruptStoreError, OptionError, StoreError, first_few, suggest

__all__ = ["Entry", "FeatureMatrix", "FeatureStore", "FeatureTable", "FeatureWriter"]

_LOCK = ".lock"

_SHOWN, _LISTED = 16, 10
"""Digits of a digest that an error shows, and how many digests it lists."""


class FeatureStore:
    """Features on disk, looked up by everything their values depend on.

    Parameters
    ----------
    home : path, optional
        featx's home folder; else ``FEATX_HOME``, else the user's cache folder. Nothing is created until
        something is written.

    Attributes
    ----------
    home : Path
        featx's home folder.

    Examples
    --------
    >>> import tempfile
    >>> store = FeatureStore(tempfile.mkdtemp())
    >>> store.ls()
    []
    >>> from featx import FeatureExtractor, load_source
    >>> few = load_source("digits", limit=20)
    >>> _ = FeatureExtractor("lenet5", "pool2", weights="random:0", store=store).transform(few)
    >>> [(entry.backbone, entry.layer) for entry in store.ls()]
    [('lenet5', 'pool2')]
    >>> store.open(store.ls()[0].digest, few)[0][0].shape
    (400,)
    """

    def __init__(self, home: str | os.PathLike[str] | None = None) -> None:
        if home is not None:
            check_path("store", home, "a FeatureStore or the path of featx's home folder")
        self.home = home_folder(home)
        self._features = self.home / "features"

    def folder(self, key: FeatureKey | str) -> Path:
        """Return the folder of a key, whether or not it exists.

        Parameters
        ----------
        key : FeatureKey or str
            The key, its digest, or the unique prefix of a stored one.

        Returns
        -------
        Path
            The folder; a full digest need not be stored.

        Raises
        ------
        OptionError
            No stored digest starts with it, or several do; they are listed.
        """
        if not isinstance(key, (str, FeatureKey)):
            raise OptionError(f"key is {shown(key)}, expected a FeatureKey or its digest", "FeatureStore.ls lists them")
        digest = key if isinstance(key, str) else key.digest
        return self._features / (digest if schema.DIGEST.fullmatch(digest) else self._whole(digest))

    def is_complete(self, key: FeatureKey | str) -> bool:
        """Tell whether every shard of the key's plan has a sound receipt.

        Parameters
        ----------
        key : FeatureKey or str
            The key, its digest, or the unique prefix of a stored one.

        Returns
        -------
        bool
            Also False if there are no features of this key.

        Raises
        ------
        OptionError
            No stored digest starts with it, or several do; they are listed.
        """
        folder = KeyFolder(self.folder(key))
        try:
            folder.refuse_links()
            plan, n_rows = folder.plan().plan, folder.key()["n_rows"]
        except StoreError:
            return False
        return receipts_of(folder, plan, n_rows).is_whole

    def open(self, key: FeatureKey | str, source: Any = None) -> FeatureTable:
        """Return a complete key's features.

        Parameters
        ----------
        key : FeatureKey or str
            The key, its digest, or the unique prefix of a stored one.
        source : Source, optional
            The key's images; adds ``y``, ``ids`` and ``classes``. Without it the ids are the stored ones.

        Returns
        -------
        FeatureTable
            Lazy: features are read on access.

        Raises
        ------
        StoreError
            There are no features of this key, or not all of them.
        CorruptStoreError
            A file differs from what was written; shards are checked when first read.
        OptionError
            The source has other rows than the key; no stored digest starts with it, or several do.
        """
        folder = KeyFolder(self.folder(key))
        folder.refuse_links()
        if not folder.has_plan():
            raise StoreError(f"no features {folder.digest[:12]} in {self._features}", "`featx extract` computes them")
        values, stored = folder.key(), folder.plan()
        plan, n_rows = stored.plan, values["n_rows"]
        if plan.dtype != values["dtype"]:
            raise folder.damaged(folder.path / schema.PLAN_FILE, "its dtype does not match the key")
        receipts = _all_receipts(folder, plan, n_rows)
        folder.check_sizes(receipts.new)
        folder.check_sidecars(values, stored)
        _check_source(source, values)
        self.touch(key)
        return FeatureTable(folder, values, stored, receipts, source)

    def writer(
        self,
        key: FeatureKey,
        plan: Plan,
        ids: Sequence[str],
        hashes: np.ndarray[Any, Any],
        about: Mapping[str, Any],
        reusable: Sequence[ReusableRows] = (),
    ) -> FeatureWriter:
        """Return a writer of the key's missing shards; the folder is created, or resumed with its own plan.

        Parameters
        ----------
        key : FeatureKey
            What the features are.
        plan : Plan
            How to compute and shard them; a plan already in the folder takes precedence.
        ids : sequence of str
            One name per row.
        hashes : ndarray of uint8 of shape (n, 32)
            The row hashes whose fingerprint is the key's.
        about : mapping
            JSON-able; recorded, not keyed: source, split, backbone, weights (as asked), created, versions (a
            mapping that goes into the receipts).
        reusable : sequence of ReusableRows
            What siblings have of the rows, from `reuse_index`.

        Returns
        -------
        FeatureWriter
            Takes features block by block; close it when done.

        Raises
        ------
        OptionError
            Ids, row hashes or the plan's dtype do not match the key.
        StoreError
            The folder cannot be written, or differs from what was written.
        """
        hashes = np.asarray(hashes)
        if schema.fingerprint(hashes) != key.rows or not len(ids) == len(hashes) == key.n_rows:
            raise OptionError(f"{len(ids)} ids and {len(hashes)} row hashes do not match the key's {key.n_rows} rows")
        if plan.dtype != key.dtype:
            raise OptionError(f"the plan stores {plan.dtype}, the key says {key.dtype}")
        folder = KeyFolder(self.folder(key))
        folder.refuse_links()
        atomic.make_folder(self._features)
        self._settle()
        # Equal images have rows of equal length, unless somebody made a store up.
        reusable = [reusable_rows for reusable_rows in reusable if reusable_rows.plan.columns == plan.columns]
        if not _is_started(folder):
            computed = ~is_reused(reusable, key.n_rows)
            computed[find_duplicates(hashes).rows] = False
            self._create(folder, key, plan, ids, hashes, computed, about)
        folder.check_sidecars(folder.key(), folder.plan())
        self.touch(key)
        versions = {str(name): str(version) for name, version in about.get("versions", {}).items()}
        return FeatureWriter(folder, ids, hashes, reusable, versions)

    def plan(self, key: FeatureKey | str) -> Plan | None:
        """Return the plan of a key that was started.

        Parameters
        ----------
        key : FeatureKey or str
            The key, its digest, or the unique prefix of a stored one.

        Returns
        -------
        Plan or None
            None if nothing was started.

        Raises
        ------
        OptionError
            No stored digest starts with it, or several do; they are listed.
        StoreError
            The key's folder is a link.
        """
        folder = KeyFolder(self.folder(key))
        folder.refuse_links()
        return folder.plan().plan if _is_started(folder) else None

    def reuse_index(self) -> ReuseIndex:
        """Search the store for rows that new keys may reuse.

        Returns
        -------
        ReuseIndex
            What is stored now; keys started later are not included.
        """
        return ReuseIndex(self._features)

    def ls(self) -> list[Entry]:
        """List what is stored; no shard is opened.

        Returns
        -------
        list of Entry
            One per key, most recently used first.
        """
        entries = [describe(KeyFolder(self._features / digest)) for digest in digests_in(self._features)]
        return sorted(entries, key=lambda entry: (-entry.last_used, entry.digest))

    def find(self, prefix: str) -> Entry:
        """Describe one key.

        Parameters
        ----------
        prefix : str
            A unique prefix of the digest.

        Returns
        -------
        Entry
            As `ls` lists it.

        Raises
        ------
        OptionError
            No stored digest starts with it, or several do; they are listed.
        """
        return describe(KeyFolder(self._features / self._whole(prefix)))

    def _whole(self, prefix: str) -> str:
        digests = digests_in(self._features)
        found = [digest for digest in digests if prefix and digest.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if found:
            shown = [digest[: max(_SHOWN, len(prefix) + 4)] for digest in found]
            near = first_few(shown, _LISTED)
            raise OptionError(f"{prefix!r:.80} matches {len(found)} digests: {near}", "give more digits")
        hint = suggest(prefix[:12], [digest[:12] for digest in digests]) or "`featx cache ls` lists them"
        raise OptionError(f"no features {prefix!r:.80} in {self._features}: no digest starts with it", hint)

    def remove(self, digest: str) -> int:
        """Remove a key's folder.

        Parameters
        ----------
        digest : str
            The digest, or a unique prefix of it.

        Returns
        -------
        int
            Bytes freed.

        Raises
        ------
        OptionError
            No stored digest starts with it, or several do; they are listed.
        StoreError
            There are no features with this digest, or their folder is a symbolic link, which is not removed.
        """
        folder = KeyFolder(self.folder(digest))
        if folder.path.is_symlink():
            raise StoreError(f"{folder.path} is a symbolic link, expected a folder", "remove the link yourself")
        if not folder.path.exists():
            raise StoreError(f"no features {folder.digest[:12]} in {self._features}", "see `featx cache ls`")
        size = bytes_of(folder)
        forget_receipts(folder)
        self._discard(folder.path)
        return size

    def touch(self, key: FeatureKey | str) -> None:
        """Record that the key was used now; a store that cannot be written is left unchanged.

        Parameters
        ----------
        key : FeatureKey or str
            The key, its digest, or the unique prefix of a stored one.

        Raises
        ------
        OptionError
            No stored digest starts with it, or several do; they are listed.
        """
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self.folder(key) / schema.USED_FILE, flags, 0o666)
            try:
                os.utime(fd)
            finally:
                os.close(fd)

    def _settle(self) -> None:
        """Remove what dead processes left, and make names durable that they may have made without living to sync."""
        atomic.tidy(self._features)
        _sync(self.home)
        _sync(self._features)

    def _create(
        self,
        folder: KeyFolder,
        key: FeatureKey,
        plan: Plan,
        ids: Sequence[str],
        hashes: np.ndarray[Any, Any],
        computed: np.ndarray[Any, Any],
        about: Mapping[str, Any],
    ) -> None:
        """Lay the folder out under a temporary name and rename it; a process that was quicker wins."""
        temporary = self._features / atomic.temporary_name()
        try:
            lay_out(temporary, key.as_dict(), plan, ids, hashes, computed, about)
            # The lock keeps a folder that another process has just made from being taken for a broken one.
            with atomic.locked(self._features / _LOCK):
                # Looked for first: without locks, a sound folder may come to be here at any moment, and stays.
                if os.path.lexists(folder.path) and not _is_started(folder):
                    self._discard(folder.path)
                _rename(temporary, folder.path)
        finally:
            if temporary.exists():
                with suppress(StoreError):
                    atomic.remove_tree(temporary)

    def _discard(self, path: Path) -> None:
        """Take a folder away at once, then remove its files: a kill in between leaves only rubbish."""
        rubbish = self._features / atomic.temporary_name()
        _rename(path, rubbish)
        if rubbish.exists():  # else another process took it away first
            atomic.remove_tree(rubbish)


def _rename(path: Path, to: Path) -> None:
    try:
        os.rename(path, to)
    except OSError as exc:
        # Another process made it: its folder is as good. Or took it away: nothing is left to be done.
        if exc.errno in (errno.EEXIST, errno.ENOTEMPTY) or not os.path.lexists(path):
            return
        raise atomic.storage_error(to, exc) from exc
    _sync(to.parent)


def _sync(folder: Path) -> None:
    try:
        atomic.sync_folder(folder)
    except OSError as exc:
        raise atomic.storage_error(folder, exc) from exc


def _is_started(folder: KeyFolder) -> bool:
    """Tell whether the folder has a sound plan: without one there is nothing in it to keep."""
    # Looked for before it is read: afterwards, it may be one that another process has laid out since.
    if not folder.has_plan():
        return False
    try:
        folder.plan()
    except CorruptStoreError:
        return False
    return True


def _all_receipts(folder: KeyFolder, plan: Plan, n_rows: int) -> Receipts:
    """Return a complete key's receipts; StoreError where some are missing or damaged."""
    found = receipts_of(folder, plan, n_rows)
    if found.is_whole:
        return found
    shards = plan.shards(n_rows)
    present = sum(index < shards for index in folder.receipt_numbers())
    if present == shards:
        for index in sorted(set(range(shards)) - set(found.numbers)):
            folder.receipt(index, plan, n_rows)  # says what is wrong with it
    raise StoreError(
        f"features {folder.digest[:12]} are incomplete: {min(present, len(found))} of {shards} shards",
        "run the command that computes them again: it resumes where it stopped",
    )


def _check_source(source: Any, key: Mapping[str, Any]) -> None:
    if source is None:
        return
    count = len(source.ids)
    if count != key["n_rows"] or (hasattr(source, "fingerprint") and source.fingerprint() != key["rows"]):
        raise OptionError(f"the source's {count} images are not the {key['n_rows']} that were extracted")
