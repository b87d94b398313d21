"""Random fits that are hard on floating point: far means, near copies, heavy tails, uneven weights, rare classes."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from long_double import ROUNDING, Reference

from featx import SoftmaxRegression

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class HardFit:
    """A problem and the estimator's parameters."""

    kind: str
    X: Array
    y: Array
    weight: Array | None
    params: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """What a fit claims and what is true: its distance from the minimum, and the minimum."""

    converged: bool
    gap: float | None
    truth: float
    minimum: float
    message: str

    @property
    def is_violated(self) -> bool:
        return self.gap is not None and self.truth > self.gap + ROUNDING * self.minimum

    @property
    def excess(self) -> float:
        return self.truth / self.minimum


def columns(kind: str, n: int, d: int, rng: np.random.Generator) -> Array:
    """Return the (n, d) values of one kind; some add columns."""
    X = rng.normal(size=(n, d))
    near = rng.normal(size=(n, 1)) + 10.0 ** rng.uniform(-8, -1) * X
    made = {
        "plain": lambda: X,
        "far": lambda: X + 10.0 ** rng.uniform(1, 8) * rng.normal(size=d),
        "together": lambda: X + 10.0 ** rng.uniform(1, 8),
        "copies": lambda: near,
        "cauchy": lambda: rng.standard_cauchy(size=(n, d)),
        "scales": lambda: X * 10.0 ** rng.uniform(-6, 6, d),
        "wide": lambda: rng.normal(size=(n, min(n, 30) + 5)),
        "bytes": lambda: rng.integers(0, 256, (n, d)).astype(float),
        "constant": lambda: np.column_stack([X, np.full(n, 3.3), X[:, 0]]),
    }
    return made[kind]()


KINDS = ("plain", "far", "together", "copies", "cauchy", "scales", "wide", "bytes", "constant")


def draw(seed: int) -> HardFit:
    """Return the hard fit of this number."""
    rng = np.random.default_rng(seed)
    n, k, kind = int(rng.integers(10, 150)), int(rng.choice([2, 2, 3, 4, 6, 8])), str(rng.choice(KINDS))
    n = min(n, 40) if kind == "wide" else n
    X = columns(kind, n, int(rng.integers(1, 9)), rng)
    deviation = X.std(0)
    logits = (X - X.mean(0)) / np.where(deviation > 0, deviation, 1) @ rng.normal(size=(X.shape[1], k))
    logits *= 10.0 ** rng.uniform(-1, 1.5)
    logits[:, 0] += rng.choice([0.0, 6.0], p=[0.8, 0.2])  # a class that leaves the others rare
    y = (logits + rng.choice([0.0, 1.0], p=[0.15, 0.85]) * rng.gumbel(size=(n, k))).argmax(1)
    y[:k] = np.arange(k)
    weight = None
    if rng.random() < 0.3:
        weight = rng.uniform(0, 1, n) * 10.0 ** rng.uniform(0, 5, n if rng.random() < 0.5 else 1)
        weight[k:][rng.random(n - k) < 0.1] = 0
    params = {
        "C": float(10.0 ** rng.uniform(-4, 6)),
        "fit_intercept": bool(rng.random() < 0.6),
        "standardize": bool(rng.random() < 0.25),
    }
    return HardFit(kind, X.astype(np.float32 if rng.random() < 0.5 else np.float64), y, weight, params)


def judge(fit: HardFit) -> Judged:
    """Fit it, and hold what is claimed against long double."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        model = SoftmaxRegression(**fit.params).fit(fit.X, fit.y, fit.weight)
    options = {name: fit.params[name] for name in ("fit_intercept", "standardize") if name in fit.params}
    penalised = fit.params.get("penalty", "l2") is not None
    reference = Reference(fit.X, fit.y, fit.params.get("C", 1.0), fit.weight, penalised=penalised, **options)
    minimum = min(reference.minimum(model.coef_, model.intercept_), reference.minimum())
    truth = float(reference.objective(model.coef_, model.intercept_) - minimum)
    said = "; ".join(str(warning.message) for warning in heard)
    return Judged(bool(model.converged_), model.objective_gap_, truth, float(minimum), said)
