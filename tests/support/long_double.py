"""Softmax regression's objective in long double: exact enough to judge what float64 claims of it.

The minimum is found by Newton steps on columns made orthogonal first, Cholesky and all in numpy's `longdouble`
(64 bits of mantissa on x86), for problems of a few hundred weights.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

Wide = np.longdouble
Array = np.ndarray[Any, Any]

IS_WIDER = np.finfo(Wide).eps < np.finfo(np.float64).eps

ROUNDING = 1e-16
"""What this reference can be wrong by itself, as a part of the objective; the most that 50 digits have found."""

LIFTS = (1e-19, 1e-17, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3, 1.0)


class Reference:
    """One fit's problem, as `featx.SoftmaxRegression` of the same parameters understands it."""

    def __init__(
        self,
        X: Array,
        y: Array,
        C: float,
        weight: Array | None = None,
        *,
        fit_intercept: bool = True,
        standardize: bool = False,
        penalised: bool = True,
    ) -> None:
        self.X = X.astype(Wide)
        classes, self.target = np.unique(y, return_inverse=True)
        self.k, self.C, self.fit_intercept, self.ridge = len(classes), Wide(C), fit_intercept, Wide(penalised)
        self.weight = np.ones(len(X), Wide) if weight is None else np.asarray(weight).astype(Wide)
        share = self.weight / self.weight.sum()
        self.mean, self.scale = np.zeros(X.shape[1], Wide), np.ones(X.shape[1], Wide)
        if standardize:
            self.mean = share @ self.X
            deviation = np.sqrt(share @ (self.X - self.mean) ** 2)
            self.scale = np.where(deviation <= 1e-17 * np.abs(self.mean), Wide(1), deviation)

    def objective(self, coef: Array, intercept: Array) -> Wide:
        """Return the objective at coefficients (rows, d) and intercepts (rows,) as they are used on X as given."""
        losses = self._terms(self._logits(coef, intercept))[0]
        return self.C * (self.weight @ losses) + self.ridge * ((coef.astype(Wide) * self.scale) ** 2).sum() / 2

    def _logits(self, coef: Array, intercept: Array) -> Array:
        """Return the logits of X as given: what far columns add to all rows alike is added up exactly, apart."""
        middle = self.X.mean(0).astype(np.float64)
        alike = [
            _exact(b) + sum(_exact(c) * _exact(m) for c, m in zip(row, middle, strict=True))
            for row, b in zip(coef, intercept, strict=True)
        ]
        return (self.X - middle) @ coef.astype(Wide).T + np.array([_wide(total) for total in alike])

    def minimum(self, coef: Array | None = None, intercept: Array | None = None, steps: int = 200) -> Wide:
        """Return the least objective found, from zero weights or from given ones.

        It is the objective at the coefficients that were found, so that it cannot lie below the minimum: that of the
        orthogonal columns, which are rounded, can, by a part of 1e-12 where the columns' scales differ much.
        """
        A, ridge, back = self._orthogonal()
        theta = np.zeros((1 if self.k == 2 else self.k, A.shape[1]), Wide)
        if coef is not None and intercept is not None:
            theta = self._start(coef.astype(Wide), intercept.astype(Wide)) @ back.T
        value, residual, probability = self._at(A, ridge, theta)
        for _ in range(steps):
            gradient = self.C * ((residual * self.weight[:, None]).T @ A) + theta @ ridge
            step = _solve_lifted(self._hessian(A, ridge, probability), gradient.reshape(-1)).reshape(theta.shape)
            decrement, length = (gradient * step).sum(), Wide(1)
            while length > 1e-15:
                found = self._at(A, ridge, theta - length * step)
                if np.isfinite(found[0]) and found[0] <= value - Wide(1e-4) * length * decrement:
                    break
                length /= 2
            else:
                break
            theta, (value, residual, probability) = theta - length * step, found
            if decrement < 1e-17 * value:
                break
        return self.objective(*self._coefficients(np.array([_back(back, row) for row in theta])))

    def _working(self) -> tuple[Array, Array, Array]:
        """Return standardised columns with the intercept's (n, p), their penalties (p,) and what was subtracted."""
        columns = (self.X - self.mean) / self.scale
        middle = np.zeros(columns.shape[1], Wide)
        ridge = np.full(columns.shape[1], self.ridge)
        if not self.fit_intercept:
            return columns, ridge, middle
        middle = self.weight @ columns / self.weight.sum()
        return np.column_stack([columns - middle, np.ones(len(columns), Wide)]), np.append(ridge, Wide(0)), middle

    def _orthogonal(self) -> tuple[Array, Array, Array]:
        """Return columns (n, p) that are orthogonal with their penalties' roots, the penalty (p, p), and the factor."""
        A, ridge, _ = self._working()
        upper = _triangle(np.vstack([np.sqrt(self.C * self.weight / 4)[:, None] * A, np.diag(np.sqrt(ridge))]))
        inverse = np.column_stack([_back(upper, unit) for unit in np.eye(len(upper), dtype=Wide)])
        return A @ inverse, inverse.T @ (ridge[:, None] * inverse), upper

    def _start(self, coef: Array, intercept: Array) -> Array:
        _, _, middle = self._working()
        scaled = coef * self.scale
        if not self.fit_intercept:
            return scaled
        return np.column_stack([scaled, intercept + coef @ self.mean + scaled @ middle])

    def _coefficients(self, theta: Array) -> tuple[Array, Array]:
        """Return what `_start` takes."""
        _, _, middle = self._working()
        scaled = theta[:, : len(middle)]
        coef = scaled / self.scale
        own = theta[:, -1] - scaled @ middle if self.fit_intercept else np.zeros(len(theta), Wide)
        return coef, own - coef @ self.mean

    def _at(self, A: Array, ridge: Array, theta: Array) -> tuple[Wide, Array, Array]:
        losses, residual, probability = self._terms(A @ theta.T)
        return self.C * (self.weight @ losses) + ((theta @ ridge) * theta).sum() / 2, residual, probability

    def _terms(self, logits: Array) -> tuple[Array, Array, Array]:
        """Return losses (n,), derivatives (n, rows), and probabilities (n, rows) or p (1 - p) (n, 1)."""
        if self.k == 2:
            sign = np.where(self.target == 1, Wide(1), Wide(-1))
            margin = sign * logits[:, 0]
            small = np.exp(-np.abs(margin))
            wrong = np.where(margin > 0, small, Wide(1)) / (1 + small)
            right = np.where(margin > 0, Wide(1), small) / (1 + small)
            return np.maximum(-margin, 0) + np.log1p(small), (-sign * wrong)[:, None], (wrong * right)[:, None]
        rows = np.arange(len(logits))
        apart = logits - logits[rows, self.target][:, None]
        top = apart.max(1)
        share = np.exp(apart - top[:, None])
        probability = share / share.sum(1, keepdims=True)
        others = np.exp(np.minimum(apart, 0))
        others[rows, self.target] = 0
        losses = np.where(top > 0, top + np.log(share.sum(1)), np.log1p(others.sum(1)))
        residual = probability.copy()
        residual[rows, self.target] = 0
        residual[rows, self.target] = -residual.sum(1)
        return losses, residual, probability

    def _hessian(self, A: Array, ridge: Array, probability: Array) -> Array:
        p, rows = A.shape[1], probability.shape[1]
        H = np.kron(np.eye(rows, dtype=Wide), ridge)
        for a in range(rows):
            for b in range(rows):
                curvature = -probability[:, a] * probability[:, b]
                if self.k == 2:
                    curvature = probability[:, 0]
                elif a == b:
                    curvature = probability[:, a] * np.delete(probability, a, 1).sum(1)
                H[a * p : (a + 1) * p, b * p : (b + 1) * p] += self.C * (A.T * (self.weight * curvature)) @ A
        return H


def _exact(number: Any) -> Fraction:
    return Fraction(*number.as_integer_ratio())


def _wide(number: Fraction) -> Wide:
    return Wide(float(number)) + Wide(float(number - Fraction(float(number))))


def _triangle(A: Array) -> Array:
    """Return R of A = Q R, by modified Gram-Schmidt."""
    A, p = A.copy(), A.shape[1]
    R = np.zeros((p, p), Wide)
    for j in range(p):
        R[j, j] = np.sqrt((A[:, j] ** 2).sum())
        A[:, j] /= R[j, j] if R[j, j] > 0 else Wide(1)
        R[j, j + 1 :] = A[:, j] @ A[:, j + 1 :]
        A[:, j + 1 :] -= np.outer(A[:, j], R[j, j + 1 :])
    return R


def _back(upper: Array, right: Array) -> Array:
    found = np.zeros_like(right)
    for i in range(len(upper) - 1, -1, -1):
        if upper[i, i] > 0:
            found[i] = (right[i] - upper[i, i + 1 :] @ found[i + 1 :]) / upper[i, i]
    return found


def _solve_lifted(H: Array, gradient: Array) -> Array:
    """Return ``H^-1 gradient`` by Cholesky, the diagonal raised as little as will do."""
    for lift in LIFTS:
        found = _solve(H + Wide(lift) * np.diag(np.maximum(np.diag(H), Wide(1e-300))), gradient)
        if found is not None and np.isfinite(found).all():
            return found
    return gradient


def _solve(H: Array, gradient: Array) -> Array | None:
    left, n = H.copy(), len(H)
    lower = np.zeros_like(H)
    found = gradient.copy()
    for j in range(n):
        if not left[j, j] > 0:
            return None
        lower[j:, j] = left[j:, j] / np.sqrt(left[j, j])
        left[j + 1 :, j + 1 :] -= np.outer(lower[j + 1 :, j], lower[j + 1 :, j])
        found[j] /= lower[j, j]
        found[j + 1 :] -= lower[j + 1 :, j] * found[j]
    for j in range(n - 1, -1, -1):
        found[j] = (found[j] - lower[j + 1 :, j] @ found[j + 1 :]) / lower[j, j]
    return found
