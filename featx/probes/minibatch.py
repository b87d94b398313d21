"""Steps of Adam on minibatches: softmax regression for data that come piece by piece."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

Floats = NDArray[np.float64]

BATCH_ROWS = 256


@dataclass(frozen=True)
class Adam:
    """Where the optimiser stands (Kingma and Ba 2015, with their constants).

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
    rows = state.rows
    with torch.inference_mode(False):  # whatever the caller computes without gradients
        weights, optimizer = _resumed(state, learning_rate)
        for start in range(0, len(X), BATCH_ROWS):
            part = slice(start, start + BATCH_ROWS)
            batch = torch.from_numpy(np.column_stack([X[part], np.ones(len(X[part]))]))  # float64; the intercept's ones
            rows += len(batch)
            loss = _mean_loss(weights, batch, torch.tensor(target[part]), torch.tensor(weight[part]))
            optimizer.zero_grad()
            torch.autograd.backward(loss + penalty / (2 * rows) * weights[:, :-1].square().sum())
            if not fit_intercept and weights.grad is not None:
                weights.grad[:, -1] = 0
            optimizer.step()
    return _state_of(weights, optimizer, rows)


def _mean_loss(weights: Tensor, X: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    logits = X @ weights.T
    if len(weights) == 1:
        return binary_cross_entropy_with_logits(logits[:, 0], target.double(), weight)
    return (weight * cross_entropy(logits, target, reduction="none")).mean()


def _resumed(state: Adam, learning_rate: float) -> tuple[Tensor, torch.optim.Adam]:
    """Return the weights and their optimiser, in copies of the state's memory."""
    weights = torch.tensor(state.weights, requires_grad=True)
    optimizer = torch.optim.Adam([weights], learning_rate)
    moments = {"exp_avg": torch.tensor(state.mean), "exp_avg_sq": torch.tensor(state.square)}
    # In float64: float32 counts to 2^24 only.
    count = {"step": torch.tensor(float(state.steps), dtype=torch.float64)}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": {0: moments | count}})
    return weights, optimizer


def _state_of(weights: Tensor, optimizer: torch.optim.Adam, rows: int) -> Adam:
    found = optimizer.state[weights]
    mean, square = found["exp_avg"].numpy(), found["exp_avg_sq"].numpy()
    return Adam(weights.detach().numpy(), mean, square, int(found["step"]), rows)
