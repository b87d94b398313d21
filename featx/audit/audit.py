"""All that is looked at in a data set, put together: leaks, labels, odd images, classes, silent columns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.audit.classes import ClassBalance, class_balance
from featx.audit.columns import SilentColumns, silent_columns
from featx.audit.findings import Finding
from featx.audit.images import AuditedImages, ThumbnailFeatures
from featx.audit.labels import LabelAudit, LabelIssue, audit_labels
from featx.audit.leaked_scores import LeakedScores, leaked_scores
from featx.audit.leaks import LEAST_SIDE, Leaks, find_leaks
from featx.audit.leaks_config import LeaksConfig
from featx.audit.oddities import OddImage, find_odd_images
from featx.audit.out_of_fold import JudgeConfig, plan_judgings
from featx.audit.outliers import Outlier, find_outliers
from featx.audit.rows import Rows
from featx.core.specs import Progress, no_progress
from featx.errors import OptionError

TRAIN = "train"
SCORED = ("test", "val")
"""The splits that a score is of; the first that there is."""


@dataclass
class LayersOf:
    """Features of some of the images.

    Parameters
    ----------
    layers : mapping of str to Rows
        By name; the first is what neighbours are searched by. Empty: those of thumbnails are taken.
    rows : ndarray of int64 of shape (m,)
        Which images these are, rising.
    """

    layers: Mapping[str, Rows]
    rows: NDArray[np.int64]


@dataclass
class Audit:
    """What was found.

    Parameters
    ----------
    rows : dict of str to int
        Images by split.
    layers : tuple of str
        By whose features; those of thumbnails are called ``thumbnails``.
    leaks : Leaks
        Images that are there twice.
    labels : LabelAudit or None
        Doubtful labels; None where there are too few to judge, see `notes`.
    outliers : list of Outlier
        Images far from all others.
    odd : list of OddImage
        Constant, blurred, almost grey, or of an odd size.
    classes : ClassBalance
        By split.
    columns : dict of str to SilentColumns
        By layer.
    scores : LeakedScores or None
        Accuracy with and without leaked test rows; None where nothing leaked, or nothing is scored.
    seconds : dict of str to float
        By stage.
    notes : list of str
        What was not looked at, and why.
    """

    rows: dict[str, int]
    layers: tuple[str, ...]
    leaks: Leaks
    labels: LabelAudit | None
    outliers: list[Outlier]
    odd: list[OddImage]
    classes: ClassBalance
    columns: dict[str, SilentColumns]
    scores: LeakedScores | None
    seconds: dict[str, float]
    notes: list[str] = field(default_factory=list)

    def findings(self) -> list[Finding]:
        """Return all that is about single images, by kind, the surest of each first."""
        found = [leak.finding() for leak in self.leaks.pairs]
        found += [_label(issue) for issue in self.label_issues()]
        found += [_outlier(one) for one in self.outliers]
        return found + [_odd(one) for one in self.odd]

    def label_issues(self) -> list[LabelIssue]:
        """Return the doubtful labels; none where they were not judged."""
        return self.labels.issues if self.labels else []

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON shows it."""
        labels = self.labels
        judged = None if labels is None else {
            name: getattr(labels, name)
            for name in ("estimated", "judged", "unlabelled", "unjudged", "accuracy", "log_loss", "layers")
        }  # fmt: skip
        return {
            "rows": self.rows,
            "layers": list(self.layers),
            "leaks": [leak.as_dict() for leak in self.leaks.pairs],
            "pairs_compared": self.leaks.compared,
            "pairs_left_out": self.leaks.left_out,
            "neighbours_found": self.leaks.recall,
            "scores": self.scores.as_dict() if self.scores else None,
            "labels": [asdict(issue) for issue in self.label_issues()],
            "judged": judged,
            "confused": [asdict(pair) for pair in labels.confused] if labels else [],
            "outliers": [asdict(one) for one in self.outliers],
            "odd": [asdict(one) for one in self.odd],
            "classes": asdict(self.classes),
            "columns": {name: asdict(one) for name, one in self.columns.items()},
            "seconds": self.seconds,
            "notes": self.notes,
        }


def _label(issue: LabelIssue) -> Finding:
    remedy = f"is it {issue.suggested}, not {issue.given}? correct the label, or leave the image out"
    return Finding("label", (issue.id,), (issue.split,), 1 - issue.confidence, remedy)


def _outlier(one: Outlier) -> Finding:
    return Finding("outlier", (one.id,), (one.split,), one.distance, "does it belong? else leave it out")


def _odd(one: OddImage) -> Finding:
    remedy = (
        f"{one.value}, usually {one.usual}: does it belong? else leave it out"
        if one.usual
        else f"{one.value}: mend it, or leave it out"
    )
    return Finding(one.kind, (one.id,), (one.split,), 0.0, remedy)


def audit(
    images: AuditedImages,
    found: LayersOf,
    leaks: LeaksConfig,
    judge: JudgeConfig,
    progress: Progress = no_progress,
) -> Audit:
    """Look at all images, and at their features.

    Parameters
    ----------
    images : AuditedImages
        Of all splits.
    found : LayersOf
        Their features, or none.
    leaks, judge : LeaksConfig, JudgeConfig
        How near-duplicates are searched for, and how labels are judged.
    progress : callable
        Told of each stage.
    """
    clock = _Clock()
    images.look(progress)
    clock.stop("look")
    rows = found.rows if found.layers else np.flatnonzero(images.readable)
    layers: Mapping[str, Any] = found.layers or {"thumbnails": ThumbnailFeatures(images, rows)}
    first = next(iter(layers.values()))

    def features_of(wanted: NDArray[np.int64]) -> tuple[Rows, NDArray[np.int64]]:
        some = np.intersect1d(wanted, rows)
        return _Some(first, np.searchsorted(rows, some)), some

    twice = find_leaks(images, features_of, leaks, progress)
    clock.stop("leaks")
    notes: list[str] = []
    if twice.small:
        notes.append(
            f"{twice.small:,} images are smaller than {LEAST_SIDE} px, too small to tell the same shot from another: "
            "of these only equal ones are found"
        )
    if len(rows) > leaks.exact_rows:
        notes.append(
            f"more than {leaks.exact_rows:,} images (--exact-rows): each is compared with similar ones only, which are "
            f"{twice.recall:.1%} of the nearest of a sample"
        )
    if not found.layers:  # a classifier of 8 x 8 px would doubt most labels
        labels, scores = None, None
        notes.append("labels are not judged without features: give -b BACKBONE -l LAYER")
    else:
        labels = _judged(images, layers, rows, twice, judge, notes, progress)
        clock.stop("labels")
        scores = _scores(images, first, rows, twice, judge, notes)
        clock.stop("scores")
    columns = {name: silent_columns(X) for name, X in found.layers.items()}
    return Audit(
        rows={split: len(source) for split, source in images.sources.items()},
        layers=tuple(layers),
        leaks=twice,
        labels=labels,
        outliers=find_outliers(twice.distances, images.ids, images.splits),
        odd=find_odd_images(images.facts, images.ids, images.splits),
        classes=class_balance(images.labels, images.splits, images.classes),
        columns=columns,
        scores=scores,
        seconds=clock.seconds,
        notes=notes,
    )


class _Clock:
    """Seconds by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    def stop(self, stage: str) -> None:
        """End a stage; the next one begins."""
        now = time.perf_counter()
        self.seconds[stage], self._began = now - self._began, now


class _Some:
    """Some rows of others, read when they are asked for."""

    def __init__(self, rows: Rows, chosen: NDArray[np.int64]) -> None:
        self._rows, self._chosen = rows, chosen
        self.shape: tuple[int, ...] = (len(chosen), rows.shape[1])

    def __getitem__(self, rows: Any, /) -> Any:
        """Return the rows of a slice, or of an ascending array of numbers."""
        return self._rows[self._chosen[rows]]


def _judged(
    images: AuditedImages,
    layers: Mapping[str, Any],
    rows: NDArray[np.int64],
    twice: Leaks,
    config: JudgeConfig,
    notes: list[str],
    progress: Progress,
) -> LabelAudit | None:
    """Judge the labels; say why, where that is not possible."""
    labels = images.labels[rows]
    ids, splits = ([names[row] for row in rows.tolist()] for names in (images.ids, images.splits))
    groups = twice.groups[rows]
    try:
        plan_judgings(labels, splits, groups, config)
    except OptionError as exc:
        notes.append(f"labels are not judged: {exc.message}")
        return None
    found = audit_labels(layers, labels, images.classes, ids, splits, groups=groups, config=config, progress=progress)
    if found.unjudged:
        notes.append(f"{found.unjudged:,} labels are not judged: there is too little beside them to learn from")
    return found


def _scores(
    images: AuditedImages,
    X: Rows,
    rows: NDArray[np.int64],
    twice: Leaks,
    config: JudgeConfig,
    notes: list[str],
) -> LeakedScores | None:
    """Fit on the training rows as they are, and score the test rows with and without those that leaked."""
    splits = np.array(images.splits)[rows]
    scored = next((split for split in SCORED if (splits == split).any()), None)
    if scored is None or not (splits == TRAIN).any():
        notes.append("no score with and without leaked images: there is no split to train on beside one to score")
        return None
    labels = images.labels[rows]
    learn, test = (np.flatnonzero((splits == split) & (labels >= 0)) for split in (TRAIN, scored))
    leaked = twice.leaked(images.splits, scored)[rows[test]]
    if not leaked.any() or len(np.unique(labels[learn])) < 2:
        return None
    from featx.probes.softmax import SoftmaxRegression

    model = SoftmaxRegression(config.C, standardize=True).fit(np.asarray(X[learn]), labels[learn])
    return leaked_scores(np.asarray(model.predict(np.asarray(X[test]))) == labels[test], leaked, config.seed)
