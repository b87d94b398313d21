"""Which columns of a parquet file are images and labels, by their types and by what Hugging Face's library notes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featx.errors import SourceError

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_GROUP_BYTES = 1 << 31
"""Largest row group that is read, in bytes."""

MAX_METADATA_BYTES = 16 << 20
"""Most that is read of what a file says about itself, in bytes."""

IMAGE_NAMES = ("image", "img", "images", "pixels", "jpg", "png")
LABEL_NAMES = ("label", "labels", "fine_label", "class", "category", "target")


@dataclass(frozen=True)
class Columns:
    """The image's and the label's name, whether the image is a struct, and the class names or None.

    `unlabelled` says why there is no label, and what would give one; a flag is a label of two values.
    """

    image: str
    is_struct: bool
    label: str | None
    classes: tuple[str, ...] | None
    unlabelled: str = ""
    is_flag: bool = False


def need_pyarrow(where: str) -> Any:
    """Return pyarrow's parquet module; SourceError with the extra's name where it is missing."""
    try:
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise SourceError(f"{where} needs pyarrow, which is not installed", "pip install 'featx[parquet]'") from exc
    return pq


def find_columns(file: pq.ParquetFile, where: str) -> Columns:
    """Find images and labels; SourceError where there are none, or class names that cannot be used."""
    import pyarrow as pa

    schema = file.schema_arrow
    features = features_of(schema.metadata or {}, where)
    images = {name: kind for name in schema.names if (kind := image_kind(schema.field(name).type))}
    told = [name for name in images if _kind(features, name) == "Image"]
    image = _chosen(told or list(images), IMAGE_NAMES)
    if image is None:
        raise SourceError(
            f"{where} has the columns {', '.join(schema.names)[:200] or 'none'}, expected one of images "
            "(binary, or a struct with bytes and path)",
            "name its image column 'image'" if images else "a table without images cannot be a source",
        )
    labels = [name for name in schema.names if is_label(schema.field(name).type)]
    told = [name for name in labels if _kind(features, name) == "ClassLabel"]
    named = [name for name in LABEL_NAMES if name in labels]
    label = next(iter(named), told[0] if len(told) == 1 else None)
    why = _unlabelled(schema, [name for name in schema.names if name not in images]) if label is None else ""
    is_flag = label is not None and pa.types.is_boolean(schema.field(label).type)
    return Columns(image, images[image] == "struct", label, class_names(features, label, where), why, is_flag)


def _unlabelled(schema: pa.Schema, others: Sequence[str]) -> str:
    """Say what the columns beside the images hold instead of labels, and what to do."""
    if name := next((name for name in LABEL_NAMES if name in others), None):
        kind = schema.field(name).type
        return f"its column {name} holds {kind}, expected one whole number, string or bool per row: write such a column"
    held = f" (it has {', '.join(others)[:200]})" if others else ""
    return f"add a column 'label' of whole numbers or strings{held}"


def features_of(metadata: Mapping[bytes, bytes], where: str) -> Mapping[str, Any]:
    """Return what the data sets library notes about the columns."""
    text = metadata.get(b"huggingface", b"{}")
    if len(text) > MAX_METADATA_BYTES:
        raise SourceError(f"{where} has {len(text):,} bytes of metadata, expected a few thousand", "make it again")
    try:
        features = json.loads(text).get("info", {}).get("features", {})
    except (ValueError, AttributeError, RecursionError) as exc:
        raise SourceError(f"{where} has damaged metadata under the key 'huggingface'", "make it again") from exc
    return features if isinstance(features, dict) else {}


def _kind(features: Mapping[str, Any], name: str) -> Any:
    feature = features.get(name)
    return feature.get("_type") if isinstance(feature, dict) else None


def class_names(features: Mapping[str, Any], label: str | None, where: str) -> tuple[str, ...] | None:
    """Return the names of the classes that a label's numbers mean; None where they are not noted."""
    if label is None or _kind(features, label) != "ClassLabel":
        return None
    names = features[label].get("names")
    if isinstance(names, dict):  # as a dataset card writes them: {"0": "cat", "1": "dog"}
        names = [names.get(str(i)) for i in range(len(names))]
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
        raise SourceError(f"{where} has no usable class names for {label}, expected different strings", "make it again")
    return tuple(names)


def image_kind(kind: pa.DataType) -> str:
    """Return ``binary`` or ``struct`` for a type that encoded images may have, '' for others."""
    import pyarrow as pa

    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "binary"
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        return "struct" if image_kind(kind.field("bytes").type) == "binary" else ""
    return ""


def is_label(kind: pa.DataType) -> bool:
    """Tell a type that labels may have: whole numbers, texts and flags."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return any(
        is_one(kind)
        for is_one in (pa.types.is_integer, pa.types.is_boolean, pa.types.is_string, pa.types.is_large_string)
    )


def _chosen(found: Sequence[str], names: Sequence[str]) -> str | None:
    if len(found) == 1:
        return found[0]
    return next((name for name in names if name in found), None)


def check_group(group: Any, columns: Columns, where: str) -> None:
    """Raise SourceError for a row group that is too large, or that holds no image at all."""
    wanted = f"{columns.image}.bytes" if columns.is_struct else columns.image
    for i in range(group.num_columns):
        column = group.column(i)
        if column.path_in_schema != wanted:
            continue
        if column.total_uncompressed_size > MAX_GROUP_BYTES:
            raise SourceError(
                f"{where} has row groups of {column.total_uncompressed_size:,} bytes, expected at most "
                f"{MAX_GROUP_BYTES:,}",
                "write it again with smaller row groups",
            )
        statistics = column.statistics
        if statistics is not None and statistics.has_null_count and 0 < group.num_rows == statistics.null_count:
            raise SourceError(
                f"{where} refers to its images by path and does not contain their bytes",
                "embed them (dataset.map(...), then to_parquet), or name the folder of images",
            )
