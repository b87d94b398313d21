"""Images that are there twice: the same bytes, the same pixels, or the same shot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.audit.cells import neighbours_in_cells
from featx.audit.duplicates import components, groups_of, pairs_of
from featx.audit.findings import EXACT, NEAR, SAME_PIXELS, Leak
from featx.audit.images import AuditedImages
from featx.audit.leaks_config import LeaksConfig
from featx.audit.neighbours import Pairs, neighbours
from featx.audit.outliers import outlier_distances
from featx.audit.rows import Rows
from featx.audit.same_shot import match
from featx.audit.spectrum import SpectrumFeatures
from featx.audit.whiten import Floats, whitened
from featx.core.specs import Progress, no_progress

LEAST_SIDE = 16
"""Smaller images, px, have too few details to tell the same shot from a look-alike."""


@dataclass(frozen=True)
class Leaks:
    """What is there twice.

    Parameters
    ----------
    pairs : list of Leak
        The best first. Of more than two equal images, each is paired with the first.
    groups : ndarray of int64 of shape (n,)
        The same number for images that hang together by pairs.
    compared : int
        Pairs whose pixels were compared.
    left_out : int
        Nearest neighbours whose pixels were not, as `LeaksConfig.most` has it.
    closest : float or None
        The largest cosine among those.
    recall : float
        Share of the nearest neighbours that were found, by features or by spectra, whichever is lower: 1 where all
        images were compared; else measured on a sample of them.
    distances : ndarray of float64 of shape (n,)
        Of each row from its nearest neighbours, see `featx.audit.outliers`; NaN for those without features, and for
        all but the first of equal ones.
    small : int
        Images with a side below `LEAST_SIDE`, for which only equal ones were searched.
    """

    pairs: list[Leak]
    groups: NDArray[np.int64]
    compared: int
    left_out: int
    closest: float | None
    recall: float
    distances: NDArray[np.float64]
    small: int

    def leaked(self, splits: list[str], into: str) -> NDArray[np.bool_]:
        """Mark the rows of split `into` that hang together with a row of another split, bool (n,)."""
        where = np.array(splits)
        outside = np.unique(self.groups[where != into])
        leaked: NDArray[np.bool_] = (where == into) & np.isin(self.groups, outside)
        return leaked


def find_leaks(
    images: AuditedImages,
    features: Callable[[NDArray[np.int64]], tuple[Rows, NDArray[np.int64]]],
    config: LeaksConfig,
    progress: Progress = no_progress,
) -> Leaks:
    """Compare bytes, then pixels, then the pixels of those that features find similar.

    Parameters
    ----------
    images : AuditedImages
        Looked at.
    features : callable
        Given row numbers, returns the features of those that have some, and which rows these are.
    config : LeaksConfig
        How many neighbours, and from what score on.
    progress : callable
        Told of each stage.
    """
    by_bytes = groups_of(images.hashes, images.readable)
    only = np.flatnonzero(images.readable & (by_bytes == np.arange(len(images))))
    by_pixels = np.arange(len(images))
    by_pixels[only] = only[groups_of(images.digests[only], np.ones(len(only), bool))]
    found = [_leak(images, a, b, EXACT, 1.0) for a, b in pairs_of(by_bytes)]
    found += [_leak(images, a, b, SAME_PIXELS, 1.0) for a, b in pairs_of(by_pixels)]
    unique = np.flatnonzero(
        images.readable & (by_bytes == np.arange(len(images))) & (by_pixels == np.arange(len(images)))
    )
    near = _near(images, *features(unique), config, progress)
    found += near.pairs
    groups = components(len(images), [(leak.row_a, leak.row_b) for leak in found])
    return Leaks(found, groups, near.compared, near.left_out, near.closest, near.recall, near.distances, near.small)


@dataclass(frozen=True)
class _Near:
    """Images of the same shot, the best first; the other fields are those of `Leaks`."""

    pairs: list[Leak]
    compared: int
    left_out: int
    closest: float | None
    recall: float
    distances: NDArray[np.float64]
    small: int


def _near(images: AuditedImages, X: Rows, rows: NDArray[np.int64], config: LeaksConfig, progress: Progress) -> _Near:
    """Search for images of the same shot among those that features find similar."""
    large = images.sides() >= LEAST_SIDE
    small = int((~large[rows]).sum())
    if len(rows) < 2:
        return _Near([], 0, 0, None, 1.0, np.full(len(images), np.nan), small)
    by_features, some_found = nearest(whitened(X), config, progress)
    by_spectra, others_found = nearest(whitened(SpectrumFeatures(images, rows)), config, progress)
    pairs, recall = by_features.union(by_spectra), min(some_found, others_found)
    pairs = pairs.where(large[rows[pairs.a]] & large[rows[pairs.b]])
    some = slice(0, config.most)
    a, b = rows[pairs.a[some]], rows[pairs.b[some]]
    found = match(images.lightness, a, b, progress)
    order = np.argsort(-found.score, kind="stable")
    good = order[found.score[order] >= config.threshold]
    near = [
        _leak(images, int(a[i]), int(b[i]), NEAR, float(found.score[i]), bool(found.mirrored[i])) for i in good.tolist()
    ]
    left_out = len(pairs) - len(a)
    closest = float(pairs.cosine[len(a)]) if left_out else None
    distances = np.full(len(images), np.nan)
    distances[rows] = outlier_distances(X, progress=progress)
    return _Near(near, len(a), left_out, closest, recall, distances, small)


def nearest(Z: Floats, config: LeaksConfig, progress: Progress = no_progress) -> tuple[Pairs, float]:
    """Return each row's nearest others as pairs, and which share of all of them that is.

    Parameters
    ----------
    Z : ndarray of float32 of shape (n, d)
        Rows of length 1, see `featx.audit.whiten`.
    config : LeaksConfig
        How many, and up to how many rows all are compared.
    progress : callable
        Told of the rows done.
    """
    if len(Z) <= config.exact_rows:
        return neighbours(Z, config.neighbours, progress), 1.0
    return neighbours_in_cells(Z, config.neighbours, progress=progress)


def _leak(images: AuditedImages, a: int, b: int, kind: str, score: float, mirrored: bool = False) -> Leak:
    ids, splits = images.ids, images.splits
    return Leak(ids[a], ids[b], splits[a], splits[b], kind, score, mirrored, a, b)
