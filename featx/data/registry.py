"""The kinds of sources: data sets by their names, files by the endings of theirs, folders; and what opens each."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from featx.cache.memo import Memo
from featx.core.paths import expanded
from featx.core.specs import Progress
from featx.core.urls import is_url, safe_url
from featx.data.archives import ArchiveFiles, TarFiles, ZipFiles
from featx.data.array_files import h5, npy
from featx.data.arrays import digits, npz
from featx.data.blob import Blob, LocalBlob
from featx.data.csv_list import open_list, open_remote_list
from featx.data.dataset_arrays import ARRAY_SETS
from featx.data.dataset_images import IMAGE_SETS
from featx.data.datasets import open_arrays, open_images
from featx.data.decoding import image_suffixes, is_image_name
from featx.data.files import Files, FolderFiles
from featx.data.folder_layout import Layout, read_layout
from featx.data.foreign_formats import other_than_images
from featx.data.listing import LeftOut, check_class_folders, count_kinds, find_images, hint_for, name_kinds
from featx.data.parquet import open_parquet
from featx.data.parquet_manifest import is_manifest, open_manifest
from featx.data.remote.url_files import UrlFiles
from featx.data.shard_places import blob_at, braced_shards, listed_shards
from featx.data.source import FileSource, Source
from featx.data.webdataset import is_webdataset, open_shards
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


def _archive(make: Callable[[Blob, Memo | None], ArchiveFiles]) -> Loader:
    """Return what opens archives of a kind."""

    def load(spec: str, memo: Memo | None) -> Splits:
        blob = blob_at(spec)
        files = make(blob, memo)
        names = files.names()
        if files.kind == "tar" and is_webdataset(names, find_images(names, files.head).images):
            return splits_of(spec, *open_shards(safe_url(spec), [blob], memo))
        return splits_of(spec, files, understood(safe_url(spec), files, names, ()))

    return load


def open_folder(spec: str, memo: Memo | None) -> Splits:
    """Open a folder of images; one of Parquet files, if it has no images."""
    files = FolderFiles(expanded(spec), memo)
    names = files.names()
    if inside := files_in(names):
        blobs = [LocalBlob(files.path(name)) for name in inside]
        return open_inside(spec, blobs, memo)
    return splits_of(spec, files, understood(spec, files, names, files.empty))


def files_in(names: Sequence[str]) -> list[str]:
    """Return the Parquet files or tars that a folder consists of; none where it holds images, or neither."""
    suffixes = image_suffixes()
    for ending in (".parquet", ".tar"):
        found = [name for name in names if name.lower().endswith(ending)]
        if found and not any(is_image_name(name, suffixes) for name in names):
            return found
    return []


def open_inside(spec: str, blobs: Sequence[Blob], memo: Memo | None) -> Splits:
    """Open what `files_in` found: Parquet files with images, one manifest, or WebDataset's shards."""
    where = safe_url(spec)
    if blobs[0].name.lower().endswith(".tar"):
        return splits_of(spec, *open_shards(where, blobs, memo))
    if len(blobs) == 1 and is_manifest(blobs[0]):
        return splits_of(spec, *open_manifest(where, blobs[0], memo))
    return splits_of(spec, *open_parquet(where, blobs, memo))


def understood(
    spec: str, files: FolderFiles | ArchiveFiles | UrlFiles, names: list[str], empty: Sequence[str]
) -> Layout:
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
    blob, where = blob_at(spec), safe_url(spec)
    if is_manifest(blob):
        return splits_of(spec, *open_manifest(where, blob, memo))
    return splits_of(spec, *open_parquet(where, [blob], memo, whole=False))


def open_braces(spec: str, memo: Memo | None) -> Splits:
    """Open WebDataset's shards by a name with braces: ``shard-{000000..000999}.tar``."""
    return splits_of(spec, *open_shards(safe_url(spec), braced_shards(spec), memo))


def _shard_list(spec: str, memo: Memo | None) -> Splits:
    return splits_of(spec, *open_shards(safe_url(spec), listed_shards(spec), memo))


def open_listed(spec: str, memo: Memo | None, root: str | os.PathLike[str] | None = None) -> Splits:
    """Open a list, whose paths are relative to its own folder, or to `root`."""
    if is_url(spec):
        return splits_of(spec, *open_remote_list(spec, memo))
    return splits_of(spec, *open_list(expanded(spec), memo, root))


def _named_images(spec: str, memo: Memo | None, progress: Progress) -> Splits:
    return splits_of(spec, *open_images(spec, memo, progress))


def splits_of(spec: str, files: Files, layout: Layout) -> Splits:
    """Return the sources of a layout's splits, which are recorded without a URL's secrets."""
    about = layout.classes, layout.unlabelled
    return {s: FileSource(safe_url(spec), s, files, rows, *about) for s, rows in layout.splits.items()}


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
    ".txt": _shard_list,
    ".npz": npz,
    ".npy": npy,
    ".h5": h5,
    ".hdf5": h5,
}
"""What opens a file, by the ending of its name in lower case."""

LOCAL_ONLY = frozenset((".npz", ".npy", ".h5", ".hdf5"))
"""Of those, the kinds that are not read at a URL."""
