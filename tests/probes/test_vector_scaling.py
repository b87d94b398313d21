"""Vector scaling: the minimum that scipy finds, a proof of it, and rows that leave parameters open."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from logit_rows import drawn, problems
from scipy.optimize import minimize
from scipy.special import log_softmax

from featx.probes.logit_scaling import SMALLEST
from featx.probes.vector_scaling import fit_vector

Wide = np.longdouble


def objective(logits: Any, y: Any, temperature: float, scale: Any, offset: Any, kind: Any = np.float64) -> Any:
    """Return the mean log loss and the prior, as the module's docstring has them, computed plainly."""
    size = np.sqrt(np.mean(np.square(logits / temperature)))
    size = size if size > SMALLEST else 1.0
    z = logits.astype(kind) * np.asarray(scale, kind) + np.asarray(offset, kind)
    top = z.max(axis=1)
    losses = top + np.log(np.exp(z - top[:, None]).sum(axis=1)) - z[np.arange(len(y)), y]
    v = kind(size) * (np.asarray(scale, kind) * kind(temperature) - 1)
    return losses.mean() + (v @ v + np.asarray(offset, kind) @ np.asarray(offset, kind)) / (2 * len(y))


@pytest.mark.parametrize(("n", "k", "size"), [(40, 2, 1.0), (150, 4, 20.0), (400, 6, 0.01)])
def test_it_is_the_minimum_that_scipy_finds(n: int, k: int, size: float) -> None:
    logits, y = drawn(n, k, size)
    y = np.where(np.arange(n) % 5 == 0, 0, y)  # class 0 is called too rarely
    found = fit_vector(logits, y)
    temperature = found.temperature

    def value(parameters: Any) -> float:
        return float(objective(logits, y, temperature, parameters[:k] / temperature, parameters[k:]))

    theirs = minimize(value, np.concatenate([np.ones(k), np.zeros(k)]), method="BFGS", options={"gtol": 1e-7})
    assert found.objective == pytest.approx(value(np.concatenate([found.scale * temperature, found.offset])), rel=1e-12)
    assert found.objective <= theirs.fun + 1e-12
    np.testing.assert_allclose(found.scale * temperature, theirs.x[:k], atol=2e-3)
    np.testing.assert_allclose(found.offset, theirs.x[k:], atol=2e-3)
    plain = -log_softmax(logits / temperature, axis=1)[np.arange(n), y].mean()
    assert found.objective < plain - (0.01 if k > 2 else 0)


@settings(max_examples=40, deadline=None)
@given(problems())
def test_whatever_the_rows_nothing_is_lower_than_the_proof_allows(problem: tuple[Any, Any]) -> None:
    logits, y = problem
    k = logits.shape[1]
    found = fit_vector(logits, y)
    assert np.isfinite([*found.scale, *found.offset, found.objective]).all()
    assert 0 <= found.objective_gap < 1e-9
    reached = objective(logits, y, found.temperature, found.scale, found.offset, Wide)
    rng = np.random.default_rng(0)
    for step in (1e-1, 1e-4, 1e-7):
        scale = found.scale * (1 + step * rng.standard_normal(k))
        offset = found.offset + step * rng.standard_normal(k)
        beside = objective(logits, y, found.temperature, scale, offset, Wide)
        assert beside >= reached - Wide(found.objective_gap) - Wide(1e-17)


def test_the_proof_knows_how_far_a_worse_point_is(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, y = drawn(200, 4, 5.0)
    best = fit_vector(logits, y)
    monkeypatch.setattr("featx.probes.vector_scaling.MOST_STEPS", 1)
    worse = fit_vector(logits, y)
    assert 0 < worse.objective - best.objective <= worse.objective_gap


def test_a_class_without_rows_has_a_finite_offset_and_is_told() -> None:
    logits, y = drawn(60, 4, 3.0)
    found = fit_vector(logits[y < 3], y[y < 3])
    assert -20 < found.offset[3] < found.offset[:3].min()
    assert any("1 of 4 classes" in note for note in found.notes)


def test_with_one_row_it_is_nearly_temperature_scaling() -> None:
    logits = np.array([[2.0, 1.0, 0.0]])
    found = fit_vector(logits, np.array([1]))
    assert np.abs(found.offset).max() < 1
