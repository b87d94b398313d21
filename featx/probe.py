"""Softmax regression on one layer's features, extracted where they are missing: the protocol of ``featx fit``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.backbones import Backbone
from featx.cache.store import FeatureStore, FeatureTable
from featx.errors import OptionError, SourceError
from featx.extract import ExtractResult, extract
from featx.forward import pick_device
from featx.metrics import Scores, full_logits, score
from featx.softmax import SoftmaxRegression
from featx.specs import ExtractConfig, FitConfig, LayerSpec, Progress, no_progress
from featx.splits import Part, Partition


@dataclass
class ProbeResult:
    """A fitted softmax regression and how good it is.

    Parameters
    ----------
    model : SoftmaxRegression
        Fitted on the training rows; its classes are positions in ``partition.classes``.
    scores : dict of str to Scores
        ``train``, ``val``, ``test``, where they have rows.
    columns, bytes : int
        Values of a row; of all features that were read.
    extraction : ExtractResult
        What was computed and what was reused.
    seconds : dict
        By stage: ``extract``, ``read``, ``fit``, ``score``, ``total``.
    """

    model: SoftmaxRegression
    scores: dict[str, Scores]
    columns: int
    bytes: int
    extraction: ExtractResult
    seconds: dict[str, float]


def fit_probe(
    partition: Partition,
    backbone: Backbone,
    layer: LayerSpec | str,
    store: FeatureStore,
    extraction: ExtractConfig | None = None,
    config: FitConfig | None = None,
    progress: Progress = no_progress,
) -> ProbeResult:
    """Extract what is missing, fit on ``partition.train``, score every part once.

    Parameters
    ----------
    partition : Partition
        Disjoint rows.
    backbone : Backbone
        ``pixels`` for raw pixels.
    layer : LayerSpec or str
        One layer.
    store : FeatureStore
        Of the features.
    extraction, config : ExtractConfig, FitConfig
        How to extract, and how to fit.

    Raises
    ------
    SourceError
        Fewer than two classes have training rows.
    FeatxError
        As `extract`.
    """
    extraction, config = extraction or ExtractConfig(), config or FitConfig()
    layer = LayerSpec.parse(layer) if isinstance(layer, str) else layer
    if layer.is_pattern:
        raise OptionError(f"layer {layer} stands for several, expected one to fit on", "name one layer")
    clock = [time.perf_counter()]
    found = extract(partition.sources(), backbone, [layer], store, extraction, progress)
    clock.append(time.perf_counter())
    data = {n: _read(found.tables[p.source.split, str(layer)], p) for n, p in partition.parts().items()}
    X, y = data["train"]
    if len(np.unique(y)) < 2:
        raise SourceError(
            f"the training rows hold {len(np.unique(y))} class(es), expected two or more",
            "give more images or another --train-split",
        )
    clock.append(time.perf_counter())
    model = SoftmaxRegression(
        C=config.C,
        fit_intercept=config.fit_intercept,
        tol=config.tol,
        max_iter=config.max_iter,
        standardize=config.standardize,
        device=str(pick_device(extraction.device)),
    ).fit(X, y)
    clock.append(time.perf_counter())
    k = len(partition.classes)
    scores = {n: score(full_logits(model, X, k), y, k) for n, (X, y) in data.items() if len(y)}
    clock.append(time.perf_counter())
    seconds = dict(zip(("extract", "read", "fit", "score"), np.diff(clock).tolist(), strict=True))
    tables = {id(table): table for table in found.tables.values()}.values()
    size = sum(line["bytes"] for line in found.layers)
    return ProbeResult(
        model, scores, next(iter(tables)).shape[1], size, found, seconds | {"total": clock[-1] - clock[0]}
    )


def _read(table: FeatureTable, part: Part) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return a part's features and labels; rows whose image was skipped are left out of both."""
    rows = part.rows[np.isin(part.rows, table.rows)]
    X = np.asarray(table.X[np.searchsorted(table.rows, rows)], np.float32)
    return X, part.source.labels[rows]
