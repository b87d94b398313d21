"""Where images and labels come from: one small interface, one class a kind."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo
from featx.cache.schema import fingerprint
from featx.core.paths import expanded
from featx.core.specs import Progress, no_progress
from featx.data.archives import ArchiveFiles, TarFiles, ZipFiles
from featx.data.array_files import h5, npy
from featx.data.arrays import digits, label_of, npz
from featx.data.csv_list import open_list
from featx.data.dataset_arrays import ARRAY_SETS
from featx.data.dataset_images import IMAGE_SETS
from featx.data.datasets import open_arrays, open_images
from featx.data.decoding import Pixels, decode, image_suffixes, is_image_name
from featx.data.depth import content_digest
from featx.data.files import Files, FolderFiles
from featx.data.folder_layout import Layout, Row, read_layout
from featx.data.foreign_formats import file_hint, other_than_images
from featx.data.listing import (
    LeftOut,
    check_class_folders,
    count_kinds,
    find_images,
    hint_for,
    looks_like_image,
    name_kinds,
)
from featx.data.parquet import open_parquet
from featx.data.remarks import Remarks
from featx.data.splits import check_split, subsample
from featx.errors import FeatxWarning, OptionError, SourceError, decoded, suggest

Labels = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint8]


@runtime_checkable
class Source(Protocol):
    """Images in a fixed order, each with a stable id and perhaps a label.

    Attributes
    ----------
    spec : str
        How the source was written, for the record.
    split : str
        ``train``, ``val``, ``test`` or ``all``.
    ids : sequence of str
        Relative and stable: moving the data does not change them.
    labels : ndarray of int64, shape (n,)
        Positions in `classes`; -1 where a row has no label.
    classes : tuple of str
        Class names.
    channels : int
        3, or 1 where every image is grey.
    """

    spec: str
    split: str
    ids: Sequence[str]
    labels: Labels
    classes: tuple[str, ...]
    channels: int

    def __len__(self) -> int: ...

    def __getitem__(self, i: int) -> tuple[Pixels, int | None]:
        """Return row i's image, uint8 (H, W, C), and its label; ImageError where it cannot be decoded."""

    def row_hashes(self) -> Hashes:
        """Return the SHA-256 of each row's content, uint8 (n, 32)."""

    def fingerprint(self) -> str:
        """Return the SHA-256 over the row hashes in order; labels, ids and paths are no part of it."""

    def subset(self, rows: Labels) -> Source:
        """Return a source of these rows, in this order."""


class FileSource:
    """Encoded images in a folder or archive; `unlabelled` is what would give them labels (see `Layout`)."""

    channels = 3

    def __init__(
        self,
        spec: str,
        split: str,
        files: Files,
        rows: Sequence[Row],
        classes: tuple[str, ...],
        unlabelled: str = "",
    ) -> None:
        self.spec = spec
        self.unlabelled = unlabelled
        self.split = split
        # In a locale of another encoding too, names are those that the record of a run has.
        self.classes = tuple(map(decoded, classes))
        self.ids: Sequence[str] = [decoded(row.id) for row in rows]
        number = {name: i for i, name in enumerate(classes)}
        self.labels: Labels = np.array([-1 if r.label is None else number[r.label] for r in rows], np.int64)
        self._files = files
        self._rows = rows
        self._hashes: Hashes | None = None
        self._bits: int | None = None
        self._remarks = Remarks()

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> tuple[Pixels, int | None]:
        row = self._rows[i]
        data = self._files.read(row.name)
        # The key was made from the hash: bytes that changed since must not be stored under it.
        if content_digest(data) != self.row_hashes()[i].tobytes():
            raise SourceError(
                f"image {row.id} in {self._files.where} changed while featx was reading it", "run it again"
            )
        return decode(data, row.id, self._bits, self._remarks), label_of(self.labels[i])

    def row_hashes(self) -> Hashes:
        if self._hashes is None:
            self._hashes = self._files.hashes([row.name for row in self._rows])
        return self._hashes

    def fingerprint(self) -> str:
        return fingerprint(self.row_hashes())

    def subset(self, rows: Labels) -> FileSource:
        chosen = [self._rows[i] for i in rows]
        part = FileSource(self.spec, self.split, self._files, chosen, self.classes, self.unlabelled)
        part._hashes = None if self._hashes is None else self._hashes[rows]
        part._bits, part._remarks = self._bits, self._remarks
        return part

    def at_bits(self, bits: int) -> FileSource:
        """Return the same rows, so many bits of their 16-bit images counting."""
        self.row_hashes()  # once for both
        source = copy.copy(self)
        source._bits = bits
        return source


class JoinedSource:
    """Several splits of one source as one, rows in order."""

    def __init__(self, parts: Sequence[Source]) -> None:
        self._parts = parts
        self._starts = np.cumsum([0, *map(len, parts)])
        self.spec = parts[0].spec
        self.split = "all"
        self.classes = parts[0].classes
        self.channels = parts[0].channels
        self.ids: Sequence[str] = [name for part in parts for name in part.ids]
        self.labels: Labels = np.concatenate([part.labels for part in parts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, i: int) -> tuple[Pixels, int | None]:
        part = int(np.searchsorted(self._starts, i, side="right")) - 1
        return self._parts[part][i - int(self._starts[part])]

    def row_hashes(self) -> Hashes:
        return np.concatenate([part.row_hashes() for part in self._parts])

    def fingerprint(self) -> str:
        return fingerprint(self.row_hashes())

    def subset(self, rows: Labels) -> JoinedSource:
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        if (np.diff(owner) < 0).any():
            raise OptionError("rows of a joined source must rise from split to split", "sort them")
        return JoinedSource([p.subset(rows[owner == k] - self._starts[k]) for k, p in enumerate(self._parts)])

    def at_bits(self, bits: int) -> JoinedSource:
        """Return the same rows, so many bits of their 16-bit images counting."""
        source = copy.copy(self)
        source._parts = [at_bits(part, bits) for part in self._parts]
        return source


def at_bits(source: Source, bits: int | None) -> Source:
    """Return a source whose 16-bit images are read as images of so many bits; None as they say themselves.

    Raises
    ------
    OptionError
        The source holds arrays, which have 8 bits.
    """
    if bits is None or getattr(source, "bits", None) == bits:
        return source
    how: Callable[[int], Source] | None = getattr(source, "at_bits", None)
    if how is None:
        raise OptionError(
            f"bits={bits} is of image files, and {source.spec} holds arrays of 8 bits", "leave it out (--bits)"
        )
    return how(bits)


Splits = Mapping[str, Source]
Loader = Callable[[str, Memo | None], Splits]
NamedLoader = Callable[[str, Memo | None, Progress], Splits]
"""Opens a set that may have to be downloaded first."""


def _files(make: Callable[[Path, Memo | None], ArchiveFiles]) -> Loader:
    def load(spec: str, memo: Memo | None) -> Splits:
        files = make(expanded(spec), memo)
        return _split(spec, files, _understood(spec, files, files.names(), ()))

    return load


def _folder(spec: str, memo: Memo | None) -> Splits:
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


def _listed(spec: str, memo: Memo | None, root: str | os.PathLike[str] | None = None) -> Splits:
    return _split(spec, *open_list(expanded(spec), memo, root))


def _named_images(spec: str, memo: Memo | None, progress: Progress) -> Splits:
    return _split(spec, *open_images(spec, memo, progress))


def _split(spec: str, files: Files, layout: Layout) -> Splits:
    about = layout.classes, layout.unlabelled
    return {s: FileSource(spec, s, files, rows, *about) for s, rows in layout.splits.items()}


COMPRESSED = (".tgz", ".gz", ".tbz2", ".bz2", ".txz", ".xz", ".zst")
BUILT_IN: dict[str, NamedLoader] = {
    "digits": lambda spec, memo, progress: digits(spec, memo),
    **dict.fromkeys(ARRAY_SETS, open_arrays),
    **dict.fromkeys(IMAGE_SETS, _named_images),
}
BY_SUFFIX: dict[str, Loader] = {
    ".zip": _files(ZipFiles),
    ".tar": _files(TarFiles),
    ".csv": _listed,
    ".tsv": _listed,
    ".parquet": _parquet,
    ".npz": npz,
    ".npy": npy,
    ".h5": h5,
    ".hdf5": h5,
}


def is_list(spec: str | os.PathLike[str]) -> bool:
    """Tell whether a source is a list, whose paths may lie below another folder."""
    return os.fspath(spec) not in BUILT_IN and BY_SUFFIX.get(expanded(spec).suffix.lower()) is _listed


def load_splits(
    spec: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    split: str | None = None,
    limit: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
    memo: Memo | None = None,
    progress: Progress = no_progress,
) -> dict[str, Source]:
    """Open a source and return its splits that have rows: ``{"train": ..., "test": ...}``, or ``{"all": ...}``.

    Parameters
    ----------
    spec : str or path
        A name in `BUILT_IN` (``digits``, ``cifar10``, ...), a folder, or a file of a kind in `BY_SUFFIX`. A name
        wins over a folder that is called the same: ``./cifar10`` means the folder.
    root : str or path, optional
        The folder that a list's paths are relative to, or absolute and below it; without it, the list's own.
    split : str, optional
        Return this one alone.
    limit : int, optional
        At most so many rows of each split, stratified.
    per_class : int, optional
        At most so many rows a class to learn from: of ``train`` or ``all``, or of `split` where one is named.
        Test rows stay whole, so that scores can be compared.
    seed : int
        Of that choice.
    memo : Memo, optional
        Remembers content hashes.
    progress : callable
        Called with (stage, MB done, MB in all) while a named set is downloaded.

    Raises
    ------
    OptionError
        For a source or split that does not exist, and for a `root` that is no folder, or of what is no list.
    SourceError
        For one that cannot be read.
    """
    name = os.fspath(spec)
    splits = _opened(name, root, memo, progress)
    if split is not None:
        check_split(split, splits)
        splits = {split: splits[split]}
    learnt = (split,) if split else ("train", "all")
    chosen = {s: _thinned(source, limit, per_class if s in learnt else None, seed) for s, source in splits.items()}
    filled = {s: source for s, source in chosen.items() if len(source)}
    if not filled:
        raise SourceError(f"{name} has no images in {', '.join(splits)}", "look at the file")
    return filled


def _opened(name: str, root: str | os.PathLike[str] | None, memo: Memo | None, progress: Progress) -> Splits:
    if _is_built_in(name):
        _refuse_root(name, root)
        return BUILT_IN[name](name, memo, progress)
    load = _loader(name)
    if load is _listed:
        return _listed(name, memo, root)
    _refuse_root(name, root)
    return load(name, memo)


def _refuse_root(name: str, root: str | os.PathLike[str] | None) -> None:
    if root is not None:
        kinds = " or ".join(suffix for suffix, load in BY_SUFFIX.items() if load is _listed)
        raise OptionError(
            f"root is the folder of what a list names ({kinds}), and source {name!r} is no list", "leave --root out"
        )


def load_source(
    spec: str | os.PathLike[str],
    split: str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    limit: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
    memo: Memo | None = None,
    progress: Progress = no_progress,
) -> Source:
    """Open one split of a source, or all of its rows; see `load_splits`.

    Examples
    --------
    >>> digits = load_source("digits")
    >>> len(digits), digits.classes[:3], digits.channels
    (1797, ('0', '1', '2'), 1)
    >>> image, label = digits[0]
    >>> image.shape, image.dtype, label
    ((8, 8, 1), dtype('uint8'), 0)
    """
    if split == "all":
        split = None
    found = load_splits(
        spec, root=root, split=split, limit=limit, per_class=per_class, seed=seed, memo=memo, progress=progress
    )
    parts = list(found.values())
    return parts[0] if len(parts) == 1 else JoinedSource(parts)


def _thinned(source: Source, limit: int | None, per_class: int | None, seed: int) -> Source:
    if limit is None and per_class is None:
        return source
    rows = subsample(source.ids, source.labels, limit=limit, per_class=per_class, seed=seed)
    return source if len(rows) == len(source) else source.subset(rows)


def _is_built_in(spec: str) -> bool:
    """Tell whether `spec` is a name; where something in the working folder is called the same, warn."""
    if spec in BUILT_IN and os.path.lexists(spec):
        text = f"{spec} means the data set of that name; the one in this folder is ./{spec}"
        warnings.warn(text, FeatxWarning, stacklevel=5)
    return spec in BUILT_IN


def is_image_file(spec: str) -> bool:
    """Tell whether a source is a single image, by its name, and where that says nothing by its first bytes."""
    path = expanded(spec)
    if not os.path.isfile(path) or path.suffix.lower() in (*BY_SUFFIX, *COMPRESSED):
        return False
    return is_image_name(path.name) or looks_like_image(path.name, FolderFiles(path.parent).head)


def _loader(spec: str) -> Loader:
    path = expanded(spec)
    # An empty text would be the current folder: most often a shell variable that was never set.
    if spec and os.path.isdir(path):
        return _folder
    if not spec or not os.path.isfile(path):
        raise _absent(spec, path)
    suffix = path.suffix.lower()
    if suffix in COMPRESSED:  # a row in the middle would cost unpacking all that stands before it
        raise OptionError(
            f"source {spec!r} is compressed as a whole, expected an uncompressed .tar, which is read in place",
            "unpack it once (for example gunzip x.tar.gz) and name the .tar or the folder",
        )
    if suffix not in BY_SUFFIX:
        kind = "one image" if is_image_file(spec) else f"a {suffix or 'nameless'} file"
        raise OptionError(
            f"source {spec!r} is {kind}, expected a folder, {', '.join(BY_SUFFIX)}, digits or another name",
            file_hint(path) or "name the folder that holds the images",
        )
    return BY_SUFFIX[suffix]


def _absent(spec: str, path: Path) -> OptionError:
    try:
        beside = [p.name for p in path.parent.iterdir()]
    except (OSError, ValueError):  # ValueError: no name that a file could have
        beside = []
    if os.sep in spec or is_image_name(path.name):  # nobody means a data set's name by it
        hint = suggest(path.name, beside) or f"look into the folder {path.parent}"
        return OptionError(f"there is no file or folder {spec!r}", hint)
    return OptionError(
        f"source {spec!r} is neither built in nor a file or folder that exists",
        suggest(path.name, [*beside, *BUILT_IN])
        or f"give a folder, {', '.join(BY_SUFFIX)} or a name: {', '.join(BUILT_IN)}",
    )
