"""Confident learning's counts, worked out by hand."""

from __future__ import annotations

import numpy as np

from featx.audit.confident import calibrate, class_thresholds, confident_joint, confused_classes

# Means of the own class: (0.9 + 0.5 + 0.1) / 3 = 0.5 for a, (0.8 + 0.6) / 2 = 0.7 for b.
P = np.array([[0.9, 0.1], [0.5, 0.5], [0.1, 0.9], [0.2, 0.8], [0.4, 0.6]])
LABELS = np.array([0, 0, 0, 1, 1])


def test_thresholds_are_the_mean_probability_of_each_class_among_its_rows() -> None:
    assert np.allclose(class_thresholds(P, LABELS), [0.5, 0.7])


def test_rows_count_for_the_most_probable_class_whose_threshold_they_reach() -> None:
    # The last row reaches neither threshold.
    assert confident_joint(P, LABELS).tolist() == [[2, 1], [0, 1]]


def test_calibrated_counts_add_up_to_the_rows_of_each_label() -> None:
    estimated = calibrate(confident_joint(P, LABELS), LABELS)
    assert np.allclose(estimated, [[2, 1], [0, 2]])
    (pair,) = confused_classes(confident_joint(P, LABELS), estimated, ("a", "b"))
    assert (pair.given, pair.likely, pair.counted, pair.estimated) == ("a", "b", 1, 1.0)


def test_a_class_without_rows_is_never_counted() -> None:
    wide = np.column_stack([P, np.zeros(5)])
    joint = confident_joint(wide, LABELS)
    assert joint.shape == (3, 3)
    assert not joint[2].any()
    assert not joint[:, 2].any()
    assert np.isfinite(calibrate(joint, LABELS)).all()


def test_known_noise_is_estimated_by_pair() -> None:
    true = np.repeat([0, 1, 2], 1000)
    labels = true.copy()
    labels[:100] = 1
    # A classifier that is equally sure of every row's true class.
    estimated = calibrate(confident_joint(np.where(np.eye(3)[true] > 0, 0.9, 0.05), labels), labels)
    assert np.allclose(estimated, [[900, 0, 0], [100, 1000, 0], [0, 0, 1000]])
