"""Nearest neighbours by cosine, weighted: the classifier that DINO and DINOv2 are judged by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import normalize
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from featx.core.device import torch_device
from featx.core.validation import check_count, check_positive
from featx.errors import OptionError
from featx.probes.check_array import validated
from featx.probes.config import FitConfig
from featx.probes.streaming import fitting_on

Floats = NDArray[np.float64]

BLOCK_VALUES = 2**24
"""Similarities that are held at once."""


class KNNProbe(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A vote of the k most similar training rows, each with weight ``exp(cosine / temperature)``.

    Wu et al. 2018 (arXiv:1805.01978), as DINOv2 evaluates with it (dinov2/eval/knn.py: k of 10, 20, 100 and 200,
    temperature 0.07). Similarities are found as matrix products, a block of rows at a time, in the
    precision of the training rows.

    Parameters
    ----------
    k : int
        Neighbours; all rows where there are fewer.
    temperature : float
        Positive.
    device : str
        Where similarities are found: ``cpu``, ``cuda`` or ``cuda:N``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0]])
    >>> KNNProbe(k=2).fit(X, ["flat", "flat", "steep"]).predict([[5.0, 1.0]]).tolist()
    ['flat']
    """

    def __init__(
        self, k: int = FitConfig.NEIGHBOURS[1], *, temperature: float = FitConfig.TEMPERATURE, device: str = "cpu"
    ) -> None:
        self.k = k
        self.temperature = temperature
        self.device = device

    def fit(self, X: Any, y: Any) -> KNNProbe:
        """Keep X of shape (n, d), its rows divided by their norms, and labels y of shape (n,)."""
        check_count("k", self.k)
        check_positive("temperature", self.temperature)
        torch_device(self.device)
        X, y = validated(self, X, y, reset=True)
        check_classification_targets(y)
        self.classes_, target = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise OptionError(f"y holds only one class ({self.classes_.tolist()[0]!r}), expected at least two")
        self._rows = normalize(X)
        self._target = target.astype(np.int64)
        return self

    def predict_proba(self, X: Any) -> Floats:
        """Return each class's share of the votes, of shape (n, n_classes)."""
        return self.votes(X, [self.k])[0]

    def predict_log_proba(self, X: Any) -> Floats:
        """Return the logarithms of the shares; minus infinity for a class without a vote."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the class of the most votes for each row, of shape (n,)."""
        shares = self.predict_proba(X)
        classes: NDArray[Any] = self.classes_[shares.argmax(axis=1)]
        return classes

    def votes(self, X: Any, ks: Sequence[int]) -> list[Floats]:
        """Return `predict_proba` for several k, the similarities being found once."""
        check_is_fitted(self)
        queries = normalize(validated(self, X, reset=False)).astype(self._rows.dtype)
        device, most = torch_device(self.device), min(max(ks), len(self._rows))
        with fitting_on(device, self._rows):
            return self._votes(queries, torch.from_numpy(self._rows).to(device), ks, most)

    def _votes(self, queries: NDArray[Any], rows: torch.Tensor, ks: Sequence[int], most: int) -> list[Floats]:
        found = [np.empty((len(queries), len(self.classes_))) for _ in ks]
        step, target = max(1, BLOCK_VALUES // len(rows)), torch.from_numpy(self._target).to(rows.device)
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            similar, which = (torch.from_numpy(queries[part]).to(rows.device) @ rows.T).topk(most)
            # The largest exponent is 0: none overflows.
            weight = ((similar - similar[:, :1]).double() / float(self.temperature)).exp()
            for k, shares in zip(ks, found, strict=True):
                total = torch.zeros(len(similar), len(self.classes_), dtype=torch.float64, device=rows.device)
                total.scatter_add_(1, target[which[:, :k]], weight[:, :k])
                shares[part] = (total / total.sum(1, keepdim=True)).cpu().numpy()
        return found
