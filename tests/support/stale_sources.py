"""The same images as a folder, a list, archives and arrays: files whose bytes say nothing but the images and labels."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

Array = np.ndarray[Any, Any]
Files = Mapping[str, bytes]


def _images(X: Array, y: Array, folder: str = "") -> dict[str, bytes]:
    files = {}
    for i, (image, label) in enumerate(zip(X, y, strict=True)):
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "BMP")  # of equal length, whatever the pixels
        files[f"{folder}class{label}/{i:02d}.bmp"] = buffer.getvalue()
    return files


def _list(X: Array, y: Array) -> Files:
    images = _images(X, 0 * y, "images/")
    lines = [f"{name},{label}\n" for name, label in zip(images, y, strict=True)]
    return {**images, "data.csv": "".join(["path,label\n", *lines]).encode()}


def _zip(X: Array, y: Array) -> Files:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in _images(X, y).items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return {"data.zip": buffer.getvalue()}


def _tar(X: Array, y: Array) -> Files:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in _images(X, y).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return {"data.tar": buffer.getvalue()}


def _npz(X: Array, y: Array) -> Files:
    buffer = io.BytesIO()
    np.savez(buffer, X=X, y=y)
    return {"data.npz": buffer.getvalue()}


def _npy(X: Array, y: Array) -> Files:
    buffer = io.BytesIO()
    np.save(buffer, X)
    return {"data.npy": buffer.getvalue()}


def _h5(X: Array, y: Array) -> Files:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["X"], file["y"] = X, y
    return {"data.h5": buffer.getvalue()}


def _parquet(X: Array, y: Array) -> Files:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": list(_images(X, 0 * y).values()), "label": pa.array(y)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="none", use_dictionary=False, write_statistics=False)
    return {"data.parquet": buffer.getvalue()}


KINDS: dict[str, tuple[str, Callable[[Array, Array], Files]]] = {
    "folder": ("data", lambda X, y: _images(X, y, "data/")),
    "list": ("data.csv", _list),
    "zip": ("data.zip", _zip),
    "tar": ("data.tar", _tar),
    "npz": ("data.npz", _npz),
    "npy": ("data.npy", _npy),
    "HDF5": ("data.h5", _h5),
    "parquet": ("data.parquet", _parquet),
}
"""By kind: the name to open below the folder that it is written to, and the files that hold these images and labels."""


def put(root: Path, files: Files, by_rename: bool = False) -> None:
    """Make the files below `root` be these: those that differ are written in place, their modification times put back.

    With `by_rename`, each is written beside and takes the place of the old one.
    """
    for path in [path for path in root.rglob("*") if path.is_file()]:
        if str(path.relative_to(root)) not in files:
            path.unlink()
    for name, data in files.items():
        path = root / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        elif path.read_bytes() != data:
            before = path.stat()
            target = path.with_name(".new") if by_rename else path
            with target.open("wb" if by_rename else "r+b") as file:
                file.write(data)
                file.truncate()
            target.replace(path)
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
