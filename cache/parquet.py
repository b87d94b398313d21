"""Stored features as a Parquet table, for pandas and its like."""

from __future__ import annotations

import itertools
import json
from typing import IO, Any

from featx.cache.plain import plain_text
from featx.cache.table import FeatureTable
from featx.errors import OptionError

_METADATA = b"featx"


def write_parquet(file: IO[bytes], table: FeatureTable) -> None:
    """Write one row an image, in flat memory.

    Columns are ``id``; ``label`` (int64, null where unknown) and ``class``, its name, where the table has labels;
    ``features``, a list of d values. The key is stored as JSON under ``featx`` in the schema's metadata.

    Raises
    ------
    OptionError
        pyarrow is not installed.
    """
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as exc:
        raise OptionError("a Parquet file needs pyarrow", "pip install 'featx[parquet]'") from exc
    value = pa.float16() if table.dtype.itemsize == 2 else pa.float32()
    fields = [pa.field("id", pa.string())]
    if table.y is not None:
        fields += [pa.field("label", pa.int64()), pa.field("class", pa.string())]
    fields.append(pa.field("features", pa.list_(value, table.shape[1])))
    key = json.dumps(table.key, sort_keys=True).encode()
    schema = pa.schema(fields, {_METADATA: key})
    names = [field.name for field in fields if field.name != "features"]
    row, ids = 0, table.iter_ids()
    # Features are noise to a compressor and to a dictionary.
    with pq.ParquetWriter(file, schema, compression="none", use_dictionary=names) as writer:
        for X in table.iter_chunks():
            columns = _labels(table, row, row + len(X)) if table.y is not None else {}
            columns["id"] = [plain_text(name) for name in itertools.islice(ids, len(X))]
            columns["features"] = pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), table.shape[1])
            writer.write_table(pa.table(columns, schema=schema))
            row += len(X)


def _labels(table: FeatureTable, start: int, stop: int) -> dict[str, Any]:
    labels = [] if table.y is None else table.y[start:stop].tolist()
    known = range(len(table.classes))
    names = [plain_text(table.classes[label]) if label in known else None for label in labels]
    return {"label": [label if label >= 0 else None for label in labels], "class": names}
