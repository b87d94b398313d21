"""Calibration of a fit: on which rows, by which model, and what the scores are of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from featx.core.metrics import full_logits, score
from featx.errors import OptionError, SourceError
from featx.probes.calibration import BLIND, OWN, calibrate
from featx.probes.config import FitConfig, idle_options
from featx.probes.evaluation import fit_head
from featx.probes.probe import ProbeResult
from featx.probes.temperature import fit_temperature
from featx.runs.fit_identity import unused

pytestmark = pytest.mark.usefixtures("one_thread")


def parts() -> Any:
    """Return rows of three classes that overlap, for train, val and test."""
    random = np.random.default_rng(0)
    found = {}
    for name, n in (("train", 150), ("val", 80), ("test", 60)):
        y = random.integers(0, 3, n)
        X = random.standard_normal((n, 15))
        X[:, :3] += 1.2 * np.eye(3)[y]
        found[name] = X.astype(np.float32), y
    return found


@pytest.mark.parametrize("method", ["temperature", "vector"])
def test_scores_are_the_calibrated_models_but_those_of_the_rows_it_was_fitted_on(method: Any) -> None:
    plain, found = (fit_head(parts(), FitConfig(C=100, calibrate=how), 3) for how in (None, method))
    assert plain.calibration is None
    done = found.calibration
    assert done is not None
    np.testing.assert_array_equal(found.model.coef_, plain.model.coef_)
    assert found.scores["val"].loss == plain.scores["val"].loss == done.before["val"].loss
    assert done.after["val"].loss < done.before["val"].loss
    X, y = parts()["test"]
    by_hand = score(full_logits(plain.model, X, 3) * done.scaling.scale + done.scaling.offset, y, 3)
    assert found.scores["test"].loss == done.after["test"].loss == by_hand.loss
    assert found.scores["test"].brier < plain.scores["test"].brier
    assert {*done.as_dict()["before"]} == {"train", "val", "test"}
    assert (done.rows, done.left_out, done.model) == (80, 0, OWN)


def test_a_sweep_is_calibrated_on_logits_of_the_fit_that_has_not_seen_the_validation_rows() -> None:
    found = fit_head(parts(), FitConfig(sweep="clip", calibrate="temperature"), 3)
    X, y = parts()["val"]
    assert found.calibration is not None
    assert found.calibration.model == BLIND
    blind, refit = (fit_temperature(full_logits(m, X, 3), y).temperature for m in (found.blind, found.model))
    assert found.calibration.fitted.temperature == blind != refit


def test_classes_that_the_model_does_not_know_stay_ruled_out() -> None:
    rng = np.random.default_rng(0)
    logits, y = rng.standard_normal((60, 4)), rng.integers(0, 4, 60)
    logits[:, 1] = -np.inf
    for method in ("temperature", "vector"):
        done, scores = calibrate(method, (logits, y), {"test": (logits, y)}, 4)  # type: ignore[arg-type]
        assert (done.rows, done.left_out) == (int((y != 1).sum()), int((y == 1).sum()))
        assert (done.scaling.scale[1], done.scaling.offset[1]) == (1, 0)
        assert np.isneginf(done.scaling(logits)[:, 1]).all()
        assert scores["test"].confusion[:, 1].sum() == 0
        assert any("without training rows" in note for note in done.notes)
    with pytest.raises(SourceError, match="no validation row is of a class"):
        calibrate("temperature", (logits[y == 1], y[y == 1]), {}, 4)


def test_without_validation_rows_it_is_refused() -> None:
    X, y = parts()["val"]
    with pytest.raises(SourceError, match="no validation rows") as said:
        fit_head({**parts(), "val": (X[:0], y[:0])}, FitConfig(calibrate="vector"), 3)
    assert "val_size" in said.value.hint


@pytest.mark.parametrize("wrong", [{"head": "svm"}, {"head": "knn"}, {"shots": 3}, {"calibrate": "platt"}])
def test_what_cannot_be_calibrated_is_refused(wrong: Any) -> None:
    with pytest.raises(OptionError, match="calibrate"):
        FitConfig(**{"calibrate": "vector", **wrong})


def test_fits_that_are_not_calibrated_are_those_of_before_the_option() -> None:
    assert "calibrate" in idle_options({"head": "softmax"})
    assert "calibrate" in unused(FitConfig())
    assert "calibrate" not in unused(replace(FitConfig(), calibrate="vector"))
    assert ProbeResult.__dataclass_fields__["calibration"].default is None
