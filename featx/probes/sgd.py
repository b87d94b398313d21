"""Softmax regression by stochastic gradient descent, as SimCLR's linear evaluation does it; not to the optimum."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch.nn.functional import cross_entropy

from featx.core.device import torch_device
from featx.core.executors.worker import raise_if_stopped
from featx.core.validation import check_count, check_positive
from featx.probes.config import SGDRecipe
from featx.probes.linear_classifier import LinearClassifier
from featx.probes.streaming import fitting_on, to_device

LR_ROWS = 256
"""Rows of a batch that the learning rate is given for; it grows with the batch."""


class SGDProbe(LinearClassifier):
    """A linear layer that starts at zero and follows minibatches' gradients with Nesterov's momentum.

    Chen, Kornblith, Norouzi and Hinton 2020 (arXiv:2002.05709), appendix B.6, and the command in the README of
    google-research/simclr: the learning rate is ``learning_rate * batch_size / 256`` and falls to zero on half a
    cosine, there is no penalty and no warm-up. Theirs sees each image cropped and mirrored anew in each epoch; features
    that were computed once do not change.

    Parameters
    ----------
    epochs, batch_size : int
        Rounds; rows a step, or all where there are fewer.
    learning_rate, momentum : float
        For 256 rows; of Nesterov's kind.
    device : str
        ``cpu`` or ``cuda``.
    random_state : int, RandomState or None
        Of the order of the rows.

    Attributes
    ----------
    coef_, intercept_, classes_ : ndarray
        As `SoftmaxRegression`'s.
    n_iter_ : int
        Steps taken.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]], np.float32)
    >>> SGDProbe(random_state=0).fit(X, ["low", "low", "high", "high"]).predict([[9.0]]).tolist()
    ['high']
    """

    normalize = None
    class_weight = None

    def __init__(
        self,
        *,
        epochs: int = SGDRecipe.epochs,
        batch_size: int = SGDRecipe.batch_size,
        learning_rate: float = SGDRecipe.learning_rate,
        momentum: float = SGDRecipe.momentum,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.device = device
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> SGDProbe:
        """Learn from X of shape (n, d) and labels y of shape (n,).

        Raises
        ------
        OptionError
            As `SoftmaxRegression.fit`.
        """
        for name in ("epochs", "batch_size"):
            check_count(name, getattr(self, name))
        check_positive("learning_rate", self.learning_rate)
        rows = self._rows(X, y, None)
        device, k = torch_device(self.device), len(rows.classes)
        with fitting_on(device, rows.X):
            X, target = to_device(rows.held, device), to_device(rows.target, device)
            coef = torch.zeros(k, X.shape[1], dtype=X.dtype, device=device, requires_grad=True)
            intercept = torch.zeros(k, dtype=X.dtype, device=device, requires_grad=True)
            self.n_iter_ = self._descend(X, target, coef, intercept)
        found = coef.detach().cpu().double().numpy(), intercept.detach().cpu().double().numpy()
        # Two classes are told apart by one row, as everywhere in featx and scikit-learn.
        self.coef_, self.intercept_ = (np.diff(values, axis=0) if k == 2 else values for values in found)
        self.classes_ = rows.classes
        return self

    def _descend(self, X: Any, target: Any, coef: torch.Tensor, intercept: torch.Tensor) -> int:
        random = check_random_state(self.random_state)
        size = min(self.batch_size, len(X))
        peak = self.learning_rate * size / LR_ROWS
        optimizer = torch.optim.SGD([coef, intercept], peak, momentum=self.momentum, nesterov=self.momentum > 0)
        per_epoch = -(-len(X) // size)
        steps = self.epochs * per_epoch
        for step in range(steps):
            if step % per_epoch == 0:
                raise_if_stopped()
                order = torch.from_numpy(random.permutation(len(X))).to(X.device)
            part = order[step % per_epoch * size :][:size]
            optimizer.param_groups[0]["lr"] = peak / 2 * (1 + math.cos(math.pi * step / steps))
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(cross_entropy(X[part] @ coef.T + intercept, target[part]))
            optimizer.step()
        return steps
