"""Whether the HDF5 of a shard holds what its receipt says: read without letting HDF5 open any other file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.cache.key import SCHEMA
from featx.cache.schema import DATASET, Plan, ShardFile

if TYPE_CHECKING:
    import h5py

_BLOCK_BYTES = 8 << 20


def flaw_inside(fd: int, receipt: ShardFile, plan: Plan, key_digest: str) -> str:
    """Return what is wrong with the HDF5 file open as `fd`, or an empty string.

    At most a few blocks are in memory. HDF5 is handed the descriptor, not a path, and nothing is read before it is
    known that the rows lie in this file, in one piece: no link, external storage or virtual dataset is followed.
    """
    import h5py

    try:
        with open(fd, "rb", closefd=False) as raw, h5py.File(raw, "r") as file:
            return _flaw_of_layout(file, receipt, plan, key_digest) or _flaw_of_rows(file, fd, receipt, plan)
    except Exception as exc:  # HDF5 answers bytes that are none of its own with whatever exception it likes
        return f"HDF5 cannot read it ({str(exc)[:80]})"


def _flaw_of_layout(file: h5py.File, receipt: ShardFile, plan: Plan, key_digest: str) -> str:
    import h5py

    root, name = file["/"].id, DATASET.encode()
    if not root.links.exists(name) or root.links.get_info(name).type != h5py.h5l.TYPE_HARD:
        return f"its HDF5 has no dataset {DATASET} of its own"
    dataset = h5py.h5o.open(root, name)
    if not isinstance(dataset, h5py.h5d.DatasetID):
        return f"its HDF5 has no dataset {DATASET}"
    layout = dataset.get_create_plist()
    if layout.get_layout() != h5py.h5d.CONTIGUOUS or layout.get_external_count() or layout.get_nfilters():
        return f"its {DATASET} is not stored as plain rows"
    shape = (receipt.stop - receipt.start, plan.columns)
    found = (dataset.shape, dataset.dtype, dataset.get_offset())
    if found != (shape, plan.stored, receipt.offset):
        said = f"its receipt says {plan.stored} {shape} at byte {receipt.offset}"
        return f"its {DATASET} is {found[1]} {found[0]} at byte {found[2]}, {said}"
    if not _has_attributes(dataset, {"schema": SCHEMA, "key": key_digest.encode("ascii"), "start": receipt.start}):
        return f"the attributes of its {DATASET} are not those of rows {receipt.start} to {receipt.stop} of this key"
    return ""


def _has_attributes(dataset: h5py.h5d.DatasetID, wanted: Mapping[str, int | bytes]) -> bool:
    """Tell whether a dataset has just these attributes; none is read before its type is known to be plain."""
    import h5py

    if h5py.h5a.get_num_attrs(dataset) != len(wanted):
        return False
    for name, value in wanted.items():
        if not h5py.h5a.exists(dataset, name.encode()):
            return False
        attribute = h5py.h5a.open(dataset, name.encode())
        dtype = np.dtype(f"S{len(value)}") if isinstance(value, bytes) else np.dtype("<i8")
        if attribute.dtype != dtype or attribute.shape != ():
            return False
        found = np.empty((), dtype)
        attribute.read(found)
        if found[()] != value:
            return False
    return True


def _flaw_of_rows(file: h5py.File, fd: int, receipt: ShardFile, plan: Plan) -> str:
    """Compare what HDF5 reads with the bytes at the receipt's offset, which is what featx reads."""
    dataset: Any = file[DATASET]
    n_rows = receipt.stop - receipt.start
    step = max(1, _BLOCK_BYTES // plan.row_bytes)
    for row in range(0, n_rows, step):
        rows = np.ascontiguousarray(dataset[row : row + step])
        raw = os.pread(fd, rows.nbytes, receipt.offset + row * plan.row_bytes)
        if rows.tobytes() != raw:
            return f"HDF5 reads other rows than those at byte {receipt.offset}"
    return ""
