"""Planted wrong labels come first, with the class that they were."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from featx.audit.labels import LabelAudit, audit_labels
from featx.audit.out_of_fold import JudgeConfig
from featx.errors import OptionError

CLASSES = ("cat", "dog", "bird")
CONFIG = JudgeConfig(C=1.0)


def drawn(n: int = 300, seed: int = 0) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Features of three classes that overlap a little, and the classes."""
    rng = np.random.default_rng(seed)
    true = np.arange(n) % 3
    return (3 * np.eye(3)[true] + rng.normal(size=(n, 3))).astype(np.float32), true


def audited(labels: np.ndarray[Any, Any], **layers: Any) -> LabelAudit:
    ids = [f"{row}.png" for row in range(len(labels))]
    return audit_labels(layers, labels, CLASSES, ids, ["all"] * len(labels), config=CONFIG)


def test_wrong_labels_come_first_and_their_true_class_is_suggested() -> None:
    X, true = drawn()
    labels = true.copy()
    wrong = [3, 40, 80, 121, 200]
    labels[wrong] = (labels[wrong] + 1) % 3
    found = audited(labels, a=X)
    assert {int(issue.id.removesuffix(".png")) for issue in found.issues[:10]} >= set(wrong)
    by_id = {issue.id: issue for issue in found.issues}
    assert all(by_id[f"{row}.png"].suggested == CLASSES[true[row]] for row in wrong)
    assert all(by_id[f"{row}.png"].given == CLASSES[labels[row]] for row in wrong)
    confidences = [issue.confidence for issue in found.issues]
    assert confidences == sorted(confidences)
    assert all(issue.probability <= issue.confidence <= 0.5 for issue in found.issues)
    assert json.loads(json.dumps(asdict(found.issues[0])))["split"] == "all"


def test_only_labels_that_are_not_the_most_probable_are_listed() -> None:
    X, true = drawn()
    found = audited(true, a=X)
    assert len(found.issues) == round((1 - found.accuracy) * len(true))
    assert all(issue.given != issue.suggested for issue in found.issues)


def test_a_second_layer_that_knows_better_counts() -> None:
    X, true = drawn()
    labels = true.copy()
    rng = np.random.default_rng(1)
    wrong = rng.choice(300, 30, replace=False)
    labels[wrong] = (labels[wrong] + 1) % 3
    noisy = X + 2 * rng.normal(size=X.shape).astype(np.float32)

    def recall(found: LabelAudit) -> int:
        return len({int(issue.id[:-4]) for issue in found.issues[:30]} & set(wrong.tolist()))

    alone, both = audited(labels, a=noisy), audited(labels, a=noisy, b=X)
    assert recall(both) > recall(alone)
    assert {issue.agreeing for issue in both.issues} <= {0, 1, 2}
    assert both.issues[0].agreeing == 2


def test_a_duplicate_with_the_same_wrong_label_does_not_confirm_it() -> None:
    rng = np.random.default_rng(0)
    X, true = drawn(60)
    X = np.concatenate([X, rng.normal(size=(60, 200)).astype(np.float32)], axis=1)  # enough columns to learn by heart
    X, labels = np.concatenate([X, X[:1]]), np.concatenate([true, true[:1]])
    labels[[0, 60]] = 2
    ids, groups = [str(row) for row in range(61)], np.append(np.arange(60), 0)
    apart = audit_labels({"a": X}, labels, CLASSES, ids, ["all"] * 61, groups=groups, config=CONFIG)
    blind = audit_labels({"a": X}, labels, CLASSES, ids, ["all"] * 61, config=CONFIG)
    assert apart.confidence[0] < blind.confidence[0]


def test_rows_without_a_label_and_classes_of_one_row_are_counted_not_judged() -> None:
    X, true = drawn(31)
    labels = np.where(true == 2, -1, true)
    labels[30] = 2
    found = audited(labels, a=X)
    assert (found.unlabelled, found.unjudged) == (10, 1)
    assert found.judged == 20
    assert np.isnan(found.confidence[30])
    assert not np.isnan(found.confidence[labels >= 0][:20]).any()


class Lazy:
    """Rows that are read when they are asked for."""

    def __init__(self, X: np.ndarray[Any, Any]) -> None:
        self._X, self.shape = X, X.shape

    def __getitem__(self, rows: Any, /) -> np.ndarray[Any, Any]:
        return self._X[rows]


def test_features_may_be_read_when_they_are_needed() -> None:
    X, true = drawn(60)
    assert audited(true, a=Lazy(X)).issues == audited(true, a=X).issues


def test_lengths_that_differ_and_no_layers_are_refused() -> None:
    X, true = drawn(30)
    with pytest.raises(OptionError, match="30 labels"):
        audited(true, a=X[:20])
    with pytest.raises(OptionError, match="no layers"):
        audited(true)
