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
from featx.core.executors.executor import Executor
from featx.core.executors.registry import executing
from featx.core.guessing import worse_than_guessing
from featx.core.metrics import Scores
from featx.core.specs import ExtractConfig, Progress, no_progress
from featx.data.splits import Part, Partition
from featx.errors import FeatxWarning, OptionError, SourceError
from featx.extraction.extract import ExtractResult, extract
from featx.models.backbones import Backbone
from featx.probes.calibration import NO_ROWS, NO_ROWS_HINT, Calibration
from featx.probes.config import FitConfig
from featx.probes.evaluation import MORE, HeadFit
from featx.probes.halving import Halving, halve
from featx.probes.layer_rows import LayerRows
from featx.probes.spread import Fitted, fit_here, fit_on


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
    device, threads : str, int or None
        Where it was fitted; None where nobody noted it.
    executor : str
        What fitted it; empty where this process did.
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
    device: str | None = None
    threads: int | None = None
    executor: str = ""


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
    executor: Any = None,
) -> dict[str, ProbeResult]:
    """Extract what is missing of several layers in one pass, and fit on each of them as `fit_probe` does.

    Parameters
    ----------
    layers : sequence of LayerSpec, Concatenation or str
        Patterns stand for all layers that they match.
    executor : str, distributed.Client or Executor, optional
        What extracts and fits, as of `featx.extraction.extract.extract`; a call is a layer, or one of its draws. A
        halving is made here: what its rounds fit depends on the round before.

    Returns
    -------
    dict of str to ProbeResult
        By layer, in the order given, a pattern's in the network's; of a halving, the chosen one alone.
    """
    extraction, config = extraction or ExtractConfig(), config or FitConfig()
    check_rows(partition, config)
    start = time.perf_counter()
    with executing(executor) as engine:
        rows = stored_rows(partition, backbone, layers, store, extraction, progress, engine)
        seconds = time.perf_counter() - start
        for some in rows.values():
            check_classes(some)
        device = extraction.device
        if not engine.in_process and not config.halving:
            fits = fit_on(engine, rows, config, device, store.home)
            return {name: _result(rows[name], fitted, config, seconds) for name, fitted in fits.items()}
    if config.halving:
        halving = halve(rows, config, str(pick_device(device)))
        return {halving.layer: fit_chosen(rows, config, device, seconds, halving)}
    return {name: _result(some, fit_here(some, config, device), config, seconds) for name, some in rows.items()}


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


def check_rows(partition: Partition, config: FitConfig) -> None:
    """Raise SourceError, before anything is computed, where there are no validation rows for what needs them."""
    if config.calibrate is not None and not len(partition.val):
        raise SourceError(NO_ROWS, NO_ROWS_HINT)
    if config.halving and not len(partition.val):
        raise SourceError("there are no validation rows, and --halving chooses by them", MORE)


def stored_rows(
    partition: Partition,
    backbone: Backbone,
    layers: Sequence[Feature | str],
    store: FeatureStore,
    extraction: ExtractConfig,
    progress: Progress,
    engine: Executor,
) -> dict[str, LayerRows]:
    """Extract what is missing of a network's layers, and return the rows of each; parameters as of `fit_layers`."""
    if not (engine.owns(0) and engine.owns(1)):
        raise OptionError(f"executor {engine.name} is one part of several, expected one that makes every fit")
    features = [as_feature(layer) for layer in layers]
    found = extract(partition.sources(), backbone, parts_of_all(features), store, extraction, progress, engine)
    made = made_of(features, dict.fromkeys(layer for _, layer in found.tables))
    return {name: LayerRows(partition, found.only(*parts)) for name, parts in made.items()}


def fit_chosen(
    rows: Mapping[str, LayerRows], config: FitConfig, device: str, extracting: float, halving: Halving
) -> ProbeResult:
    """Fit on the layer that a halving chose; `extracting` are the seconds of what was before."""
    chosen = rows[halving.layer]
    return _result(chosen, fit_here(chosen, config, device, halving), config, extracting, halving)


def check_classes(rows: LayerRows) -> None:
    """Raise SourceError for fewer than two classes to learn from."""
    classes = len(np.unique(rows.labels("train")))
    if classes < 2:
        raise SourceError(
            f"the training rows hold {classes} class(es), expected two or more",
            "give more images or another --train-split",
        )


def _result(
    rows: LayerRows, fitted: Fitted, config: FitConfig, extracting: float, halving: Halving | None = None
) -> ProbeResult:
    """Return what was found of one layer, or of joined ones, and say what there is to say of it."""
    fitted.speak()
    head = fitted.head
    found = replace(rows.found, notes=[*rows.found.notes, *_notes(head, config)])
    chosen = 0.0 if halving is None else halving.seconds
    fitting = head.fit_seconds
    seconds = {
        "extract": extracting,
        "read": fitted.read,
        "fit": fitting,
        "score": fitted.spent + chosen - fitting,
    }
    return ProbeResult(
        head.model,
        head.scores,
        rows.columns,
        rows.bytes,
        found,
        seconds | {"total": sum(seconds.values())},
        head.config,
        {use: rows.part(use) for use in rows.partition.parts()},
        head.search,
        head.draws,
        head.blind,
        head.calibration,
        halving,
        fitted.device,
        fitted.threads,
        fitted.executor,
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
