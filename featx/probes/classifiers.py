"""The classifiers that `featx fit --head` puts on stored features.

A new one is a function here and its line in `HEADS`; `featx.probes.config` names it and the options it takes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featx.core.metrics import Scores, full_logits, score
from featx.probes.config import FitConfig
from featx.probes.knn import KNNProbe
from featx.probes.softmax import SoftmaxRegression

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

Floats = NDArray[np.float64]


def _softmax(config: FitConfig, device: str) -> SoftmaxRegression:
    return SoftmaxRegression(
        C=config.C,
        penalty=None if config.penalty == "none" else config.penalty,
        l1_ratio=config.l1_ratio,
        fit_intercept=config.fit_intercept,
        class_weight=config.class_weight,
        tol=config.tol,
        max_iter=config.max_iter,
        standardize=config.standardize,
        normalize=config.normalize,
        device=device,
        random_state=config.seed,
    )


def _knn(config: FitConfig, device: str) -> KNNProbe:
    return KNNProbe(KNNProbe().k if config.k is None else config.k, device=device)


def _centroid(config: FitConfig, device: str) -> Pipeline:
    from sklearn.neighbors import NearestCentroid  # each head loads its own: a tenth of a second that others save

    return _scaled(config, NearestCentroid())


def _lda(config: FitConfig, device: str) -> Pipeline:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    return _scaled(config, LinearDiscriminantAnalysis())


def _svm(config: FitConfig, device: str) -> Pipeline:
    from sklearn.svm import LinearSVC

    options: dict[str, Any] = {"fit_intercept": config.fit_intercept, "max_iter": config.max_iter}
    return _scaled(config, LinearSVC(C=config.C, random_state=config.seed, **options))


def _ridge(config: FitConfig, device: str) -> Pipeline:
    from sklearn.linear_model import RidgeClassifier

    # C sum_i loss_i + ||w||^2 / 2, as for the others, with the squared error for a loss.
    return _scaled(config, RidgeClassifier(alpha=1 / (2 * config.C), fit_intercept=config.fit_intercept))


class MakeClassifier(Protocol):
    """How a head's classifier is made."""

    def __call__(self, config: FitConfig, device: str) -> Any:
        """Return an unfitted classifier with scikit-learn's `fit` and `predict`, which runs on `device` if it can.

        Fitted, it is linear (`linear_parts`), or is nearest neighbours.
        """


@dataclass(frozen=True)
class Head:
    """A kind of classifier on stored features.

    Parameters
    ----------
    make : MakeClassifier
        Makes one from the options.
    is_probabilistic : bool
        Whether `predict_proba` gives probabilities, so that there is a log loss.
    """

    make: MakeClassifier
    is_probabilistic: bool


HEADS: dict[str, Head] = {
    "softmax": Head(_softmax, is_probabilistic=True),
    "knn": Head(_knn, is_probabilistic=True),
    "centroid": Head(_centroid, is_probabilistic=False),
    "lda": Head(_lda, is_probabilistic=True),
    "svm": Head(_svm, is_probabilistic=False),
    "ridge": Head(_ridge, is_probabilistic=False),
}
"""By what ``--head`` calls them."""


def make_classifier(config: FitConfig, device: str = "cpu") -> Any:
    """Return the unfitted classifier of a configuration.

    ``svm`` is scikit-learn's linear one, one class against the rest; ``ridge`` regresses on -1 and 1 with
    ``alpha = 1 / (2 C)``; ``centroid`` and ``lda`` have no penalty. They are standardised and normalised as
    softmax regression is. ``knn`` compares directions, and takes features as they are.
    """
    return HEADS[config.head].make(config, device)


def _scaled(config: FitConfig, classifier: Any) -> Pipeline:
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import Normalizer, StandardScaler

    steps: list[tuple[str, Any]] = [("classifier", classifier)]
    if config.standardize:
        steps.insert(0, ("scale", StandardScaler()))
    if config.normalize is not None:
        steps.insert(0, ("normalize", Normalizer(config.normalize)))
    return Pipeline(steps)


def score_classifier(head: str, model: Any, X: Any, y: NDArray[np.int64], n_classes: int) -> Scores:
    """Score a fitted classifier whose classes are numbers below `n_classes`; what needs probabilities may be NaN."""
    if HEADS[head].is_probabilistic:
        return score(full_logits(model, X, n_classes), y, n_classes)
    found = score(np.eye(n_classes)[model.predict(X)], y, n_classes)
    unknown = np.full(len(found.predicted), np.nan)
    none = dict.fromkeys(("loss", "top5", "brier", "ece", "rms_calibration_error"), math.nan)
    return replace(found, probability=unknown, losses=None, in_top5=None, briers=None, **none)  # type: ignore[arg-type]


def linear_parts(model: Any) -> tuple[Floats, Floats] | None:
    """Return coefficients (k, d) and intercepts (k,) that predict as the fitted model does; None for neighbours.

    They apply to features as given, or to rows of length 1 where the model normalises.
    """
    if isinstance(model, KNNProbe):
        return None
    if not hasattr(model, "named_steps"):  # no pipeline
        return model.coef_, model.intercept_
    classifier = model["classifier"]
    if hasattr(classifier, "centroids_"):
        # |x - c|^2 is smallest where c x - |c|^2 / 2 is largest.
        coef = np.asarray(classifier.centroids_, np.float64)
        intercept = -np.square(coef).sum(axis=1) / 2
        if len(coef) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    else:
        coef = np.atleast_2d(np.asarray(classifier.coef_, np.float64))  # ridge has a plain vector for two classes
        intercept = np.zeros(len(coef)) + classifier.intercept_
    if "scale" in model.named_steps:
        scaler = model["scale"]
        coef = coef / scaler.scale_
        intercept = intercept - coef @ scaler.mean_
    return coef, intercept
