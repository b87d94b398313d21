"""Labels that a classifier of the same features doubts, the worst first.

Each labelled row gets the probabilities of a softmax regression that learnt from neither it nor its duplicates
(`featx.audit.out_of_fold`). Several layers count together, by the mean of their log-probabilities.

Two scores are usual. Self-confidence, the probability of the given label, finds mistakes of any kind best; the margin,
what that probability lacks of the most probable other class's, those between classes that look alike. Labels are ranked
by the margin of the logarithms, which is as good as the better of the two, or in between
(`tests/benchmarks/label_noise.py`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from featx.audit.confident import ConfusedClasses, calibrate, confident_joint, confused_classes
from featx.audit.out_of_fold import JudgeConfig, Log, can_be_judged, combine, log_probabilities, plan_judgings
from featx.core.specs import Progress, no_progress
from featx.core.types import RowNumbers
from featx.errors import OptionError

DEFAULT = JudgeConfig()


@dataclass(frozen=True)
class LabelIssue:
    """A label that is not the most probable one of its row.

    Parameters
    ----------
    id, split : str
        The row.
    given, suggested : str
        The class that it has, and the most probable one.
    confidence : float
        Probability of the class that it has if only that and the suggested one come into question, 0 to 0.5.
    probability : float
        Probability of the class that it has, among all classes.
    agreeing : int
        Layers that find `suggested` the most probable, each by itself.
    """

    id: str
    split: str
    given: str
    suggested: str
    confidence: float
    probability: float
    agreeing: int


@dataclass(frozen=True)
class LabelAudit:
    """What a classifier that learnt from other rows says of all labels.

    Parameters
    ----------
    issues : list of LabelIssue
        The worst first: by rising confidence.
    confused : list of ConfusedClasses
        By falling number of labels.
    estimated : float
        How many labels are wrong, as confident learning estimates it from the same probabilities. Rows that are hard
        to tell apart count as well, so that it is an upper estimate for a weak classifier.
    layers : tuple of str
        Whose features were judged by.
    judged : int
        Rows with a verdict.
    unlabelled, unjudged : int
        Rows without a label, and those of a class of which no other row could be learnt from.
    accuracy : float
        Share of the judged rows whose label is the most probable one.
    log_loss : float
        Mean of minus the logarithm of the label's probability, over the judged rows.
    confidence : ndarray of float64 of shape (n,)
        Probability of each row's label if only that and the most probable other class come into question, 0 to 1; NaN
        without a verdict.
    config : JudgeConfig
        Folds, C and seed.
    """

    issues: list[LabelIssue]
    confused: list[ConfusedClasses]
    estimated: float
    layers: tuple[str, ...]
    judged: int
    unlabelled: int
    unjudged: int
    accuracy: float
    log_loss: float
    confidence: NDArray[np.float64]
    config: JudgeConfig


def audit_labels(
    layers: Mapping[str, Any],
    labels: RowNumbers,
    classes: tuple[str, ...],
    ids: Sequence[str],
    splits: Sequence[str],
    *,
    groups: RowNumbers | None = None,
    config: JudgeConfig = DEFAULT,
    progress: Progress = no_progress,
) -> LabelAudit:
    """Find labels that features contradict.

    Memory: the features of one layer at a time, which are not copied, and one log-probability (4 bytes) for each row,
    class and layer.

    Parameters
    ----------
    layers : mapping of str to array of shape (n, d)
        Features of the same rows by name of their layer, all splits one below the other: arrays, or what is read when
        it is the layer's turn (`featx.audit.rows.Rows`). One at least.
    labels : ndarray of int64 of shape (n,)
        Positions in `classes`; -1 where a row has none.
    classes : tuple of str
        Names.
    ids, splits : sequence of str
        Of each row. Rows of ``train`` are judged out of fold, other splits by all of ``train``; without such a split,
        all rows out of fold.
    groups : ndarray of int64 of shape (n,), optional
        Duplicates have the same number: no row is judged by what learnt from its duplicate.
    config : JudgeConfig
        Folds, C and seed.
    progress : callable
        Called as ``progress("judge labels", fits done, fits in all)``, for each layer.

    Returns
    -------
    LabelAudit

    Raises
    ------
    OptionError
        No layers, lengths differ, too few labelled rows for the folds, or fewer than two classes to learn.
    """
    if not layers:
        raise OptionError("no layers, expected the features of at least one")
    lengths = {name: int(X.shape[0]) for name, X in layers.items()}
    if {*lengths.values(), len(ids)} != {len(labels)}:
        raise OptionError(f"{len(labels)} labels, {len(ids)} ids and rows {lengths}, expected one each for every row")
    judgings = plan_judgings(labels, splits, groups, config)
    found = [log_probabilities(_matrix(X), labels, len(classes), judgings, config, progress) for X in layers.values()]
    rows = np.flatnonzero(can_be_judged(labels, judgings))
    return _verdicts([one[rows] for one in found], rows, labels, classes, ids, splits, tuple(layers), config)


def _matrix(X: Any) -> Any:
    """Return features as `SoftmaxRegression` takes them: those that say no dtype are read."""
    return X if hasattr(X, "dtype") else np.asarray(X[0 : X.shape[0]])


def _verdicts(
    layers: Sequence[Log],
    rows: RowNumbers,
    labels: RowNumbers,
    classes: tuple[str, ...],
    ids: Sequence[str],
    splits: Sequence[str],
    names: tuple[str, ...],
    config: JudgeConfig,
) -> LabelAudit:
    given = labels[rows]
    together = combine(layers)
    own = together[np.arange(len(rows)), given].astype(np.float64)
    suggested = together.argmax(axis=1)
    confidence = expit(own - best_other(together, given))
    agreeing = np.sum([layer.argmax(axis=1) == suggested for layer in layers], axis=0)
    joint = confident_joint(np.exp(together), given)
    estimated = calibrate(joint, given)
    worst = np.argsort(confidence, kind="stable")
    issues = [
        LabelIssue(
            id=ids[rows[at]],
            split=splits[rows[at]],
            given=classes[given[at]],
            suggested=classes[suggested[at]],
            confidence=float(confidence[at]),
            probability=float(np.exp(own[at])),
            agreeing=int(agreeing[at]),
        )
        for at in worst[suggested[worst] != given[worst]].tolist()
    ]
    of_all = np.full(len(labels), np.nan)
    of_all[rows] = confidence
    return LabelAudit(
        issues=issues,
        confused=confused_classes(joint, estimated, classes),
        estimated=float(estimated.sum() - np.trace(estimated)),
        layers=names,
        judged=len(rows),
        unlabelled=int((labels < 0).sum()),
        unjudged=int((labels >= 0).sum()) - len(rows),
        accuracy=float((suggested == given).mean()),
        log_loss=-float(own.mean()),
        confidence=of_all,
        config=config,
    )


def best_other(log: Log, labels: RowNumbers) -> NDArray[np.float64]:
    """Return the log-probability of each row's most probable class other than its label, of shape (n,)."""
    found = np.full(len(labels), -np.inf)
    for number in range(log.shape[1]):
        found = np.where(labels == number, found, np.maximum(found, log[:, number]))
    return found
