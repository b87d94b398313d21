"""What `featx cache ls` shows of a key's folder, from names, sizes and small files alone."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.cache import schema
from featx.cache.folder import KeyFolder
from featx.cache.receipts import FEW_SHARDS, receipts_of
from featx.errors import StoreError


@dataclass(frozen=True)
class Entry:
    """One line of `featx cache ls`; unreadable text is empty.

    Parameters
    ----------
    digest : str
        SHA-256 of the key, in hexadecimal.
    source : str
        The images' source, as given.
    split : str
        Which split of the source they are.
    backbone : str
        The network's name.
    weights : str
        Its weights, as given.
    layer : str
        ``NODE`` or ``NODE:POOLING``.
    rows : int
        Rows of the key, skipped ones included.
    columns : int
        Values per row; 0 if no plan can be read.
    bytes : int
        Size on disk.
    complete : bool
        Whether every shard has a receipt.
    last_used : float
        In seconds since 1970.
    """

    digest: str
    source: str
    split: str
    backbone: str
    weights: str
    layer: str
    rows: int
    columns: int
    bytes: int
    complete: bool
    last_used: float


def digests_in(features: Path) -> list[str]:
    """Return the names of the key folders below a store's ``features``, sorted; links are none."""
    with suppress(OSError):
        entries = [entry for entry in os.scandir(features) if entry.is_dir(follow_symlinks=False)]
        return sorted(entry.name for entry in entries if schema.DIGEST.fullmatch(entry.name))
    return []


def describe(folder: KeyFolder) -> Entry:
    """Describe one folder; what cannot be read is left blank, so that it can still be seen and removed."""
    key: dict[str, Any] = {"n_rows": 0}
    plan = None
    with suppress(StoreError):
        folder.refuse_links()
        key = folder.key()
        plan = folder.plan().plan
    about = folder.about()
    shards = plan.shards(key["n_rows"]) if plan else 0
    if plan and shards > FEW_SHARDS:
        receipts = receipts_of(folder, plan, key["n_rows"])
        complete, size = receipts.is_whole, _bytes_in(folder.path) + receipts.bytes
    else:
        complete = plan is not None and sum(index < shards for index in folder.receipt_numbers()) == shards
        size = bytes_of(folder)
    return Entry(
        digest=folder.digest,
        source=_printable(about.get("source")),
        split=_printable(about.get("split")),
        backbone=_printable(about.get("backbone") or key.get("backbone")),
        weights=_printable(about.get("weights") or key.get("weights")),
        layer=_printable(key.get("layer")),
        rows=key["n_rows"],
        columns=plan.columns if plan else 0,
        bytes=size,
        complete=complete,
        last_used=last_used(folder),
    )


def _printable(value: Any) -> str:
    """Return one line without control characters: the file may be anybody's."""
    text = str(value if value is not None else "")[:500]
    return "".join(char if char.isprintable() else "?" for char in text)


def last_used(folder: KeyFolder) -> float:
    """Return when a key was last used, in seconds since 1970, or when it was made."""
    for path in (folder.path / schema.USED_FILE, folder.path):
        with suppress(OSError):
            return os.lstat(path).st_mtime
    return 0.0


def bytes_of(folder: KeyFolder) -> int:
    """Sum the sizes of a key's files; none is opened."""
    return sum(_bytes_in(path) for path in (folder.path, folder.shards))


def _bytes_in(path: Path) -> int:
    size = 0
    if not path.is_symlink():
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False):
                    size += entry.stat(follow_symlinks=False).st_size
    return size
