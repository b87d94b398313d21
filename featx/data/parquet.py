"""Hugging Face's image data sets on the disk: parquet files with encoded images in one column, labels in another."""

from __future__ import annotations

import bisect
import functools
import re
import threading
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo
from featx.cache.schema import unreadable
from featx.data.blob import Blob
from featx.data.depth import DIGEST, content_digest
from featx.data.files import Hashes, changed, check_size
from featx.data.folder_layout import Layout, Row, arrange
from featx.data.hash_table import RowHashes
from featx.data.parquet_columns import Columns, check_group, find_columns, need_pyarrow
from featx.data.split_names import name_splits, split_of
from featx.errors import FeatxWarning, ImageError, SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

CACHE_BYTES = 1 << 28
"""Row groups that were read are kept up to so many bytes: rows near each other are asked for together."""

MAX_PACKING = 64
"""Rows at most for each byte of a file: a few bytes could claim any number."""

_NAME = re.compile(r"(?P<split>[^-._]+)[^/]*?(-(?P<number>\d{5})-of-(?P<count>\d{5}))?(-[0-9a-f]{16})?\.parquet", re.I)


class Shard:
    """One parquet file; rows are numbered from 0 in it."""

    def __init__(self, blob: Blob, memo: Memo | None) -> None:
        self.path = path = blob.where
        self._blob, self.stamp = blob, blob.stamp
        with self._open() as file:
            self.columns = find_columns(file, path)
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            self.starts = [0, *np.cumsum([group.num_rows for group in groups], dtype=np.int64).tolist()]
            if not 0 <= len(self) <= MAX_PACKING * self.stamp[0]:
                raise SourceError(f"{path} claims {len(self):,} rows in {self.stamp[0]:,} bytes", "make it again")
            for group in groups:
                check_group(group, self.columns, path)
            self.labels = self._labels(file)
        about = {"stamp": self.stamp, "column": self.columns.image, "digest": DIGEST}
        self.hashes = RowHashes("parquet", about, len(self), memo)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        # Opened for each row group: data sets have a thousand files, and a process may open as many.
        pq = need_pyarrow(self.path)
        with self._blob.open() as file:
            yield pq.ParquetFile(file)

    def _labels(self, file: pq.ParquetFile) -> list[Any] | None:
        """Return every row's label, a whole number, a string or None."""
        if self.columns.label is None:
            return None
        labels: list[Any] = file.read([self.columns.label]).column(0).to_pylist()
        if len(labels) != len(self):
            raise ValueError(f"{len(labels)} labels for {len(self)} rows")
        return labels

    def group(self, number: int) -> pa.ChunkedArray:
        """Return one row group's encoded images."""
        import pyarrow.compute as pc

        with self._open() as file:
            name = self.columns.image
            column = file.read_row_group(number, [f"{name}.bytes" if self.columns.is_struct else name]).column(0)
        if len(column) != self.starts[number + 1] - self.starts[number]:
            raise changed(self.path)
        return pc.struct_field(column, "bytes") if self.columns.is_struct else column


class ParquetFiles:
    """The images of shards, called ``train/00000012``: the split, and the row in it."""

    def __init__(self, where: str, shards: Mapping[str, Sequence[Shard]]) -> None:
        self.where = where
        self._shards = shards
        self.in_flight = 0  # rows near each other come together
        self._starts = {s: np.cumsum([0, *map(len, parts)]).tolist() for s, parts in shards.items()}
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, int, int], pa.ChunkedArray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"where": self.where, "shards": self._shards}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["where"], state["shards"])  # type: ignore[misc]

    def names(self) -> list[str]:
        """Return ``split/row`` for every row of every split."""
        return [f"{split}/{i:08d}" for split, starts in self._starts.items() for i in range(starts[-1])]

    def _place(self, name: str) -> tuple[str, int, int]:
        split, _, number = name.partition("/")
        row = int(number)
        at = bisect.bisect_right(self._starts[split], row) - 1
        return split, at, row - self._starts[split][at]

    def read(self, name: str) -> bytes:
        """Return a row's encoded image; ImageError where it has none, or it cannot be had."""
        split, at, row = self._place(name)
        shard = self._shards[split][at]
        group = bisect.bisect_right(shard.starts, row) - 1
        try:
            data = self._group(split, at, group)[row - shard.starts[group]].as_py()
        except SourceError:
            raise
        except Exception as exc:  # pyarrow passes on OSError, ArrowInvalid, ... for damage
            reason = " ".join(str(exc).split())[:200]
            raise ImageError(
                f"image {name} in {shard.path} cannot be read: {reason}",
                "copy the file again",
                reason=f"image {name} cannot be read: {reason}",
            ) from exc
        if data is None:
            raise ImageError(
                f"image {name} in {shard.path} has no bytes",
                "use --on-error skip",
                reason=f"image {name} has no bytes",
            )
        check_size(name, len(data))
        return bytes(data)

    def _group(self, split: str, at: int, group: int) -> pa.ChunkedArray:
        key = split, at, group
        with self._lock:
            if key not in self._cache:
                column = self._shards[split][at].group(group)
                while self._cache and column.nbytes + sum(c.nbytes for c in self._cache.values()) > CACHE_BYTES:
                    self._cache.popitem(last=False)
                self._cache[key] = column
            self._cache.move_to_end(key)
            return self._cache[key]

    def hashes(self, names: Sequence[str]) -> Hashes:
        """Return the SHA-256 of each image's content, uint8 (n, 32)."""
        splits = {split: number for number, split in enumerate(self._shards)}
        parts = (name.partition("/") for name in names)
        places = np.fromiter(((splits[split], int(row)) for split, _, row in parts), "i8,i8", len(names))
        found = np.zeros((len(names), 32), np.uint8)
        for split, number in splits.items():
            mine = np.flatnonzero(places["f0"] == number)
            self._hash_split(split, mine, places["f1"][mine], found)
        return found

    def _hash_split(self, split: str, mine: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], found: Hashes) -> None:
        """Fill in the hashes `mine` of some rows of a split, shard by shard."""
        starts = self._starts[split]
        shard = np.searchsorted(starts, rows, side="right") - 1
        order = np.argsort(shard, kind="stable")
        ends = np.searchsorted(shard[order], np.arange(len(starts)))
        for at, hashed in enumerate(part.hashes for part in self._shards[split]):
            chosen = order[ends[at] : ends[at + 1]]
            if len(chosen):
                digest = functools.partial(self._digest_row, split, starts[at])
                found[mine[chosen]] = hashed.get(rows[chosen] - starts[at], digest)

    def _digest_row(self, split: str, start: int, row: int) -> bytes:
        return self._digest(f"{split}/{start + row:08d}")

    def _digest(self, name: str) -> bytes:
        try:
            return content_digest(self.read(name))
        except ImageError as exc:
            return unreadable(exc.reason)


def open_parquet(
    spec: str, blobs: Sequence[Blob], memo: Memo | None, *, whole: bool = True
) -> tuple[ParquetFiles, Layout]:
    """Open parquet files whose names say their splits: ``train-00000-of-00002.parquet``, ``test.parquet``.

    Parameters
    ----------
    spec : str
        How the source was written.
    blobs : sequence of Blob
        All in one folder. Where no name begins with a split, they are one without.
    memo : Memo, optional
        Remembers hashes.
    whole : bool
        Whether all parts that their names count must be there.

    Raises
    ------
    SourceError
        For files that are no parquet, without a column of images, with labels that do not fit, for parts that are
        missing, and where pyarrow is.
    """
    parts = _by_split(spec, sorted(blobs, key=lambda blob: blob.where), whole)
    try:
        shards = {split: [Shard(blob, memo) for blob in found] for split, found in parts.items()}
    except SourceError:
        raise
    # pyarrow passes on what its parsers meet; json raises RecursionError.
    except Exception as exc:
        reason = " ".join(str(exc).split())[:200] or type(exc).__name__
        raise SourceError(f"{spec} is not a readable Parquet file: {reason}", "copy or download it again") from exc
    names = {(shard.columns.label, shard.columns.classes) for found in shards.values() for shard in found}
    if len(names) > 1:
        raise SourceError(f"the parquet files of {spec} differ in labels or their names", "name one file")
    columns = next(iter(shards.values()))[0].columns
    if columns.is_flag:
        text = f"{spec}: the labels in column {columns.label} are bool, its classes are False and True"
        warnings.warn(text, FeatxWarning, stacklevel=2)
    splits = {split: _rows(spec, split, found, columns.classes) for split, found in shards.items()}
    return ParquetFiles(spec, shards), _arranged(splits, columns)


def _by_split(spec: str, paths: Sequence[Blob], whole: bool) -> dict[str, list[Blob]]:
    if len({path.folder for path in paths}) > 1:
        folders = ", ".join(sorted({path.folder.rstrip("/").rpartition("/")[2] for path in paths}))
        raise SourceError(f"{spec} holds parquet files in several folders: {folders[:200]}", "name one of them")
    found: dict[str, list[Blob]] = {}
    for path in paths:
        match = _NAME.fullmatch(path.name)
        spelt = match["split"].lower() if match else ""
        found.setdefault(spelt if split_of(spelt) else "all", []).append(path)
        if whole and match and match["count"]:
            prefix = path.name[: match.start("number")]
            there = sum(other.name.startswith(prefix) for other in paths)
            if there != int(match["count"]):
                raise SourceError(
                    f"{spec} holds {there} of {int(match['count'])} parts {prefix}...",
                    "download the others, or name one",
                )
    if "all" in found and len(found) > 1:
        others = ", ".join(path.name for path in found["all"])
        raise SourceError(
            f"{spec} holds {others[:200]} beside parquet files of splits", "move it elsewhere, or name one file"
        )
    named = name_splits(found, spec) if "all" not in found else {"all": "all"}
    return {named[spelt]: parts for spelt, parts in found.items()}


def _rows(spec: str, split: str, shards: Sequence[Shard], classes: tuple[str, ...] | None) -> list[Row]:
    labels: list[Any] = []
    for shard in shards:
        labels.extend([None] * len(shard) if shard.labels is None else shard.labels)
    rows = []
    for i, label in enumerate(labels):
        if isinstance(label, int) and classes is not None:
            if not -1 <= label < len(classes):
                raise SourceError(
                    f"{spec}: row {split}/{i:08d} has label {label}, expected 0 to {len(classes) - 1}", "name them all"
                )
            label = None if label < 0 else classes[label]
        name = f"{split}/{i:08d}"
        rows.append(Row(name, name, None if label is None or label == -1 else str(label)))
    return rows


def _arranged(splits: dict[str, list[Row]], columns: Columns) -> Layout:
    found, classes = arrange(splits), columns.classes
    unlabelled = "" if found.classes else columns.unlabelled or f"its column {columns.label} has no value in any row"
    if classes is None and all(re.fullmatch(r"-?[0-9]+", name) for name in found.classes):
        classes = tuple(sorted(found.classes, key=int))
    return Layout(found.splits, found.classes if classes is None else classes, unlabelled)
