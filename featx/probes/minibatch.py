"""Steps of Adam on minibatches: softmax regression for data that come piece by piece."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

Floats = NDArray[np.float64]

BATCH_ROWS = 256
DECAY = (0.9, 0.999)
TINY = 1e-8
"""Adam's own constants (Kingma and Ba 2015)."""


@dataclass(frozen=True)
class Adam:
    """Where the optimiser stands.

    Parameters
    ----------
    weights : ndarray of shape (k, d + 1)
        The intercept last.
    mean, square : ndarray of shape (k, d + 1)
        Running means of the gradient and of its square.
    steps, rows : int
        Taken; seen.
    """

    weights: Floats
    mean: Floats
    square: Floats
    steps: int = 0
    rows: int = 0

    @classmethod
    def begin(cls, k: int, d: int) -> Adam:
        """Return the start: all weights zero."""
        return cls(np.zeros((k, d + 1)), np.zeros((k, d + 1)), np.zeros((k, d + 1)))


def step_through(
    state: Adam,
    X: NDArray[Any],
    target: NDArray[np.int64],
    weight: Floats,
    *,
    penalty: float,
    fit_intercept: bool,
    learning_rate: float,
) -> Adam:
    """Take one step for every `BATCH_ROWS` rows, in the order given.

    Each step follows the gradient of ``mean(w_i * log_loss_i) + penalty * ||W||^2 / (2 * rows)``, rows being all that
    were seen until then: over one epoch, this tends to `SoftmaxRegression`'s objective divided by C and the number of
    rows, with ``penalty = 1 / C``.
    """
    for start in range(0, len(X), BATCH_ROWS):
        part = slice(start, start + BATCH_ROWS)
        state = _step(state, X[part], target[part], weight[part], penalty, fit_intercept, learning_rate)
    return state


def _step(
    state: Adam,
    X: NDArray[Any],
    target: NDArray[np.int64],
    weight: Floats,
    penalty: float,
    fit_intercept: bool,
    learning_rate: float,
) -> Adam:
    X = np.asarray(X, np.float64)
    rows, steps = state.rows + len(X), state.steps + 1
    logits = X @ state.weights[:, :-1].T + state.weights[:, -1]
    if logits.shape[1] == 1:
        residual = expit(logits) - target[:, None]
    else:
        residual = softmax(logits, axis=1)
        residual[np.arange(len(X)), target] -= 1
    residual *= weight[:, None] / len(X)
    gradient = np.column_stack([residual.T @ X + penalty / rows * state.weights[:, :-1], residual.sum(0)])
    if not fit_intercept:
        gradient[:, -1] = 0
    mean = DECAY[0] * state.mean + (1 - DECAY[0]) * gradient
    square = DECAY[1] * state.square + (1 - DECAY[1]) * gradient**2
    step = mean / (1 - DECAY[0] ** steps) / (np.sqrt(square / (1 - DECAY[1] ** steps)) + TINY)
    weights = state.weights - learning_rate * step
    return replace(state, weights=weights, mean=mean, square=square, steps=steps, rows=rows)
