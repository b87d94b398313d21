"""What callers of the Python API hand over, as a source."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.cache.store import FeatureStore
from featx.core.backbone_names import check_backbone, is_run
from featx.core.paths import expanded
from featx.data.arrays import ArraySource
from featx.data.files import PathFiles
from featx.data.folder_layout import Row
from featx.data.in_memory import images_in, is_image, listed
from featx.data.sources import FileSource, Source, load_source
from featx.errors import FeatxWarning, OptionError, SourceError
from featx.models.backbones import Backbone
from featx.models.families import family_of

Images = Source | npt.NDArray[Any] | Sequence[Any] | str | os.PathLike[str] | Any
"""What stands for images, see `as_source`; tensors and PIL images are not named, so that nothing need be loaded."""


def as_source(X: Images, channels: int | None = None, bits: int | None = None) -> Source:
    """Return images as a source.

    Parameters
    ----------
    X : Source, array, tensor, list or str
        A Source; uint8 images (n, H, W), (n, H, W, C) or (n, C, H, W) in an array or a torch tensor, whose values may
        also be floats from 0 to 1; a list of arrays, tensors or PIL images, whose sizes may differ; paths of images,
        in a list or a data frame of one column; or one string that `load_source` understands.
    channels : int, optional
        C, where it is known that the network takes neither 1 nor 3.
    bits : int, optional
        How many bits of PIL images of 16 bits count, see `listed`; of files the preprocessing says it.

    Raises
    ------
    OptionError, SourceError
        For anything else, and for shapes whose channels could be first or last.
    """
    if isinstance(X, Source):
        return X
    if isinstance(X, (str, os.PathLike)):
        return load_source(X)
    if is_image(X) and hasattr(X, "ndim"):
        return _some(ArraySource(images_in(X, channels), channels=channels))
    items = _items(X)
    if items and is_image(items[0]):
        return listed(items, channels, bits)
    if not all(isinstance(p, (str, os.PathLike)) for p in items):
        other = next(item for item in items if not isinstance(item, (str, os.PathLike)))
        raise OptionError(
            f"images are {type(X).__name__} of {type(other).__name__}, expected uint8 arrays of shape (n, H, W, C), "
            "tensors, a list of such images or of PIL images, paths or a Source",
            "give the images themselves, or their paths",
        )
    names = [os.fspath(p) for p in items]
    rows = [Row(str(expanded(name)), name, None) for name in names]
    return _some(FileSource("paths", "all", PathFiles(), rows, ()))


def opened(
    X: Images, name: str, look_up: Callable[[int | None], Backbone], bits: int | None
) -> tuple[Source, Backbone]:
    """Return images as a source, and the network that is to see them.

    A network of one's own, or of a run, says how many channels the images have; others take what the images have.

    Parameters
    ----------
    name : str
        The network's.
    look_up : callable
        Given the images' channels, or None, it returns the network.
    bits : int, optional
        How many bits of 16-bit images count, where the caller says it; else as the network was trained.
    """
    check_backbone(name)
    if is_run(name) or family_of(name).is_users_code:
        backbone = look_up(None)
        return as_source(X, backbone.preprocess.channels, backbone.preprocess.bits), backbone
    source = as_source(X, bits=bits)
    return source, look_up(source.channels)


def warn_of(backbone: Backbone) -> None:
    """Warn of what a user should know of a network, as the commands note it."""
    for note in backbone.notes:
        warnings.warn(note, FeatxWarning, stacklevel=4)


def _items(X: Any) -> list[Any]:
    """Return what a collection holds; a data frame's only column, or an array of one column, is what is meant."""
    if getattr(X, "ndim", 1) == 2 and X.shape[1] == 1:
        X = np.asarray(X)[:, 0]
    elif hasattr(X, "columns"):
        raise OptionError(f"images are a data frame of {X.shape[1]} columns, expected one of paths", "give that column")
    try:
        return list(X)
    except TypeError:
        return [X]


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
