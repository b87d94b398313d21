"""How sure a difference of two test accuracies is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from scipy import stats

from featx.core.run_folder import Run, Runs
from featx.reports.differences import accuracy_of, difference, interval_of

Row = dict[str, Any]


def row(accuracy: float, n: int = 200, **more: Any) -> Row:
    return {"accuracy": {"test": accuracy}, "rows": {"test": n}, **more}


def seeded(*scores: float) -> Row:
    found = stats.ttest_1samp(scores, 0).confidence_interval()
    by_seed = {str(i): score for i, score in enumerate(scores)}
    return row(float(np.mean(scores)), test_by_seed=by_seed, accuracy_interval={"test": [found.low, found.high]})


def predicting(home: Path, right: np.ndarray[Any, Any]) -> tuple[Row, Run]:
    """A run whose predictions are right where it is said."""
    run = Runs(home).new("fit", [])
    labels = np.zeros(len(right), np.int64)
    hashes = np.arange(32 * len(right), dtype=np.int64).astype(np.uint8).reshape(-1, 32)
    hashes[:, :2] = np.arange(len(right))[:, None] // [256, 1]
    tensors = {"hashes": hashes, "labels": labels, "predicted": np.where(right, 0, 1)}
    run.write_bytes("predictions.safetensors", safetensors.numpy.save(tensors))
    return row(float(right.mean()), len(right), run=run.id, runs=[run.id]), run


def test_seeds_that_both_have_are_paired() -> None:
    one, two = [0.9, 0.8, 0.7], [0.88, 0.79, 0.67]
    found = difference(seeded(*one), seeded(*two))
    expected = stats.ttest_rel(one, two).confidence_interval()
    assert found.value == pytest.approx(0.02)
    assert found.interval == pytest.approx((expected.low, expected.high))
    assert found.how == "paired over 3 seeds, Student's t"
    # Not paired, these differ by less than their intervals.
    assert found.interval is not None
    assert found.interval[1] < 0.1


def test_equal_differences_are_not_called_certain() -> None:
    found = difference(seeded(0.9, 0.8), seeded(0.85, 0.75))
    assert found.interval is not None
    assert not found.is_clear
    assert "not paired" in found.how


def test_single_runs_are_paired_over_the_images(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first = rng.random(400) < 0.8
    second = first ^ (rng.random(400) < 0.02)
    (one, run), (two, other) = predicting(tmp_path, first), predicting(tmp_path, second)
    paired = difference(one, two, {run.id: run, other.id: other})
    alone = difference(one, two)
    assert paired.how == "paired over 400 test images"
    assert paired.value == pytest.approx(first.mean() - second.mean())
    assert paired.interval is not None
    assert alone.interval is not None
    assert np.ptp(paired.interval) < np.ptp(alone.interval) / 2


def test_predictions_of_another_record_tell_nothing(tmp_path: Path) -> None:
    right = np.arange(100) < 80
    (one, run), (two, other) = predicting(tmp_path, right), predicting(tmp_path, ~right)
    claimed = {**one, "accuracy": {"test": 0.99}}
    assert "not paired" in difference(claimed, two, {run.id: run, other.id: other}).how


def test_the_paired_interval_covers_what_it_says(tmp_path: Path) -> None:
    """Of 300 pairs of equally good classifiers, about 95 % have an interval that holds 0."""
    rng = np.random.default_rng(1)
    from featx.reports.differences import _matched

    held = 0
    for _ in range(300):
        b, c = rng.multinomial(150, [0.06, 0.06, 0.88])[:2]
        found = _matched(int(b), int(c), 150)
        assert found is not None
        held += not found.is_clear
    assert 0.91 <= held / 300 <= 0.99


def test_without_seeds_or_images_both_intervals_count() -> None:
    found = difference(row(0.9, 1000), row(0.8, 1000))
    assert found.is_clear
    assert found.interval is not None
    assert found.interval[0] < 0.1 < found.interval[1]
    assert not difference(row(0.82, 100), row(0.8, 100)).is_clear
    unknown = difference(row(0.9, 0), row(0.8))
    assert (unknown.interval, unknown.is_clear) == (None, False)


def test_intervals_are_of_the_seeds_else_of_the_images() -> None:
    ends, how = interval_of(seeded(0.9, 0.8, 0.7))
    assert ends is not None
    assert ends[1] <= 1.0
    assert how == "Student's t over 3 seeds"
    ends, how = interval_of(row(0.9, 100))
    assert ends == pytest.approx((0.8256343384950865, 0.9447708629393249))
    assert how == "Wilson, 100 test images"


@pytest.mark.parametrize("odd", [None, "0.9", True, 2, -0.1, float("nan"), [0.9], {"a": 1}])
def test_what_is_no_accuracy_is_none(odd: Any) -> None:
    assert accuracy_of({"accuracy": {"test": odd}}) is None
    assert accuracy_of({"accuracy": odd}) is None
