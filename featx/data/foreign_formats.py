"""Data sets as other programs keep them, told by their files' names, and how to come from them to images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from featx.errors import SourceError

_EXAMPLE = "for example cats/1.jpg and dogs/2.jpg, or train/cats/1.jpg"


@dataclass(frozen=True)
class Kind:
    """What a folder is, how its files' names show it, and what to do about it, given the folder and the names."""

    what: str
    is_it: Callable[[Sequence[str]], bool]
    hint: Callable[[str, Sequence[str]], str]


def _base(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _ends(*suffixes: str) -> Callable[[Sequence[str]], bool]:
    return lambda names: any(_base(name).endswith(suffixes) for name in names)


def _has(*wanted: str) -> Callable[[Sequence[str]], bool]:
    return lambda names: any(_base(name) in wanted for name in names)


def _arrow_hint(where: str, names: Sequence[str]) -> str:
    written = f"load_from_disk({where!r}).to_parquet('all.parquet')"
    if _has("dataset_dict.json")(names):
        written = f"[d.to_parquet(s + '.parquet') for s, d in load_from_disk({where!r}).items()]"
    return f'write it as parquet: python -c "from datasets import load_from_disk; {written}"'


FOLDERS = {
    "arrow": Kind("a data set that Hugging Face's save_to_disk wrote", _ends(".arrow"), _arrow_hint),
    "lmdb": Kind(
        "an LMDB database",
        _has("data.mdb"),
        lambda where, names: "write its images out, into class folders or a parquet file",
    ),
    "tfrecord": Kind(
        "a data set in TFRecord files",
        lambda names: any(".tfrecord" in _base(name) for name in names),
        lambda where, names: "write its images out, into class folders or a parquet file",
    ),
    "cifar": Kind(
        "CIFAR as its authors publish it",
        _has("data_batch_1", "data_batch_1.bin", "batches.meta", "fine_label_names.txt"),
        lambda where, names: "name the data set instead: cifar10 or cifar100, with FEATX_DATA set to the folder above",
    ),
    "idx": Kind(
        "MNIST, or one of its kin, as published",
        lambda names: any("-idx3-ubyte" in _base(name) for name in names),
        lambda where, names: "name the data set instead: mnist, fashion_mnist, kmnist, ...",
    ),
    "archives": Kind(
        "a folder of archives",
        _ends(".zip"),
        lambda where, names: f"name one of them: {where.rstrip('/')}/{next(filter(_ends_zip, names))}",
    ),
}
"""Folders without images that people have; the first that fits is named."""

FILES = {
    ".arrow": "name its folder, and featx says how to write it as parquet",
    ".mdb": "an LMDB database: write its images out, into class folders or a parquet file",
    ".lmdb": "an LMDB database: write its images out, into class folders or a parquet file",
    ".tfrecord": "write its images out, into class folders or a parquet file",
    ".7z": "unpack it and name the folder",
    ".rar": "unpack it and name the folder",
}
"""Kinds of files that people have, and what to do with them."""


def _ends_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def other_than_images(names: Sequence[str], where: str) -> SourceError | None:
    """Return the error for a place that is something else than images, where its names tell what; else None."""
    for kind in FOLDERS.values():
        if kind.is_it(names):
            return SourceError(f"{where} is {kind.what}, expected images", kind.hint(where, names))
    return None


def no_images(names: Sequence[str], where: str) -> SourceError:
    """Return the error for a place without images, which says what it is instead, where that can be told."""
    return other_than_images(names, where) or SourceError(
        f"{where} holds no images ({len(names)} other files), expected class folders with images", _EXAMPLE
    )


def no_labels(names: Sequence[str]) -> str:
    """Return what would give labels to images of which none has one, or '' where the names say nothing."""
    if _ends(".cls")(names):
        return "labels in .cls files are read in WebDataset's tars: put the images into class folders, or all into tars"
    return ""


def file_hint(path: PurePath) -> str:
    """Return what to do with a file of a kind that is no source, or ''."""
    return FILES.get(path.suffix.lower(), "")
