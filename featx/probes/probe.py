"""A head on stored features, extracted where they are missing: the protocol of ``featx fit``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.cache.store import FeatureStore, FeatureTable
from featx.core.device import pick_device
from featx.core.guessing import worse_than_guessing
from featx.core.metrics import Scores
from featx.core.specs import ExtractConfig, LayerSpec, Progress, no_progress
from featx.data.splits import Part, Partition
from featx.errors import FeatxWarning, OptionError, SourceError
from featx.extraction.extract import ExtractResult, extract
from featx.models.backbones import Backbone
from featx.probes.check_array import is_streamed
from featx.probes.config import FitConfig
from featx.probes.evaluation import HeadFit, fit_head


@dataclass
class ProbeResult:
    """A head fitted on one layer's features, and how good it is.

    Parameters
    ----------
    model : classifier
        Fitted; its classes are positions in ``partition.classes``.
    scores : dict of str to Scores
        ``train``, ``val``, ``test``, where they have rows.
    columns, bytes : int
        Values of a row; of all features that were read.
    extraction : ExtractResult
        What was computed and what was reused, of this layer.
    seconds : dict
        By stage: ``extract`` (of all layers together), ``read``, ``fit`` (and choosing), ``score``, ``total``.
    config : FitConfig
        With what was chosen filled in.
    scored : dict of str to Part
        The rows that were scored: those of the partition, without skipped images.
    search, draws : dict
        See `featx.probes.evaluation.HeadFit`.
    """

    model: Any
    scores: dict[str, Scores]
    columns: int
    bytes: int
    extraction: ExtractResult
    seconds: dict[str, float]
    config: FitConfig
    scored: dict[str, Part]
    search: dict[str, Any] = field(default_factory=dict)
    draws: dict[str, Any] = field(default_factory=dict)


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
    layer = LayerSpec.parse(layer) if isinstance(layer, str) else layer
    if layer.is_pattern:
        raise OptionError(f"layer {layer} stands for several, expected one to fit on", "name one layer")
    (result,) = fit_layers(partition, backbone, [layer], store, extraction, config, progress).values()
    return result


def fit_layers(
    partition: Partition,
    backbone: Backbone,
    layers: Sequence[LayerSpec | str],
    store: FeatureStore,
    extraction: ExtractConfig | None = None,
    config: FitConfig | None = None,
    progress: Progress = no_progress,
) -> dict[str, ProbeResult]:
    """Extract what is missing of several layers in one pass, and fit on each of them as `fit_probe` does.

    Parameters
    ----------
    layers : sequence of LayerSpec or str
        Patterns stand for all layers that they match.

    Returns
    -------
    dict of str to ProbeResult
        By layer, in the order given, a pattern's in the network's.
    """
    extraction, config = extraction or ExtractConfig(), config or FitConfig()
    start = time.perf_counter()
    found = extract(partition.sources(), backbone, layers, store, extraction, progress)
    seconds = time.perf_counter() - start
    device = str(pick_device(extraction.device))
    names = dict.fromkeys(layer for _, layer in found.tables)
    return {name: _fit_layer(partition, found.only(name), config, device, seconds) for name in names}


def best_layer(results: Mapping[str, ProbeResult]) -> str:
    """Return the layer that predicts the validation rows best; of several, the first.

    Raises
    ------
    SourceError
        There is a choice, and there are no validation rows.
    """
    if len(results) > 1 and any("val" not in result.scores for result in results.values()):
        raise SourceError("there are no validation rows to choose a layer by", "give more images, or one --layer")
    return max(results, key=lambda name: results[name].scores["val"].accuracy if len(results) > 1 else 0.0)


def _fit_layer(
    partition: Partition, found: ExtractResult, config: FitConfig, device: str, extracting: float
) -> ProbeResult:
    """Fit on the one layer that `found` is of."""
    clock = [time.perf_counter()]
    tables = {split: table for (split, _), table in found.tables.items()}
    streams = config.head == "softmax" and config.sweep is None
    data = {use: _read(tables[part.source.split], part, streams) for use, part in partition.parts().items()}
    classes = len(np.unique(data["train"][1]))
    if classes < 2:
        raise SourceError(
            f"the training rows hold {classes} class(es), expected two or more",
            "give more images or another --train-split",
        )
    clock.append(time.perf_counter())
    fitted = fit_head(data, config, len(partition.classes), device)
    clock.append(time.perf_counter())
    found = replace(found, notes=[*found.notes, *_notes(fitted, config)])
    read, fit = np.diff(clock).tolist()
    seconds = {"extract": extracting, "read": read, "fit": fitted.fit_seconds, "score": fit - fitted.fit_seconds}
    return ProbeResult(
        fitted.model,
        fitted.scores,
        next(iter(tables.values())).shape[1],
        sum(line["bytes"] for line in found.layers),
        found,
        seconds | {"total": sum(seconds.values())},
        fitted.config,
        {use: _kept(tables[part.source.split], part) for use, part in partition.parts().items()},
        fitted.search,
        fitted.draws,
    )


def _kept(table: FeatureTable, part: Part) -> Part:
    """Return a part without the rows whose image was skipped."""
    return replace(part, rows=part.rows[np.isin(part.rows, table.rows)])


def _notes(fitted: HeadFit, config: FitConfig) -> list[str]:
    """Say where a softmax regression is worse than guessing, as one by stochastic gradient descent may be."""
    if config.head != "softmax":
        return []
    train = {"train": fitted.scores["train"]}  # of several layers, the others' test rows are nobody's business
    said = worse_than_guessing(train, balanced=config.class_weight is not None)
    if said:
        warnings.warn(said, FeatxWarning, stacklevel=4)
    return [said] if said else []


def _read(table: FeatureTable, part: Part, streams: bool) -> tuple[Any, npt.NDArray[np.int64]]:
    """Return a part's features and labels; rows whose image was skipped are left out of both.

    What is larger than `featx.probes.check_array.HELD_BYTES` stays on the disk for a head that streams it.
    """
    part = _kept(table, part)
    X = table.X.subset(np.searchsorted(table.rows, part.rows))
    return X if streams and is_streamed(X) else np.asarray(X, np.float32), part.labels
