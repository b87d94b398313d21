"""What a run's model says of new images: class probabilities, batch by batch, in bounded memory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.backbones import Backbone, is_weights_file, resolve
from featx.cache.memo import Memo
from featx.errors import CorruptStoreError, FeatureError, OptionError, WeightsError, either
from featx.home import expanded
from featx.images import is_image_name
from featx.inputs import as_source
from featx.naming import RUN, is_factory, is_run
from featx.portable import LinearModel
from featx.predictors import LinearPredictor, Logits, NetworkPredictor, Predictor
from featx.runs import MODEL_FILE, Run, Runs
from featx.sources import Source, load_source
from featx.specs import ExtractConfig, LayerSpec, PreprocessSpec, Progress, no_progress

PROBABILISTIC = ("softmax", "lda")
"""Heads of `featx fit` for which the softmax of the logits are probabilities."""


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Parameters
    ----------
    id : str
        The image's, in its source.
    classes : tuple of str
        The most probable ones, best first.
    probabilities : tuple of float
        Theirs; NaN where the head gives none.
    label : str or None
        The class that the source tells.
    reason : str
        Why the image was skipped; there are no classes then.
    """

    id: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]
    label: str | None
    reason: str = ""


def open_predictor(run: Run, memo: Memo) -> Predictor:
    """Return the model of a run of `featx fit` or `featx train`.

    Raises
    ------
    OptionError
        The run holds no model, or code that is no longer what it was.
    WeightsError
        Its weights, or those of the network that it was fitted on, are not there or are others.
    CorruptStoreError
        Its record or model is damaged.
    """
    record = run.read()
    if record.get("kind") not in ("fit", "train"):
        raise OptionError(f"run {run.id} holds no model, expected one of `featx fit` or `featx train`")
    if record.get("head") == "knn":
        raise OptionError(
            f"run {run.id} compares with its training rows and keeps no model",
            either("`featx fit` without --head keeps one", "`featx fit` keeps one of any other head"),
        )
    if not (run.path / MODEL_FILE).is_file():
        raise WeightsError(f"run {run.id} has no {MODEL_FILE}", "run its command again")
    try:
        return _fitted(run, record, memo) if record["kind"] == "fit" else _trained(run, record, memo)
    except (KeyError, TypeError, IndexError) as exc:
        raise CorruptStoreError(
            f"the record of run {run.id} is damaged: {type(exc).__name__}: {exc}", "run its command again"
        ) from exc


def _trained(run: Run, record: dict[str, Any], memo: Memo) -> NetworkPredictor:
    name = run.id if run.path.parent == Runs(memo.home).folder else run.path
    backbone = resolve(f"{RUN}{name}", memo=memo)
    from featx.trained import rebuild  # torch

    assert backbone.held is not None
    return NetworkPredictor(tuple(record["classes"]), backbone, rebuild(backbone.held).whole, record["precision"])


def _fitted(run: Run, record: dict[str, Any], memo: Memo) -> LinearPredictor:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(run.path / MODEL_FILE)
        coef, intercept = (np.asarray(tensors[name], np.float64) for name in ("coef_", "intercept_"))
    except (SafetensorError, OSError) as exc:
        raise CorruptStoreError(f"{run.path / MODEL_FILE} is damaged: {exc}", "run its command again") from exc
    classes = np.array(record["model_classes"], np.int64)
    if coef.ndim != 2 or intercept.shape != coef.shape[:1] or max(2, len(coef)) != len(classes):
        raise CorruptStoreError(f"{run.path / MODEL_FILE} does not fit its record", "run its command again")
    model = LinearModel(coef, intercept, classes, record.get("normalize"))
    how = ExtractConfig(precision=record["extraction"]["precision"], dtype=record["extraction"]["dtype"])
    backbone = fitted_on(run, record, memo)
    predictor = LinearPredictor(tuple(record["classes"]), backbone, LayerSpec.parse(record["layer"]), model, how)
    predictor.is_probabilistic = record.get("head", PROBABILISTIC[0]) in PROBABILISTIC
    return predictor


def fitted_on(run: Run, record: dict[str, Any], memo: Memo, size: int | None = None) -> Backbone:
    """Look the network up that a softmax regression was fitted on, and check that it is what it was.

    Parameters
    ----------
    run, record : Run, dict
        Of `featx fit`.
    size : int, optional
        Instead of the run's own, px.

    Raises
    ------
    OptionError, WeightsError
        Where it is not.
    """
    name, weights, preprocess = record["backbone"], record["weights"], PreprocessSpec.from_dict(record["preprocess"])
    if is_factory(name):
        if run.path.parent != Runs(memo.home).folder or not record.get("origin"):
            raise OptionError(f"run {run.id} was fitted on {name}, and a run from elsewhere may not name code to run")
        name = record["origin"]
    if record.get("weights_file") and not is_run(weights) and is_weights_file(weights):
        weights = record["weights_file"]
    stem, made_for = (record["options"].get(option) for option in ("stem", "img_size"))
    found = resolve(name, weights=weights, stem=stem, size=made_for, channels=preprocess.channels, memo=memo)
    if found.code != record.get("code"):
        raise OptionError(f"the code of {found.name} changed since run {run.id} was fitted", "run its command again")
    if found.weights_sha256 != record["weights_sha256"]:
        raise WeightsError(
            f"weights {weights} of {found.name} are no longer those that run {run.id} was fitted on",
            "run its command again",
        )
    return replace(found, preprocess=preprocess if size is None else replace(preprocess, resize=size, crop=size))


def image_sources(
    names: Sequence[str], split: str | None = None, memo: Memo | None = None, progress: Progress = no_progress
) -> list[Source]:
    """Open images as they are named: image files that follow each other are one source, all else is one each.

    Parameters
    ----------
    names : sequence of str
        Image files, and whatever `load_source` understands.
    split : str, optional
        Of the sources.

    Raises
    ------
    OptionError, SourceError
        As `load_source`.
    """
    found: list[Source] = []
    files: list[str] = []
    for name in names:
        if is_image_name(Path(name).name) and os.path.isfile(expanded(name)):
            files.append(name)
            continue
        if files:
            found.append(as_source(files))
            files = []
        found.append(load_source(name, split, memo=memo, progress=progress))
    return [*found, as_source(files)] if files else found


def predict(
    predictor: Predictor,
    source: Source,
    *,
    top: int = 1,
    config: ExtractConfig | None = None,
    progress: Progress = no_progress,
) -> Iterator[Prediction]:
    """Predict the classes of a source's images, in order.

    Parameters
    ----------
    predictor : Predictor
        From `open_predictor`.
    source : Source
        Of the images; no labels are needed.
    top : int
        So many classes an image, at most all.
    config : ExtractConfig
        Batch size, device, workers, and what a broken image does.

    Raises
    ------
    ImageError
        An image cannot be decoded, and ``config.on_error`` is ``raise``.
    FeatureError
        Logits that are no numbers.
    """
    config = config or ExtractConfig()
    done = 0
    for batch, logits in predictor.logits(source, config):
        skipped = dict(batch.skipped)
        best, shares = _best(logits, top)
        if not predictor.is_probabilistic:
            shares[:] = np.nan
        for row, at, share, highest in zip(batch.rows.tolist(), best, shares, logits.max(axis=1), strict=True):
            label = None if source.labels[row] < 0 else source.classes[source.labels[row]]
            if row in skipped:
                yield Prediction(source.ids[row], (), (), label, skipped[row])
                continue
            if not np.isfinite(highest):
                raise FeatureError(f"the logits of image {source.ids[row]} are no numbers", "look at the weights")
            yield Prediction(source.ids[row], tuple(predictor.classes[i] for i in at), tuple(share.tolist()), label)
        done += len(batch.rows)
        progress("predict", done, len(source))


def _best(logits: Logits, top: int) -> tuple[npt.NDArray[np.int64], Logits]:
    """Return the numbers and probabilities of each row's most probable classes; of equals the first comes first."""
    with np.errstate(invalid="ignore"):
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
    best = np.argsort(-logits, axis=1, kind="stable")[:, :top]
    return best, np.take_along_axis(shares, best, axis=1)
