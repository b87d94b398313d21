"""Intervals of scores over test images, beside those over seeds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from predicting import predicting

from featx.core.statistics import wilson_interval
from featx.reports.over_images import over_images

N = 400


def test_every_score_that_its_rows_tell_has_an_interval(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    right = rng.random(N) < 0.8
    row, run = predicting(tmp_path, right, losses=rng.exponential(size=N))
    (found,), reasons = over_images([row], {run.id: run}, draws=2000)
    assert reasons == []
    assert {*found["over_images"]} == {"accuracy", "loss", "balanced_accuracy", "macro_f1"}
    for name, (low, high) in found["over_images"].items():
        assert low < row[name]["test"] < high
    assert found["over_images"]["accuracy"] == pytest.approx(wilson_interval(right.mean(), N), abs=0.01)
    assert "over_images" not in row


def test_a_mean_over_seeds_has_one_of_its_own_predictions(tmp_path: Path) -> None:
    """Seeds that err on other images are surer together than any alone."""
    rng = np.random.default_rng(1)
    pairs = [predicting(tmp_path, rng.random(N) < 0.8, seed=seed) for seed in range(4)]
    scores = [row["accuracy"]["test"] for row, _ in pairs]
    mean = {**pairs[0][0], "runs": [run.id for _, run in pairs], "accuracy": {"test": float(np.mean(scores))}}
    mean |= {"balanced_accuracy": None, "macro_f1": None}
    (found,), _ = over_images([mean], {run.id: run for _, run in pairs}, draws=2000)
    (alone,), _ = over_images([pairs[0][0]], {pairs[0][1].id: pairs[0][1]}, draws=2000)
    widths = [np.ptp(row["over_images"]["accuracy"]) for row in (found, alone)]
    assert widths[0] == pytest.approx(widths[1] / 2, rel=0.2)


def test_predictions_of_another_record_give_none(tmp_path: Path) -> None:
    row, run = predicting(tmp_path, np.arange(N) % 5 > 0)
    claimed = {**row, "accuracy": {"test": 0.99}}
    (found,), reasons = over_images([claimed], {run.id: run}, draws=100)
    assert "accuracy" not in found["over_images"]
    assert "not those that its score is of" in reasons[0]


def test_damaged_predictions_give_none_and_a_reason(tmp_path: Path) -> None:
    row, run = predicting(tmp_path, np.arange(N) % 5 > 0)
    (run.path / "predictions.safetensors").write_bytes(b"nonsense")
    (found,), reasons = over_images([row], {run.id: run}, draws=100)
    assert "over_images" not in found
    assert "no predictions that can be read" in reasons[0]
