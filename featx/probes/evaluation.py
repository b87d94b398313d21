"""How a head is fitted on rows in memory: as it is, with its C or k chosen on validation rows, or on few labels."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from featx.core.metrics import SCALARS, Scores, full_logits
from featx.core.statistics import summary
from featx.errors import SourceError
from featx.probes.calibration import BLIND, NO_ROWS, NO_ROWS_HINT, OWN, Calibration, calibrate
from featx.probes.classifiers import make_classifier, score_classifier
from featx.probes.config import RECIPES, SWEEPS, FitConfig
from featx.probes.halving import Halving, InMemory, halve
from featx.probes.knn import KNNProbe
from featx.probes.sgd import SGDProbe
from featx.probes.softmax_cv import SoftmaxRegressionCV

Data = Mapping[str, tuple[Any, npt.NDArray[np.int64]]]
"""X (n, d) and labels y (n,) of ``train``, ``val`` and ``test``; of the latter two, there may be no rows.

X is a float32 array; for softmax regression without a sweep it may be a FeatureMatrix, which is streamed."""


@dataclass(frozen=True)
class HeadFit:
    """A fitted head and how good it is.

    Parameters
    ----------
    model : classifier
        Its classes are whole numbers.
    scores : dict of str to Scores
        Of the parts that have rows. ``val`` is always of a model that has not seen those rows.
    config : FitConfig
        With what was chosen filled in.
    fit_seconds : float
        Of fitting, and of choosing.
    search : dict
        What was tried on the validation rows: ``over`` (``C`` or ``k``), ``values``, ``accuracy``, ``chosen``, and
        for a sweep its ``origin``. Empty where nothing was chosen.
    draws : dict
        Of ``shots``: by part the accuracies of all draws (``values``), their mean, standard deviation and 95 %
        interval. Empty otherwise; model and confusion are the first draw's, accuracy and the other scores the means.
    blind : classifier or None
        Where `model` has learnt from ``val`` too, the same fitted on ``train`` alone, which scored ``val``.
    calibration : Calibration or None
        What was fitted on ``val``; the other parts are scored as the calibrated model predicts them.
    """

    model: Any
    scores: dict[str, Scores]
    config: FitConfig
    fit_seconds: float
    search: dict[str, Any] = field(default_factory=dict)
    draws: dict[str, Any] = field(default_factory=dict)
    blind: Any = None
    calibration: Calibration | None = None


@dataclass(frozen=True)
class Draw:
    """A head fitted on one draw of few labels.

    Parameters
    ----------
    model : classifier or None
        Of the first draw; the others' are not kept.
    scores : dict of str to Scores
        Of the parts that have rows.
    seconds : float
        Of fitting.
    """

    model: Any
    scores: dict[str, Scores]
    seconds: float


MORE = "give more images, or a larger --val-size"
"""What gives validation rows."""


def fit_head(
    data: Data, config: FitConfig, n_classes: int, device: str = "cpu", halving: Halving | None = None
) -> HeadFit:
    """Fit on ``train`` as the configuration says, and score every part once.

    The test rows take part in no choice: a sweep chooses C on ``val`` and refits on ``train`` and ``val``, nearest
    neighbours choose k on ``val``.

    A `halving` chose C, and the layer that the rows are of; without one, C alone is chosen.

    A calibration is fitted on ``val``, by the model that has not learnt from it: of a sweep not the refitted one, whose
    logits of these rows are surer than those of new ones, but that of the same C on ``train`` alone.

    Raises
    ------
    SourceError
        Too few rows: of a class for ``shots``, or none to choose by or to calibrate on.
    """
    if config.calibrate is not None and not len(data["val"][1]):
        raise SourceError(NO_ROWS, NO_ROWS_HINT)
    fitted = _fitted(data, config, n_classes, device, halving)
    return fitted if config.calibrate is None else _calibrated(fitted, data, n_classes)


def _fitted(data: Data, config: FitConfig, n_classes: int, device: str, halving: Halving | None) -> HeadFit:
    if config.halving:
        return _halved(data, config, n_classes, device, halving or halve({"": InMemory(data)}, config, device))
    if config.shots is not None:
        draws = [fit_draw(data, config, n_classes, device, draw) for draw in range(config.draws)]
        return draws_together(draws, config)
    if config.sweep in RECIPES:
        return _by_recipe(data, config, n_classes, device)
    if config.sweep is not None:
        return _swept(data, config, n_classes, device)
    if config.head == "knn" and config.k is None:
        return _best_k(data, config, n_classes, device)
    start = time.perf_counter()
    model = make_classifier(config, device).fit(*data["train"])
    seconds = time.perf_counter() - start
    return HeadFit(model, _scores(data, config, model, n_classes), config, seconds)


def _calibrated(fitted: HeadFit, data: Data, n_classes: int) -> HeadFit:
    assert fitted.config.calibrate is not None
    X, y = data["val"]
    blind = fitted.model if fitted.blind is None else fitted.blind
    parts = {
        name: (full_logits(fitted.model, rows, n_classes), labels)
        for name, (rows, labels) in data.items()
        if name != "val" and len(labels)
    }
    found, scores = calibrate(
        fitted.config.calibrate,
        (full_logits(blind, X, n_classes), y),
        parts,
        n_classes,
        OWN if fitted.blind is None else BLIND,
    )
    return replace(fitted, scores=scores, calibration=found)


def _swept(data: Data, config: FitConfig, n_classes: int, device: str) -> HeadFit:
    preset = SWEEPS[config.sweep or ""]
    X_val, y_val = _validation(data, f"--sweep {config.sweep}")
    start = time.perf_counter()
    model = SoftmaxRegressionCV(
        preset.Cs,
        halvings=preset.halvings,
        fit_intercept=config.fit_intercept,
        class_weight=config.class_weight,
        tol=config.tol,
        max_iter=config.max_iter,
        normalize=preset.normalize,
        device=device,
    ).fit(*data["train"], X_val=X_val, y_val=y_val)
    seconds = time.perf_counter() - start
    chosen = replace(config, C=model.C_, standardize=False, normalize=preset.normalize)
    scores = _scores(data, chosen, model, n_classes)
    # The last fit has learnt from the validation rows: what they say is said by the fit that chose.
    blind = make_classifier(chosen, device).fit(*data["train"])
    scores["val"] = score_classifier("softmax", blind, X_val, y_val, n_classes)
    search = _search("C", model.Cs_.tolist(), model.scores_[0].tolist(), model.C_) | {
        "origin": preset.origin,
        "converged": model.path_converged_[0].tolist(),
    }
    return HeadFit(model, scores, chosen, seconds, search, blind=blind)


def _halved(data: Data, config: FitConfig, n_classes: int, device: str, halving: Halving) -> HeadFit:
    """Fit with the C that a halving chose, on the validation rows too, as after a sweep."""
    chosen = replace(config, C=halving.C)
    (X, y), (X_val, y_val) = data["train"], _validation(data, "--halving")
    start = time.perf_counter()
    model = make_classifier(chosen, device).fit(np.concatenate([X, X_val]), np.concatenate([y, y_val]))
    seconds = halving.seconds + time.perf_counter() - start
    scores = _scores(data, chosen, model, n_classes)
    blind = make_classifier(chosen, device).fit(X, y)  # as in `_swept`
    scores["val"] = score_classifier("softmax", blind, X_val, y_val, n_classes)
    return HeadFit(model, scores, chosen, seconds, halving.search(), blind=blind)


def _by_recipe(data: Data, config: FitConfig, n_classes: int, device: str) -> HeadFit:
    recipe = RECIPES[config.sweep or ""]
    start = time.perf_counter()
    model = SGDProbe(
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        momentum=recipe.momentum,
        device=device,
        random_state=config.seed,
    ).fit(*data["train"])
    seconds = time.perf_counter() - start
    chosen = replace(config, standardize=False, normalize=None)
    scores = _scores(data, chosen, model, n_classes)
    search = _search("epochs", [recipe.epochs], [], recipe.epochs) | {"origin": recipe.origin}
    return HeadFit(model, scores, chosen, seconds, search)


def _best_k(data: Data, config: FitConfig, n_classes: int, device: str) -> HeadFit:
    X, y = _validation(data, "--head knn without --k")
    start = time.perf_counter()
    model: KNNProbe = make_classifier(config, device).fit(*data["train"])
    ks = list(FitConfig.NEIGHBOURS)
    votes = model.votes(X, ks)
    accuracy = [float((model.classes_[share.argmax(axis=1)] == y).mean()) for share in votes]
    k = ks[int(np.argmax(accuracy))]
    chosen = replace(config, k=k)
    model = model.set_params(k=k)
    seconds = time.perf_counter() - start
    return HeadFit(model, _scores(data, chosen, model, n_classes), chosen, seconds, _search("k", ks, accuracy, k))


def fit_draw(data: Data, config: FitConfig, n_classes: int, device: str, draw: int) -> Draw:
    """Fit on ``config.shots`` training rows of each class, and score every part.

    Parameters
    ----------
    draw : int
        Which of ``config.draws``, from 0: the rows depend on it and on the seed.

    Raises
    ------
    SourceError
        A class has too few rows.
    """
    config = _of_draws(config)
    X, y = data["train"]
    rows = draw_rows(y, config.shots or 0, [config.seed, draw])
    few = {**data, "train": (X[rows], y[rows])}
    start = time.perf_counter()
    model = make_classifier(config, device).fit(*few["train"])
    seconds = time.perf_counter() - start
    return Draw(model if draw == 0 else None, _scores(few, config, model, n_classes), seconds)


def draws_together(fits: Sequence[Draw], config: FitConfig) -> HeadFit:
    """Return what all draws of a configuration, in their order, give together."""
    draws, means = {}, {}
    for part, first in fits[0].scores.items():
        values = [fit.scores[part].accuracy for fit in fits]
        draws[part] = {"values": values, **summary(values)}
        told: dict[str, Any] = {
            name: float(np.mean([getattr(fit.scores[part], name) for fit in fits])) for name in SCALARS
        }
        means[part] = replace(first, **told)
    return HeadFit(fits[0].model, means, _of_draws(config), sum(fit.seconds for fit in fits), draws=draws)


def _of_draws(config: FitConfig) -> FitConfig:
    """Return the configuration as each draw has it: few labels leave no k to choose among."""
    return replace(config, k=KNNProbe().k) if config.head == "knn" and config.k is None else config


def draw_rows(y: npt.NDArray[np.int64], shots: int, seed: list[int]) -> npt.NDArray[np.int64]:
    """Return `shots` positions of each class in y, rising.

    Raises
    ------
    SourceError
        A class has fewer.
    """
    random = np.random.default_rng(seed)
    chosen = []
    for label, count in zip(*np.unique(y, return_counts=True), strict=True):
        if count < shots:
            raise SourceError(
                f"class {label} has {count} training rows, expected at least {shots} for --shots {shots}",
                "give fewer --shots",
            )
        chosen.append(random.choice(np.flatnonzero(y == label), shots, replace=False))
    return np.sort(np.concatenate(chosen))


def _validation(data: Data, what: str) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    if not len(data["val"][1]):
        raise SourceError(f"there are no validation rows, and {what} chooses by them", MORE)
    return data["val"]


def _scores(data: Data, config: FitConfig, model: Any, n_classes: int) -> dict[str, Scores]:
    return {name: score_classifier(config.head, model, X, y, n_classes) for name, (X, y) in data.items() if len(y)}


def _search(over: str, values: list[Any], accuracy: list[float], chosen: float) -> dict[str, Any]:
    return {"over": over, "values": values, "accuracy": accuracy, "chosen": chosen}
