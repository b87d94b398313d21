"""A head on stored features, extracted where they are missing: the protocol of ``featx fit``."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from featx.cache.store import FeatureStore
from featx.core.concatenation import Feature, as_feature, made_of, parts_of_all
from featx.core.device import pick_device
from featx.core.guessing import worse_than_guessing
from featx.core.metrics import Scores
from featx.core.specs import ExtractConfig, Progress, no_progress
from featx.data.splits import Part, Partition
from featx.errors import FeatxWarning, OptionError, SourceError
from featx.extraction.extract import ExtractResult, extract
from featx.models.backbones import Backbone
from featx.probes.calibration import NO_ROWS, NO_ROWS_HINT, Calibration
from featx.probes.config import FitConfig
from featx.probes.evaluation import MORE, HeadFit, fit_head
from featx.probes.halving import Halving, halve
from featx.probes.layer_rows import LayerRows


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
    search, draws, blind, calibration : dict, dict, classifier or None, Calibration or None
        See `featx.probes.evaluation.HeadFit`.
    halving : Halving or None
        How layer and C were chosen.
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
    blind: Any = None
    calibration: Calibration | None = None
    halving: Halving | None = None


def fit_probe(
    partition: Partition,
    backbone: Backbone,
    layer: Feature | str,
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
    layer : LayerSpec, Concatenation or str
        One layer, or several as one: ``layer3:avg+layer4:avg``.
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
    layer = as_feature(layer)
    if layer.is_pattern:
        raise OptionError(f"layer {layer} stands for several, expected one to fit on", "name one layer")
    (result,) = fit_layers(partition, backbone, [layer], store, extraction, config, progress).values()
    return result


def fit_layers(
    partition: Partition,
    backbone: Backbone,
    layers: Sequence[Feature | str],
    store: FeatureStore,
    extraction: ExtractConfig | None = None,
    config: FitConfig | None = None,
    progress: Progress = no_progress,
) -> dict[str, ProbeResult]:
    """Extract what is missing of several layers in one pass, and fit on each of them as `fit_probe` does.

    Parameters
    ----------
    layers : sequence of LayerSpec, Concatenation or str
        Patterns stand for all layers that they match.

    Returns
    -------
    dict of str to ProbeResult
        By layer, in the order given, a pattern's in the network's; of a halving, the chosen one alone.
    """
    extraction, config = extraction or ExtractConfig(), config or FitConfig()
    if config.calibrate is not None and not len(partition.val):
        raise SourceError(NO_ROWS, NO_ROWS_HINT)  # before anything is computed
    if config.halving and not len(partition.val):
        raise SourceError("there are no validation rows, and --halving chooses by them", MORE)
    start = time.perf_counter()
    features = [as_feature(layer) for layer in layers]
    found = extract(partition.sources(), backbone, parts_of_all(features), store, extraction, progress)
    seconds = time.perf_counter() - start
    device = str(pick_device(extraction.device))
    made = made_of(features, dict.fromkeys(layer for _, layer in found.tables))
    rows = {name: LayerRows(partition, found.only(*parts)) for name, parts in made.items()}
    if config.halving:
        halving = halve(rows, config, device)
        return {halving.layer: _fit_layer(rows[halving.layer], config, device, seconds, halving)}
    return {name: _fit_layer(some, config, device, seconds) for name, some in rows.items()}


def best_layer(results: Mapping[str, ProbeResult]) -> str:
    """Return the layer that predicts the validation rows best; of several, the first.

    Raises
    ------
    SourceError
        There is a choice, and there are no validation rows.
    """
    if len(results) > 1 and any("val" not in result.scores for result in results.values()):
        raise SourceError("there are no validation rows to choose a layer by", f"{MORE}, or one --layer")
    return max(results, key=lambda name: results[name].scores["val"].accuracy if len(results) > 1 else 0.0)


def _fit_layer(
    rows: LayerRows, config: FitConfig, device: str, extracting: float, halving: Halving | None = None
) -> ProbeResult:
    """Fit on one layer, or on joined ones."""
    clock = [time.perf_counter()]
    streams = config.head == "softmax" and config.sweep is None and halving is None
    data = {use: rows.read(use, streams=streams) for use in rows.partition.parts()}
    classes = len(np.unique(data["train"][1]))
    if classes < 2:
        raise SourceError(
            f"the training rows hold {classes} class(es), expected two or more",
            "give more images or another --train-split",
        )
    clock.append(time.perf_counter())
    fitted = fit_head(data, config, len(rows.partition.classes), device, halving)
    clock.append(time.perf_counter())
    found = replace(rows.found, notes=[*rows.found.notes, *_notes(fitted, config)])
    read, fit = np.diff(clock).tolist()
    chosen = 0.0 if halving is None else halving.seconds
    fitting = fitted.fit_seconds
    seconds = {"extract": extracting, "read": read, "fit": fitting, "score": fit + chosen - fitting}
    return ProbeResult(
        fitted.model,
        fitted.scores,
        rows.columns,
        rows.bytes,
        found,
        seconds | {"total": sum(seconds.values())},
        fitted.config,
        {use: rows.part(use) for use in rows.partition.parts()},
        fitted.search,
        fitted.draws,
        fitted.blind,
        fitted.calibration,
        halving,
    )


def _notes(fitted: HeadFit, config: FitConfig) -> list[str]:
    """Say what validation rows leave open of a calibration, and where a softmax regression is worse than guessing.

    One by stochastic gradient descent may be.
    """
    notes = [] if fitted.calibration is None else fitted.calibration.notes
    if config.head != "softmax":
        return notes
    train = {"train": fitted.scores["train"]}  # of several layers, the others' test rows are nobody's business
    said = worse_than_guessing(train, balanced=config.class_weight is not None)
    if said:
        warnings.warn(said, FeatxWarning, stacklevel=4)
    return [*notes, said] if said else notes
