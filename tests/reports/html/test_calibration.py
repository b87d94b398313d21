"""Bins of equal mass, and the expected calibration error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from featx.core.run_folder import Runs
from featx.reports.html.calibration import bins_of, calibration_error
from featx.reports.html.predicted import Predicted, predicted_by


def said(probability: float | None, *, right: bool) -> Predicted:
    return Predicted(0, "a", "cat", "cat" if right else "dog", probability)


def test_bins_hold_as_many_images_and_are_ordered() -> None:
    rng = np.random.default_rng(0)
    found = bins_of([said(float(p), right=bool(rng.random() < p)) for p in rng.random(1000)])
    assert len(found) == 15
    assert {one.n for one in found} <= {66, 67}
    assert [one.confidence for one in found] == sorted(one.confidence for one in found)
    assert calibration_error(found) < 0.1  # right as often as it says


def test_the_error_is_how_far_a_model_is_from_what_it_says() -> None:
    sure = [said(0.9, right=i < 50) for i in range(100)]
    assert calibration_error(bins_of(sure, 1)) == pytest.approx(0.4)
    # By hand: bins of 0.6 (both wrong) and of 0.8 (both right).
    four = [said(0.6, right=False)] * 2 + [said(0.8, right=True)] * 2
    assert calibration_error(bins_of(four, 2)) == pytest.approx((2 * 0.6 + 2 * 0.2) / 4)


def test_few_images_are_a_bin_each_and_those_without_a_probability_do_not_count() -> None:
    assert [one.n for one in bins_of([said(0.5, right=True), said(None, right=True), said(0.7, right=False)])] == [1, 1]
    assert bins_of([said(None, right=True)]) == []


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = Runs(tmp_path).new("fit", [])
    lines = ["id,label,predicted,probability", "'=a,cat,dog,0.25", "b,'-x,'-x,", "c,cat,cat,1e9"]
    run.write_text("predictions.csv", "\n".join(lines))
    found = predicted_by(run)
    assert [(one.id, one.label, one.is_right, one.probability) for one in found] == [
        ("=a", "cat", False, 0.25),
        ("b", "-x", True, None),
        ("c", "cat", True, None),
    ]
    run.write_text("predictions.csv", "something,else\n1,2\n")
    assert predicted_by(run) == []
    run.write_bytes("predictions.csv", b"\xff\xfe\x00")
    assert predicted_by(run) == []
