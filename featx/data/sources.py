"""Sources are opened here: by the name of a data set, or by a path; whole or in part."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from featx.cache.memo import Memo
from featx.core.paths import expanded
from featx.core.specs import Progress, no_progress
from featx.core.urls import is_url, safe_url, squeezed_url
from featx.data.decoding import is_image_name
from featx.data.files import FolderFiles
from featx.data.foreign_formats import file_hint
from featx.data.listing import looks_like_image
from featx.data.registry import BUILT_IN, BY_SUFFIX, Loader, Splits, open_braces, open_folder, open_listed
from featx.data.request import SourceRequest, remember_request, request_of
from featx.data.shard_names import has_braces
from featx.data.source import FileSource, JoinedSource, Source, at_bits
from featx.data.splits import check_split, subsample
from featx.data.url_sources import open_url
from featx.errors import FeatxWarning, OptionError, SourceError, suggest

__all__ = [
    "FileSource",
    "JoinedSource",
    "Source",
    "at_bits",
    "check_source",
    "is_image_file",
    "is_list",
    "load_source",
    "load_splits",
    "thin_splits",
]

COMPRESSED = (".tgz", ".gz", ".tbz2", ".bz2", ".txz", ".xz", ".zst")
"""Endings of files that are packed as a whole, archives among them."""


LEARNT = ("train", "all")
"""Splits to learn from."""


def is_list(spec: str | os.PathLike[str]) -> bool:
    """Tell whether a source is a list, whose paths may lie below another folder."""
    name = os.fspath(spec)
    return name not in BUILT_IN and not is_url(name) and BY_SUFFIX.get(expanded(name).suffix.lower()) is open_listed


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
        A name in `BUILT_IN` (``digits``, ``cifar10``, ...), a folder, a file of a kind in `BY_SUFFIX`, WebDataset's
        shards in braces (``shard-{000000..000999}.tar``), or the URL of one of these. A name takes precedence over a
        folder of the same name: ``./cifar10`` means the folder.
    root : str or path, optional
        The folder that a list's paths are relative to, or absolute and inside it; None takes the list's own.
    split : str, optional
        Return only this one.
    limit : int, optional
        Maximum number of rows per split, stratified.
    per_class : int, optional
        Maximum number of rows per class to learn from: of ``train`` or ``all``, or of `split` if one is given. Test
        splits are left as they are, so that scores can be compared.
    seed : int
        Seed for that choice.
    memo : Memo, optional
        Remembers content hashes.
    progress : callable
        Called with (stage, MB done, MB in all) while a named set is downloaded.

    Returns
    -------
    dict of str to Source
        The splits, by name.

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
    learnt = (split,) if split else LEARNT
    found = thin_splits(safe_url(name), splits, limit=limit, per_class=per_class, seed=seed, learnt=learnt)
    asked = SourceRequest(name, None if root is None else os.fspath(root), split, limit, per_class, seed)
    for part, source in found.items():
        remember_request(source, replace(asked, part=part))
    return found


def _opened(name: str, root: str | os.PathLike[str] | None, memo: Memo | None, progress: Progress) -> Splits:
    if _is_built_in(name):
        _refuse_root(name, root)
        return BUILT_IN[name](name, memo, progress)
    if is_url(name):
        _refuse_root(safe_url(name), root)
        return open_url(name, memo)
    load = _loader(name)
    if load is open_listed:
        return open_listed(name, memo, root)
    _refuse_root(name, root)
    return load(name, memo)


def check_source(spec: str) -> None:
    """Refuse a source that is not there, or is of no kind that can be opened, without opening it.

    Raises
    ------
    OptionError
        As `load_splits`.
    """
    if spec not in BUILT_IN and not is_url(spec):
        _loader(spec)


def _refuse_root(name: str, root: str | os.PathLike[str] | None) -> None:
    if root is not None:
        kinds = " or ".join(suffix for suffix, load in BY_SUFFIX.items() if load is open_listed)
        raise OptionError(f"root is for lists ({kinds}), and source {name!r} is not a list", "leave --root out")


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
    """Open one split of a source, or all of its rows.

    Parameters
    ----------
    spec : str or path
        A named data set (``digits``, ``cifar10``, ...), a folder of images, or a file: a ``.zip`` or ``.tar`` of
        images, a list (``.csv``, ``.tsv``), ``.parquet``, or arrays (``.npz``, ``.npy``, ``.h5``); WebDataset's shards
        (``shard-{000000..000999}.tar``), or the URL of one of these, as text (``s3://``, ``gs://``, ``https://``).
    split : str, optional
        ``train``, ``test``, ...; None and ``all`` mean all rows.
    root : str or path, optional
        The folder that a list's paths are relative to, or absolute and inside it; None takes the list's own.
    limit : int, optional
        Maximum number of rows per split, stratified.
    per_class : int, optional
        Maximum number of rows per class to learn from: see `load_splits`.
    seed : int
        Seed for that choice.
    memo : Memo, optional
        Remembers content hashes.
    progress : callable
        Called with (stage, MB done, MB in all) while a named set is downloaded.

    Returns
    -------
    Source
        Images in a fixed order, with ids, and labels where there are some.

    Raises
    ------
    OptionError
        For a source or split that does not exist, and for a `root` that is no folder, or of what is no list.
    SourceError
        For one that cannot be read.

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
    if len(parts) == 1:
        return parts[0]
    whole = JoinedSource(parts)
    asked = request_of(parts[0])
    if asked is not None:
        remember_request(whole, replace(asked, part=None))
    return whole


def thin_splits(
    name: str,
    splits: Splits,
    *,
    limit: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
    learnt: Sequence[str] = LEARNT,
) -> dict[str, Source]:
    """Return a source's splits that have rows, with as few rows as `load_splits` takes of them.

    Parameters
    ----------
    name : str
        Of the source, for errors.
    splits : mapping of str to Source
        By name.
    limit, per_class, seed : int
        As `load_splits`.
    learnt : sequence of str
        The splits that `per_class` is for.

    Raises
    ------
    SourceError
        There are no rows.
    """
    chosen = {s: _thinned(source, limit, per_class if s in learnt else None, seed) for s, source in splits.items()}
    filled = {s: source for s, source in chosen.items() if len(source)}
    if not filled:
        raise SourceError(f"{name} has no images in {', '.join(splits)}", "check the file")
    return filled


def _thinned(source: Source, limit: int | None, per_class: int | None, seed: int) -> Source:
    if limit is None and per_class is None:
        return source
    rows = subsample(source.ids, source.labels, limit=limit, per_class=per_class, seed=seed)
    return source if len(rows) == len(source) else source.subset(rows)


def _is_built_in(spec: str) -> bool:
    """Tell whether `spec` is a name; where something in the working folder is called the same, warn."""
    if spec in BUILT_IN and os.path.lexists(spec):
        text = f"{spec} means the data set of that name; to use the one in this folder, give ./{spec}"
        warnings.warn(text, FeatxWarning, stacklevel=5)
    return spec in BUILT_IN


def is_image_file(spec: str) -> bool:
    """Tell whether a source is a single image, by its name, and where that says nothing by its first bytes."""
    path = expanded(spec)
    if is_url(spec) or not os.path.isfile(path) or path.suffix.lower() in (*BY_SUFFIX, *COMPRESSED):
        return False
    return is_image_name(path.name) or looks_like_image(path.name, FolderFiles(path.parent).head)


def _loader(spec: str) -> Loader:
    path = expanded(spec)
    if url := squeezed_url(spec):
        raise OptionError(f"source {safe_url(url)} was given as a path, which URLs are not", "give it as a text")
    if path.suffix.lower() == ".tar" and has_braces(spec) and not os.path.lexists(path):
        return open_braces
    # An empty text would be the current folder: most often a shell variable that was never set.
    if spec and os.path.isdir(path):
        return open_folder
    if not spec or not os.path.isfile(path):
        raise _absent(spec, path)
    return _file_loader(spec, path)


def _file_loader(spec: str, path: Path) -> Loader:
    suffix = path.suffix.lower()
    if suffix in COMPRESSED:  # a row in the middle would cost unpacking everything before it
        raise OptionError(
            f"source {spec!r} is compressed as a whole, expected an uncompressed .tar",
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
        hint = suggest(path.name, beside) or f"check the folder {path.parent}"
        return OptionError(f"there is no file or folder {spec!r}", hint)
    return OptionError(
        f"source {spec!r} is neither built in nor a file or folder that exists",
        suggest(path.name, [*beside, *BUILT_IN])
        or f"give a folder, {', '.join(BY_SUFFIX)} or a name: {', '.join(BUILT_IN)}",
    )
