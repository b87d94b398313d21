"""How similar representations of the same images are: CKA, RSA and mutual nearest neighbours of every two layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.audit.cka import CKA, LEAST, linear_cka
from featx.audit.mutual_neighbours import neighbours as nearest
from featx.audit.mutual_neighbours import overlaps
from featx.audit.rows import Floats, Rows
from featx.audit.rsa import correlations, dissimilarities
from featx.audit.similarity_config import SimilarityConfig
from featx.core.specs import Progress, no_progress
from featx.errors import OptionError, first_few

CONSTANT = "constant: all rows are equal"
EVEN = "all rows are at the same distance from one another"


@dataclass(frozen=True)
class Similarity:
    """How similar layers are; matrices are (layers, layers), NaN where a layer has no structure.

    Parameters
    ----------
    names : tuple of str
        The layers.
    rows : int
        Rows that CKA is of.
    columns : tuple of int
        Of each layer.
    cka : ndarray of shape (layers, layers)
        Linear CKA by the unbiased estimator: on average 0 for independent layers, 1 for layers that are the same up to
        an orthogonal map, a shift and a scale.
    biased : ndarray of shape (layers, layers)
        Linear CKA by the usual, biased estimator.
    biased_shuffled : ndarray of shape (layers, layers)
        What `biased` is on average where one layer's rows are shuffled, and nothing is in common.
    pearson, spearman : ndarray of shape (layers, layers)
        RSA: correlations of the Euclidean distances of all pairs of the sample's rows.
    knn : ndarray of shape (layers, layers)
        Mean share of the nearest neighbours by cosine that are the same, within the sample.
    sample : int
        Rows of the sample.
    neighbours : int
        Nearest neighbours of a row.
    seed : int
        What drew the sample.
    undefined : dict of str to str
        Layers without structure, and why.
    """

    names: tuple[str, ...]
    rows: int
    columns: tuple[int, ...]
    cka: Floats
    biased: Floats
    biased_shuffled: Floats
    pearson: Floats
    spearman: Floats
    knn: Floats
    sample: int
    neighbours: int
    seed: int
    undefined: dict[str, str] = field(default_factory=dict)

    @property
    def knn_shuffled(self) -> float:
        """The mean share of neighbours in common of layers that have nothing in common."""
        return self.neighbours / (self.sample - 1)

    def as_dict(self) -> dict[str, Any]:
        """Return what ``featx similarity --json`` says of it.

        Returns
        -------
        dict
            JSON-able but for NaN; matrices are lists of rows.
        """
        return {
            "names": list(self.names),
            "rows": self.rows,
            "columns": list(self.columns),
            "cka": self.cka.tolist(),
            "biased": self.biased.tolist(),
            "biased_shuffled": self.biased_shuffled.tolist(),
            "rsa": {"pearson": self.pearson.tolist(), "spearman": self.spearman.tolist()},
            "knn": self.knn.tolist(),
            "knn_shuffled": self.knn_shuffled,
            "sample": self.sample,
            "neighbours": self.neighbours,
            "seed": self.seed,
            "undefined": self.undefined,
        }


def similarity(
    features: Mapping[str, Rows],
    *,
    sample: int = SimilarityConfig.sample,
    neighbours: int = SimilarityConfig.neighbours,
    seed: int = 0,
    progress: Progress = no_progress,
) -> Similarity:
    """Compare layers' features of the same images with one another.

    CKA is of all rows, which are read block by block, so that any number of them fits in memory; RSA and nearest
    neighbours are of a sample.

    Parameters
    ----------
    features : mapping of str to array of shape (n, d)
        By name: arrays, or what is read from a store, such as `FeatureTable.X`. Rows are the same images in the same
        order; columns may be as many as a layer has. At least two layers, and four rows.
    sample : int
        Rows, drawn by `seed`, whose distances and neighbours are compared; all where there are fewer.
    neighbours : int
        Nearest neighbours of a row; two fewer than rows where these are few.
    seed : int
        Seed of the sample.
    progress : callable
        Called with (stage, rows done, rows in all).

    Returns
    -------
    Similarity
        Of every two layers.

    Raises
    ------
    OptionError
        For fewer than two layers, fewer than four rows, or layers whose numbers of rows differ.
    FeatureError
        For NaN or infinity among the features.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.random.default_rng(0).normal(size=(500, 8))
    >>> turned, other = 3 * X[:, ::-1], np.random.default_rng(1).normal(size=(500, 20))
    >>> found = similarity({"X": X, "turned": turned, "other": other})
    >>> [f"{value:.3f}" for value in found.cka[0]], [f"{value:.3f}" for value in found.biased[0]]
    (['1.000', '1.000', '-0.001'], ['1.000', '1.000', '0.024'])
    """
    config = SimilarityConfig(sample, neighbours)
    n = _check(features)
    layers = list(features.values())
    cka = linear_cka(layers, progress)
    m = min(config.sample, n)
    k = min(config.neighbours, m - 2)
    drawn = np.sort(np.random.default_rng(seed).choice(n, m, replace=False))
    undefined = _undefined(list(features), cka)
    distances, nearby = [], []
    for name, layer in features.items():  # one at a time: they may be wide
        X = np.asarray(layer[drawn], np.float64)
        told = name not in undefined and bool((X[0] != X).any())
        distances.append(dissimilarities(X) if told else np.zeros(m * (m - 1) // 2))
        nearby.append(nearest(X, k) if told else None)
        progress("sample", len(distances) * m, len(layers) * m)
    pearson, spearman = correlations(np.stack(distances))
    return Similarity(
        names=tuple(features),
        rows=n,
        columns=tuple(layer.shape[1] for layer in layers),
        cka=cka.unbiased,
        biased=cka.biased,
        biased_shuffled=cka.shuffled,
        pearson=pearson,
        spearman=spearman,
        knn=overlaps(nearby),
        sample=m,
        neighbours=k,
        seed=seed,
        undefined=undefined,
    )


def _check(features: Mapping[str, Rows]) -> int:
    """Return the number of rows, once it is known that the layers can be compared."""
    if len(features) < 2:
        raise OptionError(
            f"{len(features)} layer(s) to compare, expected two or more", "give several --layer, or a pattern"
        )
    for name, layer in features.items():
        if len(layer.shape) != 2 or not layer.shape[1]:
            raise OptionError(f"features of {name!r} have shape {layer.shape}, expected (rows, columns)")
    counts = {name: layer.shape[0] for name, layer in features.items()}
    if len(set(counts.values())) > 1:
        shown = first_few([f"{name} {rows}" for name, rows in counts.items()])
        raise OptionError(f"layers have different numbers of rows ({shown}), expected the same images for all")
    n = next(iter(counts.values()))
    if n < LEAST:
        raise OptionError(f"{n} row(s), expected {LEAST} or more: the unbiased estimate divides by n - 3", "give more")
    return n


def _undefined(names: Sequence[str], cka: CKA) -> dict[str, str]:
    """Return the layers that are similar to nothing, and why."""
    lacking = np.isnan(np.diag(cka.unbiased))
    return {names[i]: CONSTANT if cka.constant[i] else EVEN for i in np.flatnonzero(lacking).tolist()}
