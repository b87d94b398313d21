"""Predictions of a run's model for new images: class probabilities, batch by batch, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.cache.memo import Memo
from featx.core.backbone_names import PIXELS, RUN
from featx.core.concatenation import parse_feature
from featx.core.recorded import recorded
from featx.core.run_folder import MODEL_FILE, Run, Runs
from featx.core.specs import BackboneConfig, ExtractConfig, Progress, no_progress
from featx.data.sources import Source, is_image_file, is_list, load_source
from featx.data.splits import subsample
from featx.errors import CorruptStoreError, FeatureError, FeatxError, OptionError, WeightsError, either
from featx.extraction.inputs import as_source
from featx.models.backbones import Backbone, resolve
from featx.models.standing import look_up_held, look_up_recorded
from featx.models.trained_run import find_held
from featx.portable import LinearModel, Scaling
from featx.runs.predictors import LinearPredictor, Logits, NetworkPredictor, Predictor

WITH_PROBABILITIES = ("softmax", "lda")
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


def open_predictor(run: Run, memo: Memo, weights: str | None = None) -> Predictor:
    """Return the model of a run of `featx fit` or `featx train`.

    Parameters
    ----------
    run, memo : Run, Memo
        The run, and what is remembered.
    weights : str, optional
        A file, or ``run:ID``, that holds the tensors of the network that the run depends on; else those that the run
        keeps, else those that its record names.

    Raises
    ------
    OptionError
        The run holds no model, or code that is no longer what it was; weights for one that holds all of its own.
    WeightsError
        Its weights, or those of the network that it was fitted on, are not there or are others; says which it wants.
    CorruptStoreError
        Its record or model is damaged.
    """
    record = run.read()
    if record.get("kind") not in ("fit", "train"):
        raise OptionError(f"run {run.id} has no model, expected a run of `featx fit` or `featx train`")
    if record.get("head") == "knn":
        raise OptionError(
            f"run {run.id} is a nearest-neighbour fit, which keeps no model",
            either("`featx fit` without --head keeps one", "`featx fit` with any other --head keeps one"),
        )
    if not (run.path / MODEL_FILE).is_file():
        raise WeightsError(f"run {run.id} has no {MODEL_FILE}", "run its command again")
    try:
        open_kind: Callable[..., Predictor] = _fitted if record["kind"] == "fit" else _trained
        predictor = open_kind(run, record, memo, weights)
        predictor.scaling = Scaling.read(record.get("calibration"), len(predictor.classes))
        return predictor
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        if isinstance(exc, FeatxError):
            raise
        raise CorruptStoreError(
            f"the record of run {run.id} is damaged: {type(exc).__name__}: {exc}", "run its command again"
        ) from exc


def _trained(run: Run, record: dict[str, Any], memo: Memo, weights: str | None) -> NetworkPredictor:
    name = run.id if run.path.parent == Runs(memo.home).folder else run.path
    given = weights is not None
    backbone = _on_given(run, f"{RUN}{name}", memo, weights) if given else resolve(f"{RUN}{name}", memo=memo)
    return NetworkPredictor(tuple(record["classes"]), backbone, backbone.rebuilt().whole, record["precision"])


def _on_given(run: Run, name: str, memo: Memo, weights: str | None) -> Backbone:
    held = find_held(name, BackboneConfig.weights, None, memo.home)
    assert held is not None
    if held.base is None:
        raise OptionError(f"run {run.id} contains all of its weights, and --weights was given", "leave --weights out")
    return look_up_held(held, memo, resolve, weights)


def _fitted(run: Run, record: dict[str, Any], memo: Memo, weights: str | None) -> LinearPredictor:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(run.path / MODEL_FILE)
        coef, intercept = (np.asarray(tensors[name], np.float64) for name in ("coef_", "intercept_"))
    except (SafetensorError, OSError) as exc:
        raise CorruptStoreError(f"{run.path / MODEL_FILE} is damaged: {exc}", "run its command again") from exc
    names, classes = _classes(record)
    if coef.ndim != 2 or intercept.shape != coef.shape[:1] or max(2, len(coef)) != len(classes):
        raise CorruptStoreError(f"{run.path / MODEL_FILE} does not match its record", "run its command again")
    if record.get("normalize") not in (None, "l2"):
        raise ValueError(f"normalize is {record['normalize']!r:.80}")
    model = LinearModel(coef, intercept, classes, record.get("normalize"))
    how = ExtractConfig(precision=record["extraction"]["precision"], dtype=record["extraction"]["dtype"])
    backbone = fitted_on(run, record, memo, weights=weights)
    predictor = LinearPredictor(names, backbone, parse_feature(record["layer"]), model, how)
    predictor.is_probabilistic = record.get("head", WITH_PROBABILITIES[0]) in WITH_PROBABILITIES
    return predictor


def _classes(record: dict[str, Any]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    """Return the names of all classes, and which of them a fit was trained on, as a record must have them."""
    names, trained = record["classes"], record["model_classes"]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError("classes is no list of names")
    if not isinstance(trained, list) or not all(type(number) is int for number in trained):
        raise TypeError("model_classes is no list of whole numbers")
    if sorted({*trained}) != trained or not {*trained} <= {*range(len(names))}:
        raise ValueError(f"model_classes are {trained!s:.80}, expected ascending ones of 0 to {len(names) - 1}")
    return tuple(names), np.array(trained, np.int64)


def fitted_on(
    run: Run, record: dict[str, Any], memo: Memo, size: int | None = None, weights: str | None = None
) -> Backbone:
    """Look the network up that a softmax regression was fitted on, and check that it is what it was.

    Parameters
    ----------
    run, record : Run, dict
        Of `featx fit`.
    size : int, optional
        Instead of the run's own, px.
    weights : str, optional
        As `open_predictor`.

    Raises
    ------
    OptionError, WeightsError
        Where it is not; says which weights are wanted.
    """
    if record["backbone"] == PIXELS and weights is not None:
        raise OptionError(f"run {run.id} was fitted on pixels, which have no weights", "leave --weights out")
    ours = run.path.parent == Runs(memo.home).folder
    found = look_up_recorded(recorded(run.id, run.path, record, ours=ours), memo, resolve, weights)
    preprocess = found.preprocess
    return found if size is None else replace(found, preprocess=replace(preprocess, resize=size, crop=size))


def image_sources(
    names: Sequence[str],
    split: str | None = None,
    *,
    root: str | None = None,
    memo: Memo | None = None,
    progress: Progress = no_progress,
) -> list[Source]:
    """Open images as they are named: image files that follow each other are one source, all else is one each.

    Parameters
    ----------
    names : sequence of str
        Image files, and whatever `load_source` understands.
    split : str, optional
        Of the sources.
    root : str, optional
        Of the lists among them.

    Raises
    ------
    OptionError, SourceError
        As `load_source`; for a `root` where there is no list; a split of image files, which have none.
    """
    if root is not None and not any(map(is_list, names)):
        raise OptionError(f"root is for lists, and {names[0]!r} is not a list", "leave --root out")
    found: list[Source] = []
    files: list[str] = []
    for name in names:
        if is_image_file(name):
            if split is not None:
                raise OptionError(f"image file {name} has no split {split!r:.80}", "leave --split out")
            files.append(name)
            continue
        if files:
            found.append(as_source(files))
            files = []
        below = root if is_list(name) else None
        found.append(load_source(name, split, root=below, memo=memo, progress=progress))
    return [*found, as_source(files)] if files else found


def limited(sources: Sequence[Source], limit: int) -> list[Source]:
    """Return at most this many rows of all sources together, keeping the proportions of sources and classes.

    Chosen by id, as `load_source` chooses.
    """
    owners = np.repeat(np.arange(len(sources)), [len(source) for source in sources])
    chosen = owners[subsample([name for source in sources for name in source.ids], owners, limit=limit)]
    counts = np.bincount(chosen, minlength=len(sources)).tolist()
    pairs = [(source, count) for source, count in zip(sources, counts, strict=True) if count]
    return [source.subset(subsample(source.ids, source.labels, limit=count)) for source, count in pairs]


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
                raise FeatureError(f"the logits of image {source.ids[row]} are not finite", "check the weights")
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
