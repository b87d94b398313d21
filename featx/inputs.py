"""What callers of the Python API hand over, as a source."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.arrays import ArraySource
from featx.cache.store import FeatureStore
from featx.errors import OptionError, SourceError
from featx.files import PathFiles
from featx.home import expanded
from featx.layouts import Row
from featx.sources import FileSource, Source, load_source

Images = Source | npt.NDArray[Any] | Sequence[str | os.PathLike[str]] | str | os.PathLike[str]
"""A Source, uint8 arrays (n, H, W[, C]), paths of images, or one string that `load_source` understands."""


def as_source(X: Images) -> Source:
    """Return images as a source.

    Raises
    ------
    OptionError, SourceError
        For anything that is none of `Images`.
    """
    if isinstance(X, Source):
        return X
    if isinstance(X, (str, os.PathLike)):
        return load_source(X)
    if isinstance(X, np.ndarray) and X.dtype.kind not in "UO":
        return _some(ArraySource(X))
    try:
        paths = list(X)
    except TypeError:
        paths = [X]
    if not all(isinstance(p, (str, os.PathLike)) for p in paths):
        raise OptionError(
            f"images are {type(X).__name__} of {type(paths[0]).__name__}, expected uint8 arrays of shape "
            "(n, H, W, C), paths or a Source",
            "np.stack the images if they are arrays",
        )
    names = [os.fspath(p) for p in paths]
    rows = [Row(str(expanded(name)), name, None) for name in names]
    return _some(FileSource("paths", "all", PathFiles(), rows, ()))


def _some(source: Source) -> Source:
    if not len(source):
        raise SourceError("there are no images", "give at least one")
    return source


def as_store(store: FeatureStore | str | os.PathLike[str] | None) -> FeatureStore | None:
    """Return the store that a caller means: one already, a home folder, or none."""
    return store if store is None or isinstance(store, FeatureStore) else FeatureStore(store)


def relabelled(source: Source, y: Any) -> tuple[Source, npt.NDArray[Any]]:
    """Return the source with other labels, and the classes: the sorted distinct values of `y`.

    Parameters
    ----------
    y : array-like of shape (n,), or None
        None keeps the source's own labels; the classes are then its class names.
    """
    if y is None:
        if not (source.labels >= 0).any():
            raise SourceError("the images have no labels, and fitting needs them", "give y")
        return source, np.array(source.classes)
    values = np.asarray(y)
    if values.shape != (len(source),):
        raise OptionError(f"y has shape {values.shape}, expected ({len(source)},): one label an image")
    classes, labels = np.unique(values, return_inverse=True)
    changed = copy.copy(source)
    changed.labels = labels.astype(np.int64)
    changed.classes = tuple(str(c) for c in classes)
    return changed, classes
