"""The kinds of sources: data sets by their names, files by the endings of theirs, folders; and what opens each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from featx.cache.memo import Memo
from featx.core.paths import expanded
from featx.core.specs import Progress
from featx.data.archives import ArchiveFiles, TarFiles, ZipFiles
from featx.data.array_files import h5, npy
from featx.data.arrays import digits, npz
from featx.data.csv_list import open_list
from featx.data.dataset_arrays import ARRAY_SETS
from featx.data.dataset_images import IMAGE_SETS
from featx.data.datasets import open_arrays, open_images
from featx.data.decoding import image_suffixes, is_image_name
from featx.data.files import Files, FolderFiles
from featx.data.folder_layout import Layout, read_layout
from featx.data.foreign_formats import other_than_images
from featx.data.listing import LeftOut, check_class_folders, count_kinds, find_images, hint_for, name_kinds
from featx.data.parquet import open_parquet
from featx.data.source import FileSource, Source
from featx.errors import SourceError

Splits = Mapping[str, Source]


class Loader(Protocol):
    """What opens a kind of file."""

    def __call__(self, spec: str, memo: Memo | None, /) -> Splits:
        """Return the source at a path, by the names of its splits, ``all`` where it has none.

        Parameters
        ----------
        spec : str
            The path as it was given, which errors name; `featx.core.paths.expanded` says where it leads.
        memo : Memo or None
            Remembers content hashes.

        Raises
        ------
        SourceError
            It cannot be read.
        """


class NamedLoader(Protocol):
    """What opens a data set by its name; it may have to be downloaded first."""

    def __call__(self, spec: str, memo: Memo | None, progress: Progress, /) -> Splits:
        """Return the data set's splits by their names, as `Loader`; `progress` is told of the download."""


def _archive(make: Callable[[Path, Memo | None], ArchiveFiles]) -> Loader:
    """Return what opens archives of a kind."""

    def load(spec: str, memo: Memo | None) -> Splits:
        files = make(expanded(spec), memo)
        return _split(spec, files, _understood(spec, files, files.names(), ()))

    return load


def open_folder(spec: str, memo: Memo | None) -> Splits:
    """Open a folder of images; one of Parquet files, if it has no images."""
    files = FolderFiles(expanded(spec), memo)
    names = files.names()
    tables = [name for name in names if name.lower().endswith(".parquet")]
    suffixes = image_suffixes()
    if tables and not any(is_image_name(name, suffixes) for name in names):
        return _split(spec, *open_parquet(spec, [files.path(name) for name in tables], memo))
    return _split(spec, files, _understood(spec, files, names, files.empty))


def _understood(spec: str, files: FolderFiles | ArchiveFiles, names: list[str], empty: Sequence[str]) -> Layout:
    """Understand a listing, and say what of it is left out."""
    listing = find_images(names, files.head)
    if not listing.images:
        raise other_than_images(listing.others, spec) or _no_images(spec, listing.others)
    layout = read_layout(names, files.read, spec, listing.images)
    check_class_folders(layout, listing.others, empty, spec)
    if listing.others:
        # Six calls up is whoever called `featx.data.sources.load_source`.
        warnings.warn(LeftOut(spec, count_kinds(listing.others)), stacklevel=6)
    return layout


def _no_images(spec: str, others: Sequence[str]) -> SourceError:
    counts = count_kinds(others)
    said = f"{len(others)} other files: {name_kinds(counts)}" if others else "0 other files"
    return SourceError(
        f"{spec} holds no images ({said}), expected class folders with images",
        hint_for(counts) or "for example cats/1.jpg and dogs/2.jpg, or train/cats/1.jpg",
    )


def _parquet(spec: str, memo: Memo | None) -> Splits:
    return _split(spec, *open_parquet(spec, [expanded(spec)], memo, whole=False))


def open_listed(spec: str, memo: Memo | None, root: str | os.PathLike[str] | None = None) -> Splits:
    """Open a list, whose paths are relative to its own folder, or to `root`."""
    return _split(spec, *open_list(expanded(spec), memo, root))


def _named_images(spec: str, memo: Memo | None, progress: Progress) -> Splits:
    return _split(spec, *open_images(spec, memo, progress))


def _split(spec: str, files: Files, layout: Layout) -> Splits:
    about = layout.classes, layout.unlabelled
    return {s: FileSource(spec, s, files, rows, *about) for s, rows in layout.splits.items()}


BUILT_IN: dict[str, NamedLoader] = {
    "digits": lambda spec, memo, progress: digits(spec, memo),
    **dict.fromkeys(ARRAY_SETS, open_arrays),
    **dict.fromkeys(IMAGE_SETS, _named_images),
}
"""What opens a data set, by its name."""

BY_SUFFIX: dict[str, Loader] = {
    ".zip": _archive(ZipFiles),
    ".tar": _archive(TarFiles),
    ".csv": open_listed,
    ".tsv": open_listed,
    ".parquet": _parquet,
    ".npz": npz,
    ".npy": npy,
    ".h5": h5,
    ".hdf5": h5,
}
"""What opens a file, by the ending of its name in lower case."""
