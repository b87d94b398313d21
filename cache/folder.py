"""One key's folder: every file in it read with suspicion, and laid out wholly or not at all."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache import schema
from featx.cache.ids import StoredIds, max_ids_bytes, write_ids
from featx.cache.key import SCHEMA
from featx.cache.schema import Plan, Receipt, ShardFile
from featx.core import atomic
from featx.core.hashing import digest_of
from featx.core.paths import home_folder
from featx.core.specs import DTYPES
from featx.errors import CorruptStoreError, FeatxError, StoreError

_MAX_RECEIPT_BYTES = 32 << 20

_CHECKED_AT_ONCE = 64 << 20
"""Bytes of rows.bin, ids.json or computed.bin up to which it is hashed before any of it is needed."""

_CHUNK_ROWS = 1 << 20
"""Row hashes read or written at once: 32 MB."""

_OTHER_ROWS = "its row hashes do not match the key"
_OTHER_SIDECAR = "its SHA-256 is not the one in plan.json"

_checked: set[tuple[Any, ...]] = set()
"""Files whose SHA-256 this process has found right: (path, SHA-256, device, inode, size, mtime, ctime)."""


@dataclass(frozen=True)
class StoredPlan:
    """What plan.json holds: the plan, and the SHA-256 of ids.json and of computed.bin beside it."""

    plan: Plan
    ids_sha256: str
    computed_sha256: str


class KeyFolder:
    """The folder of one key, named by the key's digest; see `lay_out` for what is in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digest = path.name
        self.shards = path / schema.SHARDS
        home = "" if path.parent.parent == home_folder() else f" --home {shlex.quote(str(path.parent.parent))}"
        self.hint = (
            f"`featx cache verify {self.digest[:12]} --repair{home}` removes what is damaged; "
            "the next run recomputes it"
        )

    def refuse_links(self) -> None:
        """Raise CorruptStoreError when the folder, or that of its shards, is a link out of the store."""
        for path in (self.path, self.shards):
            if path.is_symlink():
                raise CorruptStoreError(f"{path} is a symbolic link, expected a folder", "remove the link")

    def damaged(self, path: Path, reason: str) -> CorruptStoreError:
        """Return the error for a file whose contents are not what featx wrote."""
        return CorruptStoreError(f"{path} is damaged: {reason}", self.hint)

    def key(self) -> dict[str, Any]:
        """Return the key; its digest is the folder's name and its fields have their types."""
        path = self.path / schema.KEY_FILE
        key = atomic.read_json(path, hint=self.hint)
        if not isinstance(key, dict) or not schema.same_digest(key, self.digest):
            raise self.damaged(path, "its digest does not match the folder's name")
        _refuse_newer(path, key)
        with self._meaning(path):
            schema.check_whole("n_rows", key.get("n_rows"), 0, schema.MAX_ROWS)
            schema.check_whole("schema", key.get("schema"), SCHEMA, SCHEMA)
        if key.get("dtype") not in DTYPES or not isinstance(key.get("rows"), str):
            raise self.damaged(path, "its dtype or rows are unknown")
        return key

    def has_plan(self) -> bool:
        """Tell whether there is a plan at all: without one the folder was never started."""
        return os.path.lexists(self.path / schema.PLAN_FILE)

    def plan(self) -> StoredPlan:
        """Return the plan."""
        path = self.path / schema.PLAN_FILE
        body = self._unsealed(path, atomic.MAX_JSON_BYTES)
        with self._meaning(path):
            schema.exact_fields("plan file", body, {"schema", "key", "ids_sha256", "computed_sha256", "plan"})
            plan = Plan.from_dict(body["plan"])
        return StoredPlan(plan, str(body["ids_sha256"]), str(body["computed_sha256"]))

    def about(self) -> dict[str, Any]:
        """Return what was recorded beside the key; nothing when it is damaged: no value depends on it."""
        with suppress(StoreError):
            about = self._unsealed(self.path / schema.ABOUT_FILE, atomic.MAX_JSON_BYTES).get("about")
            return about if isinstance(about, dict) else {}
        return {}

    def receipt_numbers(self) -> set[int]:
        """Return the shards that have a receipt, by name alone."""
        found: set[int] = set()
        if self.shards.is_symlink():
            return found
        with suppress(OSError):
            for entry in os.scandir(self.shards):
                match = schema.RECEIPT_NAME.fullmatch(entry.name)
                if match and entry.name == receipt_name(int(match[1])):
                    found.add(int(match[1]))
        return found

    def receipt(self, index: int, plan: Plan, n_rows: int) -> Receipt:
        """Return one receipt, checked against the plan."""
        path = self.shards / receipt_name(index)
        body = self._unsealed(path, max_receipt_bytes(plan))
        with self._meaning(path):
            schema.exact_fields("receipt file", body, {"schema", "key", "receipt"})
            return Receipt.from_dict(body["receipt"], index, plan, n_rows)

    def row_hashes(self, key: Mapping[str, Any]) -> np.ndarray[Any, Any]:
        """Return the (n, 32) uint8 row hashes, whose fingerprint is the key's."""
        path = self.path / schema.ROWS_FILE
        n_rows = key["n_rows"]
        self._check_rows_file(key)
        data = atomic.read_bytes(path, n_rows * schema.HASH_BYTES, self.hint)
        if len(data) == n_rows * schema.HASH_BYTES:
            hashes = np.frombuffer(data, np.uint8).reshape(n_rows, schema.HASH_BYTES)
            if schema.fingerprint(hashes) == key["rows"]:
                return hashes
        raise self.damaged(path, _OTHER_ROWS)

    def row_hash_chunks(self, key: Mapping[str, Any]) -> Iterator[np.ndarray[Any, Any]]:
        """Yield the row hashes, (m, 32) uint8 each; CorruptStoreError, after the last, where they are not the key's."""
        path, digest = self.path / schema.ROWS_FILE, hashlib.sha256(schema.fingerprint_prefix(key["n_rows"]))
        self._check_rows_file(key)
        with atomic.opened(path, self.hint) as fd, open(fd, "rb", closefd=False) as file:
            while data := file.read(_CHUNK_ROWS * schema.HASH_BYTES):
                digest.update(data)
                whole = len(data) // schema.HASH_BYTES * schema.HASH_BYTES
                yield np.frombuffer(data, np.uint8, whole).reshape(-1, schema.HASH_BYTES)
        if digest.hexdigest() != key["rows"]:
            raise self.damaged(path, _OTHER_ROWS)

    def _check_rows_file(self, key: Mapping[str, Any]) -> None:
        """Raise CorruptStoreError unless rows.bin holds a hash for each row that the key claims.

        What is read or allocated for so many rows then was really handed over: hashes leave no hole in a file.
        """
        path, n_bytes = self.path / schema.ROWS_FILE, key["n_rows"] * schema.HASH_BYTES
        with atomic.opened(path, self.hint) as fd:
            size = os.fstat(fd).st_size
            if size != n_bytes:
                raise self.damaged(path, f"it has {size:,} bytes, expected {n_bytes:,} for {key['n_rows']:,} rows")
            if atomic.has_hole(fd, size):
                raise self.damaged(path, "a part of it was never written")

    def ids(self, key: Mapping[str, Any], stored: StoredPlan) -> StoredIds:
        """Return the ids of all rows, as the source that was extracted first named them."""
        path = self.path / schema.IDS_FILE
        self._check_rows_file(key)
        with atomic.opened(path, self.hint) as fd:
            if atomic.has_hole(fd, os.fstat(fd).st_size):
                raise self.damaged(path, "a part of it was never written")
        return StoredIds(path, key["n_rows"], stored.ids_sha256, self.hint)

    def computed(self, key: Mapping[str, Any], stored: StoredPlan) -> np.ndarray[Any, Any]:
        """Return the (n,) mask of rows that were to be computed; the others are copies of equal rows."""
        path = self.path / schema.COMPUTED_FILE
        n_rows = key["n_rows"]
        self._check_rows_file(key)
        data = atomic.read_bytes(path, -(-n_rows // 8), self.hint)
        if hashlib.sha256(data).hexdigest() != stored.computed_sha256 or len(data) != -(-n_rows // 8):
            raise self.damaged(path, _OTHER_SIDECAR)
        return np.unpackbits(np.frombuffer(data, np.uint8), count=n_rows).astype(bool)

    def check_sidecars(self, key: Mapping[str, Any], stored: StoredPlan) -> None:
        """Check rows.bin, ids.json and computed.bin, once per process, without holding them in memory.

        The SHA-256 of large ones is left to whoever reads them, who checks it in any case: opening a key takes the
        same time for any number of rows.
        """
        for name in (schema.ROWS_FILE, schema.IDS_FILE, schema.COMPUTED_FILE):
            self.check_sidecar(name, key, stored, once=True)

    def check_sidecar(self, name: str, key: Mapping[str, Any], stored: StoredPlan, *, once: bool = False) -> None:
        """Check one of the files that hold something of each row, without holding it in memory.

        Parameters
        ----------
        name : str
            ``rows.bin``, ``ids.json`` or ``computed.bin``.
        key, stored : dict, StoredPlan
            What they must match.
        once : bool
            Whether it is enough that this process found it right before, and, of a large one, its size.
        """
        self._check_rows_file(key)
        n_rows = key["n_rows"]
        most, wanted, prefix, other = {
            schema.ROWS_FILE: (
                n_rows * schema.HASH_BYTES,
                key["rows"],
                schema.fingerprint_prefix(n_rows),
                _OTHER_ROWS,
            ),
            schema.IDS_FILE: (max_ids_bytes(n_rows), stored.ids_sha256, b"", _OTHER_SIDECAR),
            schema.COMPUTED_FILE: (-(-n_rows // 8), stored.computed_sha256, b"", _OTHER_SIDECAR),
        }[name]
        path = self.path / name
        with atomic.opened(path, self.hint) as fd:
            status = os.fstat(fd)
            if status.st_size > most or atomic.has_hole(fd, status.st_size):
                raise self.damaged(path, f"it has {status.st_size:,} bytes, expected at most {most:,}, all written")
            token = _token(path, wanted, status)
            if once and (token in _checked or status.st_size > _CHECKED_AT_ONCE):
                return
            if atomic.sha256_of(fd, prefix=prefix) != wanted:
                raise self.damaged(path, other)
            _checked.add(token)

    def check_sizes(self, receipts: Sequence[ShardFile]) -> None:
        """Raise CorruptStoreError for a shard that is absent or has not its receipt's size."""
        for receipt in receipts:
            path = self.shards / receipt.file
            try:
                size = os.lstat(path).st_size
            except OSError as exc:
                raise self.damaged(path, f"its receipt is there but the shard is not ({exc.strerror})") from exc
            if size != receipt.bytes:
                raise self.damaged(path, f"it has {size:,} bytes, its receipt says {receipt.bytes:,}")

    @contextmanager
    def shard(self, receipt: ShardFile) -> Iterator[int]:
        """Yield a descriptor of a shard whose bytes were found to be the receipt's, in this process."""
        path = self.shards / receipt.file
        self.check_sizes([receipt])
        with atomic.opened(path, self.hint) as fd:
            token = _token(path, receipt.sha256, os.fstat(fd))
            if token not in _checked:
                if atomic.sha256_of(fd) != receipt.sha256:
                    raise self.damaged(path, "its SHA-256 does not match its receipt")
                _checked.add(token)
            yield fd

    def fill(self, fd: int, receipt: ShardFile, row_bytes: int, row: int, rest: memoryview) -> None:
        """Read the rows of a shard from `row` of the key on into the bytes `rest`."""
        at = receipt.offset + (row - receipt.start) * row_bytes
        while rest:
            got = os.preadv(fd, [rest], at)
            if got == len(rest):
                return
            if got == 0:
                raise self.damaged(self.shards / receipt.file, "it ends before its last row")
            rest, at = rest[got:], at + got

    def _unsealed(self, path: Path, max_bytes: int) -> dict[str, Any]:
        body = schema.unseal(path, atomic.read_json(path, max_bytes, self.hint), self.hint)
        _refuse_newer(path, body)
        if body.get("key") != self.digest or body.get("schema") != SCHEMA:
            raise self.damaged(path, "it belongs to another key or another version of featx")
        return body

    @contextmanager
    def _meaning(self, path: Path) -> Iterator[None]:
        """Turn a complaint about a value into one about the file that it was read from."""
        try:
            yield
        except StoreError:
            raise
        except FeatxError as exc:
            raise self.damaged(path, exc.message) from exc


def receipt_name(index: int) -> str:
    """Return the file name of a shard's receipt."""
    return f"{index:05d}.json"


def max_receipt_bytes(plan: Plan) -> int:
    """Return the largest receipt of a plan's shard: every row skipped, each character of the reason escaped."""
    return min(_MAX_RECEIPT_BYTES, (64 << 10) + plan.shard_rows * (12 * schema.MAX_REASON + 64))


def _refuse_newer(path: Path, body: Mapping[str, Any]) -> None:
    """Raise StoreError for a sound file of a later version of featx: it is not damaged, and nothing of it is lost."""
    version = body.get("schema")
    if type(version) is int and version > SCHEMA:
        raise StoreError(
            f"{path} was written by a newer featx (schema {version}, this one reads {SCHEMA})",
            "`pip install --upgrade featx`",
        )


def _token(path: Path, sha256: str, status: os.stat_result) -> tuple[Any, ...]:
    times = (status.st_mtime_ns, status.st_ctime_ns)  # the second cannot be put back
    return str(path), sha256, status.st_dev, status.st_ino, status.st_size, *times


def sealed_file(digest: str, **parts: Any) -> dict[str, Any]:
    """Return the contents of a file that names its key and carries the hash of its own values."""
    return schema.seal({"schema": SCHEMA, "key": digest, **parts})


def lay_out(
    path: Path,
    key: Mapping[str, Any],
    plan: Plan,
    ids: Sequence[str],
    hashes: np.ndarray[Any, Any],
    computed: np.ndarray[Any, Any],
    about: Mapping[str, Any],
) -> None:
    """Fill the new folder `path`: key, ids, row hashes, record, and last the plan: then all is there."""
    digest = digest_of(dict(key))
    atomic.make_folder(path / schema.SHARDS)
    atomic.write_json(path / schema.KEY_FILE, dict(key))
    ids_sha256 = write_ids(path / schema.IDS_FILE, ids)
    with atomic.replacing(path / schema.ROWS_FILE, hashes.nbytes) as fd:
        for start in range(0, len(hashes), _CHUNK_ROWS):
            atomic.write_all(fd, hashes[start : start + _CHUNK_ROWS].tobytes())
    atomic.write_json(path / schema.ABOUT_FILE, sealed_file(digest, about=dict(about)))
    mask = np.packbits(computed).tobytes()
    atomic.write_bytes(path / schema.COMPUTED_FILE, mask)
    sidecars = {"ids_sha256": ids_sha256, "computed_sha256": hashlib.sha256(mask).hexdigest()}
    atomic.write_json(path / schema.PLAN_FILE, sealed_file(digest, **sidecars, plan=plan.as_dict()))
