"""A Parquet file that lists images by path or URL, with their labels, splits and perhaps the SHA-256 of their bytes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cache.memo import Memo
from featx.core.urls import is_url, url_folder
from featx.data.blob import Blob
from featx.data.csv_columns import COLUMNS
from featx.data.csv_list import Below
from featx.data.files import Files, FolderFiles
from featx.data.folder_layout import Layout, Row, arrange
from featx.data.listed_files import Base, ListedFiles, place_of
from featx.data.parquet_columns import (
    LABEL_NAMES,
    MAX_GROUP_BYTES,
    class_names,
    features_of,
    image_kind,
    is_label,
    need_pyarrow,
)
from featx.data.remote.blob import RemoteBlob
from featx.data.remote.url_files import UrlBase, UrlFiles
from featx.data.split_names import name_splits, split_of
from featx.errors import FeatxError, FeatxWarning, SourceError, first_few

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

HASH = "sha256"
"""The column of the images' SHA-256, 64 hexadecimal digits or 32 bytes."""

_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Columns:
    """What the columns of a manifest are called; None where there is none."""

    path: str
    label: str | None
    split: str | None
    digest: str | None
    classes: tuple[str, ...] | None

    def read(self) -> list[str]:
        """Return those that are read."""
        return [name for name in (self.path, self.label, self.split, self.digest) if name]


def is_manifest(blob: Blob) -> bool:
    """Tell a manifest from a file that holds images: it has a column of paths, and none of bytes.

    Raises
    ------
    SourceError
        It is no Parquet, or pyarrow is missing.
    """
    with _opened(blob) as file:
        schema = file.schema_arrow
        return _path_column(schema, blob.where) is not None


def open_manifest(spec: str, blob: Blob, memo: Memo | None) -> tuple[ListedFiles, Layout]:
    """Open a manifest, as `featx.data.csv_list.open_list` opens a list.

    Paths are relative to the manifest's folder, or absolute and below it, or they are URLs; in a manifest that lies at
    a URL itself, none is that of a local file.

    Parameters
    ----------
    spec : str
        How the source was written, without secrets.
    blob : Blob
        The file.
    memo : Memo, optional
        Remembers content hashes.

    Raises
    ------
    SourceError
        Naming the row: for a path that leads elsewhere, an unknown split, a hash that is none.
    """
    base, folder = _base(blob, memo)
    rows: dict[str, list[Row]] = {}
    stated: dict[str, bytes] = {}
    with _opened(blob) as file:
        columns = _columns(file, blob.where)
        for number, values in _values(file, columns):
            where = f"manifest {blob.where}, row {number:,}"
            row = _row(where, values, columns, base)
            split = _split_of(where, values.get("split"), columns)
            rows.setdefault(split, []).append(row)
            digest = _digest(where, values.get("digest"))
            if digest is not None and stated.setdefault(row.name, digest) != digest:
                raise SourceError(f"{where}: {row.id} is there with two SHA-256", "write the manifest again")
    if not rows:
        raise SourceError(f"manifest {blob.where} names no images", "it has no rows")
    named = name_splits(rows, f"manifest {blob.where}") if columns.split else {"all": "all"}
    urls = any(is_url(row.name) for found in rows.values() for row in found)
    files = ListedFiles(spec, memo, folder, stated, urls=urls)
    return files, _arranged({named[spelt]: found for spelt, found in rows.items()}, columns)


def _base(blob: Blob, memo: Memo | None) -> tuple[Base, Files]:
    if isinstance(blob, RemoteBlob):
        return UrlBase(blob.url), UrlFiles(blob.where, memo, url_folder(blob.url))
    folder = Path(blob.folder)
    return Below(folder, "the manifest's folder, or a URL"), FolderFiles(folder, memo)


@contextmanager
def _opened(blob: Blob) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; SourceError for what is none."""
    module = need_pyarrow(blob.where)
    with blob.open() as file:
        try:
            yield module.ParquetFile(file)
        except FeatxError:
            raise
        except Exception as exc:  # pyarrow passes on what its parsers meet
            reason = " ".join(str(exc).split())[:200]
            what = f"{blob.where} is not a readable Parquet file: {reason}"
            raise SourceError(what, "copy or download it again") from exc


def _path_column(schema: pa.Schema, where: str) -> str | None:
    """Return the column of paths, None where there is none, or where another holds images."""
    if any(image_kind(schema.field(name).type) for name in schema.names if name != HASH):
        return None
    texts = [name for name in schema.names if _is_text(schema.field(name).type)]
    if "path" in texts:
        return "path"
    found = [name for name in COLUMNS["path"] if name in texts]
    if len(found) > 1:
        raise SourceError(f"{where} has the columns {' and '.join(found)}, expected one path", "call one of them path")
    return found[0] if found else None


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _columns(file: pq.ParquetFile, where: str) -> Columns:
    schema = file.schema_arrow
    path = _path_column(schema, where)
    assert path is not None
    for i in range(file.metadata.num_row_groups):
        size = file.metadata.row_group(i).total_byte_size
        if size > MAX_GROUP_BYTES:
            what = f"{where} has row groups of {size:,} bytes, expected at most {MAX_GROUP_BYTES:,}"
            raise SourceError(what, "write it again with smaller row groups")
    names = [name for name in schema.names if name != path]
    label = next((name for name in LABEL_NAMES if name in names and is_label(schema.field(name).type)), None)
    split = next((n for n in ("split", *COLUMNS["split"]) if n in names and _is_text(schema.field(n).type)), None)
    found = Columns(
        path,
        label,
        split,
        HASH if HASH in names else None,
        class_names(features_of(schema.metadata or {}, where), label, where),
    )
    unread = [name for name in names if name not in found.read()]
    if unread and label is None:
        warnings.warn(f"{where} has no column label; not read: {first_few(unread, 10)}", FeatxWarning, stacklevel=7)
    return found


def _values(file: pq.ParquetFile, columns: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give each row's number, from 1, and its path, label, split and digest."""
    fields = {"path": columns.path, "label": columns.label, "split": columns.split, "digest": columns.digest}
    wanted = {key: name for key, name in fields.items() if name}
    number = 0
    for batch in file.iter_batches(columns=columns.read()):
        lists = [batch.column(name).to_pylist() for name in wanted.values()]
        for values in zip(*lists, strict=True):
            number += 1
            yield number, dict(zip(wanted, values, strict=True))


def _row(where: str, values: dict[str, Any], columns: Columns, base: Base) -> Row:
    try:
        name, called = place_of(values["path"] or "", base)
    except ValueError as exc:
        raise SourceError(f"{where}: {exc}", "write paths below the manifest's folder, or URLs") from exc
    label = values.get("label")
    if isinstance(label, int) and columns.classes is not None:
        if not -1 <= label < len(columns.classes):
            what = f"{where}: its label is {label}, expected 0 to {len(columns.classes) - 1}"
            raise SourceError(what, "name all classes")
        label = None if label < 0 else columns.classes[label]
    return Row(name, called, None if label is None or label in (-1, "") else str(label))


def _split_of(where: str, value: Any, columns: Columns) -> str:
    if columns.split is None:
        return "all"
    if not value or split_of(value) is None:
        raise SourceError(f"{where}: its split is {value!r:.80}, expected train, val or test", "give one in each row")
    return str(value).lower()


def _digest(where: str, value: Any) -> bytes | None:
    if value is None or value in ("", b""):
        return None
    try:
        digest = bytes(value) if isinstance(value, bytes) else bytes.fromhex(value)
    except (TypeError, ValueError):
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise SourceError(f"{where}: its sha256 is {value!r:.80}, expected 64 hexadecimal digits", "leave it empty")
    return digest


def _arranged(splits: dict[str, list[Row]], columns: Columns) -> Layout:
    found = arrange(splits)
    classes = found.classes
    if columns.classes is not None:
        classes = columns.classes
    elif classes and all(name.lstrip("-").isdecimal() for name in classes):
        classes = tuple(sorted(classes, key=int))
    return Layout(found.splits, classes, "" if found.classes else "add a column 'label' of whole numbers or strings")
