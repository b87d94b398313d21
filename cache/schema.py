"""What is on the disk: names, the plan, receipts, and the bytes of a shard."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from featx.cache.key import SCHEMA
from featx.core.hashing import digest_of
from featx.core.specs import DTYPES
from featx.core.validation import check_choice
from featx.errors import CorruptStoreError, OptionError, printable

DATASET = "X"
KEY_FILE = "key.json"
IDS_FILE = "ids.json"
ROWS_FILE = "rows.bin"
ABOUT_FILE = "about.json"
PLAN_FILE = "plan.json"
COMPUTED_FILE = "computed.bin"
LOCK_FILE = "lock"
USED_FILE = "used"
SHARDS = "shards"
HASH_BYTES = 32
"""Bytes of one row's hash in rows.bin."""

UNREADABLE = hashlib.sha256(b"featx: unreadable").digest()
"""Begins as whatever stands for a row that could not be read; older keys have it whole, whatever the reason."""

_UNREADABLE_BYTES = 16
"""So many bytes of it tell such a row from content."""

_BEGINNING = np.frombuffer(UNREADABLE, np.uint8, _UNREADABLE_BYTES)

SHARD_BYTES = 64_000_000
"""Most bytes of features in one shard, unless a single row is larger."""

SHARD_ROWS = (1024, 65_536)
SHARDS_WANTED = 32

MAX_ROWS = 2**40
MAX_COLUMNS = 2**31
MAX_REASON = 200
"""Characters kept of the reason why a row was skipped."""

EXTRA_BYTES = 1 << 16
"""Most bytes of a shard that are not its rows; featx's own have about two thousand."""

DIGEST = re.compile(r"[0-9a-f]{64}")
RECEIPT_NAME = re.compile(r"([0-9]{5,12})\.json")
SHARD_NAME = re.compile(r"([0-9]{5,12})-[0-9a-f]{12}\.h5")


@dataclass(frozen=True)
class Plan:
    """How one key's features are computed and cut; fixed at the first start, so that resumed bytes are equal.

    Parameters
    ----------
    batch_size : int
        Images in one forward pass.
    block_rows : int
        Rows that one process works on at a time, and no batch reaches beyond: a whole number of shards of every layer
        of the pass.
    shard_rows, columns : int
        Rows of a shard (the last one may have fewer), values of a row.
    dtype : str
        ``float32`` or ``float16``, as stored.
    layers : tuple of str
        All layers of the pass that computes this one.
    channels_last, compiled : bool
        Whether weights lie channels last in memory, and whether operators are fused where the device has such ones;
        both may change a feature's last bits.
    """

    batch_size: int
    block_rows: int
    shard_rows: int
    columns: int
    dtype: str
    layers: tuple[str, ...]
    channels_last: bool = False
    compiled: bool = False

    def __post_init__(self) -> None:
        check_choice("dtype", self.dtype, DTYPES)
        check_whole("batch_size", self.batch_size, 1, MAX_ROWS)
        check_whole("columns", self.columns, 1, MAX_COLUMNS)
        check_whole("shard_rows", self.shard_rows, 1, MAX_ROWS)
        check_whole("block_rows", self.block_rows, self.shard_rows, MAX_ROWS)
        if self.block_rows % self.shard_rows:
            raise OptionError(f"blocks of {self.block_rows} rows, expected whole shards of {self.shard_rows}")
        if self.shard_rows > 1 and self.shard_rows * self.row_bytes > SHARD_BYTES:
            raise OptionError(
                f"a shard of {self.shard_rows} rows has {self.shard_rows * self.row_bytes:,} bytes, "
                f"expected at most {SHARD_BYTES:,}"
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.columns * self.stored.itemsize

    @property
    def stored(self) -> np.dtype[Any]:
        """The dtype of the stored values: little-endian everywhere."""
        return np.dtype(self.dtype).newbyteorder("<")

    def shards(self, n_rows: int) -> int:
        """Return the number of shards of `n_rows` rows."""
        return -(-n_rows // self.shard_rows)

    def span(self, shard: int, n_rows: int) -> tuple[int, int]:
        """Return the first row of a shard and the one after its last."""
        start = shard * self.shard_rows
        return start, min(start + self.shard_rows, n_rows)

    def blocks(self, n_rows: int) -> int:
        """Return the number of blocks of `n_rows` rows."""
        return -(-n_rows // self.block_rows)

    def shards_of(self, block: int, n_rows: int) -> range:
        """Return the shards of a block."""
        per_block = self.block_rows // self.shard_rows
        return range(block * per_block, min((block + 1) * per_block, self.shards(n_rows)))

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {**asdict(self), "layers": list(self.layers)}

    @classmethod
    def from_dict(cls, values: Any) -> Plan:
        """Rebuild from `as_dict`; OptionError for anything else."""
        values = exact_fields("plan", values, {f.name for f in fields(cls)})
        layers = values["layers"]
        if not (isinstance(layers, list) and all(isinstance(layer, str) for layer in layers)):
            raise OptionError("the plan's layers are not a list of names")
        if not (isinstance(values["channels_last"], bool) and isinstance(values["compiled"], bool)):
            raise OptionError("the plan's channels_last or compiled is not true or false")
        return cls(**{**values, "layers": tuple(layers)})


@dataclass(frozen=True)
class ShardFile:
    """One shard's rows, and the file that holds them.

    Parameters
    ----------
    index, start, stop : int
        The shard, its first row, the row after its last.
    sha256 : str
        Of the shard file, whose name it is part of: a receipt cannot point at other bytes.
    bytes, offset : int
        Size of the file; where in it the rows begin, contiguous and little-endian.
    """

    index: int
    start: int
    stop: int
    sha256: str
    bytes: int
    offset: int

    @property
    def file(self) -> str:
        """Name of the shard file: made from the receipt, never read from it."""
        return f"{self.index:05d}-{self.sha256[:12]}.h5"


@dataclass(frozen=True)
class Receipt(ShardFile):
    """Proof that one shard is whole; a shard without one does not exist.

    Parameters
    ----------
    index, start, stop, sha256, bytes, offset : int and str
        As `ShardFile`.
    skipped : list of [row, reason]
        Rows whose image could not be decoded; stored as NaN.
    seconds : dict
        Time by stage.
    versions : dict
        Of the programs that computed the shard.
    """

    skipped: list[list[Any]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, index: int, plan: Plan, n_rows: int) -> Receipt:
        """Rebuild from `as_dict`; OptionError unless it is this shard of this plan and fits in its file."""
        receipt = cls(**exact_fields("receipt", values, {f.name for f in fields(cls)}))
        start, stop = plan.span(index, n_rows)
        found = (receipt.index, receipt.start, receipt.stop)
        if found != (index, start, stop) or any(type(number) is not int for number in found):  # 2.0 == 2
            raise OptionError(f"the receipt is not for rows {start} to {stop}")
        if not (isinstance(receipt.sha256, str) and DIGEST.fullmatch(receipt.sha256)):
            raise OptionError("the receipt's sha256 is not a SHA-256")
        check_whole("offset", receipt.offset, 0, 2**62)
        size = (stop - start) * plan.row_bytes
        check_whole("bytes", receipt.bytes, receipt.offset + size, 2**62)
        if receipt.bytes > size + EXTRA_BYTES:
            extra = f"{receipt.bytes - size:,} bytes besides its rows"
            raise OptionError(f"the receipt says {extra}, expected at most {EXTRA_BYTES:,}")
        _check_skipped(receipt.skipped, start, stop)
        _check_table("seconds", receipt.seconds, (int, float))
        _check_table("versions", receipt.versions, (str,))
        return receipt


def _check_skipped(skipped: Any, start: int, stop: int) -> None:
    if not isinstance(skipped, list):
        raise OptionError("the receipt's skipped rows are not a list")
    before = start - 1
    for entry in skipped:
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)):
            raise OptionError("a skipped row is not a pair of row and reason")
        check_whole("skipped row", entry[0], before + 1, stop - 1)
        before = entry[0]


def _check_table(name: str, table: Any, kinds: tuple[type, ...]) -> None:
    if not (isinstance(table, dict) and all(type(value) in kinds for value in table.values())):
        raise OptionError(f"the receipt's {name} are not a table of {kinds[-1].__name__} values")


def unreadable(reason: str) -> bytes:
    """Return what stands for the content of a row that cannot be read for this reason, which names it; 32 bytes.

    Rows that cannot be read for other reasons, or under other names, are other rows: what is told of them is kept with
    the features.
    """
    told = hashlib.sha256(reason.encode("utf-8", "backslashreplace")).digest()
    return UNREADABLE[:_UNREADABLE_BYTES] + told[:_UNREADABLE_BYTES]


def is_unreadable(hashes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the (n,) mask of row hashes, uint8 (n, 32), that stand for rows which could not be read."""
    mask: np.ndarray[Any, Any] = (hashes[:, :_UNREADABLE_BYTES] == _BEGINNING).all(axis=1)
    return mask


def renamed(reason: str, name: str, other: str) -> str:
    """Return why an image was skipped, told of one of equal content that has another id."""
    told = f"image {printable(name)}"
    if not reason.startswith((f"{told} ", f"{told}:")):
        return reason
    return f"image {printable(other)}{reason.removeprefix(told)}"


def check_whole(name: str, value: Any, low: int, high: int) -> None:
    """Raise OptionError unless `value` is a whole number from `low` to `high`."""
    if type(value) is not int or not low <= value <= high:
        raise OptionError(f"{name} is {value!r:.40}, expected a whole number from {low} to {high}")


def exact_fields(name: str, values: Any, names: set[str]) -> dict[str, Any]:
    """Return `values` when it is a dictionary with exactly these names, else raise OptionError."""
    if not isinstance(values, dict) or set(values) != names:
        raise OptionError(f"the {name} does not have the fields {', '.join(sorted(names))}")
    return values


def seal(body: Mapping[str, Any]) -> dict[str, Any]:
    """Add the hash of its own values to a dictionary that is to be written."""
    return {**body, "check": digest_of(dict(body))}


def unseal(path: Path, value: Any, hint: str) -> dict[str, Any]:
    """Return what was sealed; CorruptStoreError when a value changed since."""
    if isinstance(value, dict):
        body = {name: part for name, part in value.items() if name != "check"}
        if same_digest(body, value.get("check")):
            return body
    raise CorruptStoreError(f"{path} is damaged: its values do not match its hash", hint)


def same_digest(value: Any, digest: Any) -> bool:
    """Tell whether `digest_of(value)` is `digest`; a value without one (1e999) equals none."""
    try:
        return bool(digest_of(value) == digest)
    except (ValueError, RecursionError):
        return False


def fingerprint(hashes: np.ndarray[Any, Any]) -> str:
    """Return the SHA-256, in hexadecimal, over the (n, 32) uint8 row hashes in order and their number."""
    if hashes.ndim != 2 or hashes.shape[1] != HASH_BYTES or hashes.dtype != np.uint8:
        raise OptionError(f"row hashes {hashes.dtype} {hashes.shape}, expected uint8 (n, {HASH_BYTES})")
    digest = hashlib.sha256(fingerprint_prefix(len(hashes)))
    digest.update(np.ascontiguousarray(hashes).data if len(hashes) else b"")
    return digest.hexdigest()


def fingerprint_prefix(n_rows: int) -> bytes:
    """Return what stands before the row hashes in what their fingerprint is the SHA-256 of."""
    return b"%d:" % n_rows


def plan_shard_rows(n_rows: int, row_bytes: int) -> int:
    """Return the rows of a shard: about ``n_rows / 32``, 1,024 to 65,536, at most 64 MB, at least one.

    Always a power of two: shards of layers with rows of different lengths end at the same rows.
    """
    low, high = SHARD_ROWS
    wanted = min(max(-(-n_rows // SHARDS_WANTED), low), high)
    return min(1 << (wanted - 1).bit_length(), 1 << max(1, SHARD_BYTES // row_bytes).bit_length() - 1)


def shard_image(X: np.ndarray[Any, Any], key_digest: str, start: int) -> tuple[bytes, int]:
    """Return an HDF5 file's bytes and where in them the rows begin.

    The file is built in memory: HDF5 never touches the disk, so a full disk is an ordinary exception of
    ordinary file calls. Equal features give equal bytes (no times, pinned file format).

    Parameters
    ----------
    X : ndarray of shape (m, d)
        At least one row, little-endian.
    key_digest : str
        The key's SHA-256.
    start : int
        Row of the source that ``X[0]`` is.
    """
    import h5py  # here: reading and listing a store need no HDF5

    access = h5py.h5p.create(h5py.h5p.FILE_ACCESS)
    access.set_fapl_core(1 << 20, False)  # no backing store
    access.set_libver_bounds(h5py.h5f.LIBVER_EARLIEST, h5py.h5f.LIBVER_V110)
    # HDF5 tells open files in memory apart by their names, which are not in the bytes.
    handle = h5py.h5f.create(secrets.token_hex(8).encode(), h5py.h5f.ACC_TRUNC, fapl=access)
    with h5py.File(handle) as file:
        dataset = file.create_dataset(DATASET, data=X, track_times=False)
        dataset.attrs["schema"] = SCHEMA
        # Of fixed length: text of any length would lie in a heap, which HDF5 reads without caution.
        dataset.attrs["key"] = np.bytes_(key_digest.encode("ascii"))
        dataset.attrs["start"] = start
        file.flush()
        return handle.get_file_image(), dataset.id.get_offset()
