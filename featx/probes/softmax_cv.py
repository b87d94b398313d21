"""Softmax regression that chooses its C on validation rows and is then fitted on all rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from sklearn.model_selection import PredefinedSplit, StratifiedKFold, check_cv
from sklearn.utils.validation import _check_sample_weight

from featx.core.device import torch_device
from featx.core.validation import check_count, check_positive
from featx.errors import OptionError
from featx.probes.check_array import dense, labels_of, validated
from featx.probes.config import SWEEPS, Balanced, FitConfig, Normalize
from featx.probes.linear_classifier import (
    Floats,
    LinearClassifier,
    NotConvergedWarning,
    TrainingRows,
    logits_of,
    row_slices,
)
from featx.probes.problem import make_problem, to_coefficients
from featx.probes.regularization_path import fit_path
from featx.probes.softmax import SoftmaxRegression
from featx.probes.streaming import fitting_on, to_device

SAME = 1e-12
"""Mean accuracies that differ by less are equal: folds are added up in floating point."""


@dataclass(frozen=True)
class Split:
    """Row numbers of one split."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]


class SoftmaxRegressionCV(LinearClassifier):
    """Softmax regression with the C that scores best on held-out rows, refitted on all rows.

    Each split is fitted along the path of `Cs`, from small to large, every fit starting from an extrapolation of the
    previous ones (`featx.probes.regularization_path`).

    Parameters
    ----------
    Cs : sequence of float
        Values of C to try; see `SoftmaxRegression`.
    cv : int, splitter, iterable of (train, val) row numbers, or None
        As in scikit-learn: a number of stratified folds (5 for None), or the splits themselves; a PredefinedSplit holds
        out given rows. Has no effect if `fit` is given `X_val`.
    halvings : int
        How many times, after `Cs`, the interval around the best C is halved on a log scale, with two more C each time.
    fit_intercept : bool
        Whether to fit the intercept.
    class_weight : None, 'balanced' or dict
        Multiplies each row's weight; ``balanced`` counts the rows of each split's own training part.
    tol : float
        As in `SoftmaxRegression`, for every fit of the path and the final one.
    max_iter : int
        Maximum number of steps per fit.
    standardize : bool
        Fit on standardised columns: means and deviations are those of each split's own training rows.
    normalize : str or None
        ``l2``: each row is divided by its Euclidean norm, here and in prediction.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``: where X is held during the fits.
    random_state : object
        Has no effect: no random numbers are drawn, and folds are not shuffled.

    Attributes
    ----------
    C_ : float
        The C with the highest mean accuracy; in a tie the smallest, which is the simplest model.
    Cs_ : ndarray of shape (n_Cs,)
        All C tried, in ascending order.
    scores_ : ndarray of shape (n_splits, n_Cs)
        Accuracy on each split's held-out rows, weighted by their sample weights.
    path_converged_ : ndarray of bool of shape (n_splits, n_Cs)
        Which fits of the path converged.
    coef_, intercept_, classes_ : ndarray
        Of the final fit, on all rows; shapes and meaning as in `SoftmaxRegression`.
    n_iter_, objective_, objective_gap_, gradient_norm_, converged_ : int, float or bool
        Of the final fit; see `SoftmaxRegression`.

    Notes
    -----
    A class that is missing from the held-out rows does no harm; one that is missing from a split's training rows is
    never predicted there. Only the rows given to `fit` are used in the choice.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]] * 5)
    >>> SoftmaxRegressionCV([0.1, 1.0, 10.0]).fit(X, X[:, 0] > 1.5).C_
    0.1
    """

    def __init__(
        self,
        Cs: Any = SWEEPS["dinov2"].Cs,
        *,
        cv: Any = None,
        halvings: int = 0,
        fit_intercept: bool = FitConfig.fit_intercept,
        class_weight: Balanced | Mapping[Any, float] | None = FitConfig.class_weight,
        tol: float = FitConfig.tol,
        max_iter: int = FitConfig.max_iter,
        standardize: bool = False,
        normalize: Normalize | None = FitConfig.normalize,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.Cs = Cs
        self.cv = cv
        self.halvings = halvings
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.standardize = standardize
        self.normalize = normalize
        self.device = device
        self.random_state = random_state

    def fit(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, X_val: Any = None, y_val: Any = None
    ) -> SoftmaxRegressionCV:
        """Choose C and refit on all rows.

        Parameters
        ----------
        X : array of shape (n, d)
            As `SoftmaxRegression.fit` takes it.
        y : array-like of shape (n,), optional
            Labels; None takes those of a FeatureTable.
        sample_weight : array-like of shape (n,), optional
            At least 0; rows of `X_val` weigh 1.
        X_val : array of shape (m, d), optional
            Held out for choosing C, instead of `cv`; the final fit uses it too.
        y_val : array-like of shape (m,), optional
            Its labels.

        Returns
        -------
        SoftmaxRegressionCV
            Itself.

        Raises
        ------
        OptionError
            As `SoftmaxRegression.fit`; or a split whose training rows have only one class.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            Fits of the path, or the final one, did not reach `tol`.
        """
        grid = self._check_parameters()
        if (X_val is None) != (y_val is None):
            raise OptionError("only one of X_val and y_val was given, expected both or neither")
        cv: Any = self.cv
        named = None
        if X_val is not None:
            X, y, sample_weight, cv = self._with_held_out(X, y, sample_weight, X_val, y_val)
            named = getattr(self, "feature_names_in_", None)
        rows = self._rows(X, y, sample_weight)
        splits = self._splits(cv, rows)
        tried: dict[float, list[tuple[float, bool]]] = {}
        for _ in range(1 + self.halvings):
            for split in splits:
                for C, found in zip(grid, self._path(rows, split, grid), strict=True):
                    tried.setdefault(C, []).append(found)
            grid = halved(tried)
            if not grid:
                break
        self.Cs_ = np.array(sorted(tried))
        self.scores_ = np.array([[score for score, _ in tried[C]] for C in self.Cs_]).T
        self.path_converged_ = np.array([[converged for _, converged in tried[C]] for C in self.Cs_]).T
        self.C_ = best_of(tried)
        if not self.path_converged_.all():
            missed = int((~self.path_converged_).sum())
            said = f"{missed} of the path's {self.path_converged_.size} fits did not converge"
            warnings.warn(f"{said} (raise max_iter, or standardize)", NotConvergedWarning, stacklevel=2)
        model = SoftmaxRegression(self.C_, **{name: getattr(self, name) for name in SHARED})._fit_rows(rows)
        for name in LEARNT:
            setattr(self, name, getattr(model, name))
        if named is not None:  # the columns' names, which the rows together no longer carry
            self.feature_names_in_ = named
        return self

    def _with_held_out(self, X: Any, y: Any, sample_weight: Any, X_val: Any, y_val: Any) -> tuple[Any, Any, Any, Any]:
        """Return all rows as one, their labels and weights, and the split that holds the latter rows out."""
        y = labels_of(X) if y is None else y
        if y is None:
            raise OptionError("y is missing, expected a label for each row of X")
        X, y = validated(self, X, y, reset=True, accept_sparse="csr")
        X_val, y_val = validated(self, X_val, y_val, reset=False, accept_sparse="csr")
        if (y.dtype.kind in "US") != (y_val.dtype.kind in "US"):
            raise OptionError(f"y holds {y.dtype} and y_val {y_val.dtype}, expected labels of one kind")
        if sample_weight is not None:
            own = _check_sample_weight(sample_weight, X, dtype=np.float64)
            sample_weight = np.concatenate([own, np.ones(len(y_val))])
        together = sparse.vstack([X, X_val], "csr") if sparse.issparse(X) else np.concatenate([X, dense(X_val)])
        split = PredefinedSplit(np.repeat([-1, 0], [len(y), len(y_val)]))
        return together, np.concatenate([y, y_val]), sample_weight, split

    def _check_parameters(self) -> list[float]:
        """Raise OptionError for parameters that cannot be worked with; return the C to try, rising."""
        self._check_common()
        check_count("halvings", self.halvings, least=0)
        Cs = list(np.ravel(np.asarray(self.Cs, dtype=object)))
        if not Cs:
            raise OptionError("Cs is empty, expected at least one C")
        for C in Cs:
            check_positive("C", C)
        torch_device(self.device)
        return sorted({float(C) for C in Cs})

    def _splits(self, cv: Any, rows: TrainingRows) -> list[Split]:
        if cv is None or isinstance(cv, (int, np.integer)):
            cv = StratifiedKFold(FitConfig.FOLDS if cv is None else int(cv))
        checked = check_cv(list(cv) if isinstance(cv, Iterable) else cv, rows.target, classifier=True)
        with warnings.catch_warnings():
            # Rare classes do no harm here: see the notes of the class.
            warnings.filterwarnings("ignore", message="The least populated class")
            found = list(checked.split(np.zeros(len(rows.target)), rows.target))
        if not found:
            raise OptionError("cv holds no splits, expected at least one pair of training and validation rows")
        for number, (train, val) in enumerate(found):
            if len(np.unique(rows.target[train][rows.weight[train] > 0])) < 2:
                raise OptionError(f"split {number} has training rows of only one class, expected two or more")
            if not len(val):
                raise OptionError(f"split {number} holds out no rows, expected some to choose C by")
        return [Split(np.asarray(train), np.asarray(val)) for train, val in found]

    def _path(self, rows: TrainingRows, split: Split, Cs: list[float]) -> list[tuple[float, bool]]:
        """Return, for each of the rising `Cs`, the accuracy on the rows held out and whether the fit converged."""
        present, target = np.unique(rows.target[split.train], return_inverse=True)
        device = torch_device(self.device)
        weight = rows.weight[split.train]
        weight = weight * self._class_weight(rows.classes[rows.target[split.train]], weight)  # of these rows alone
        held_out = take(rows.held, split.val)
        found = []
        with fitting_on(device, rows.X):
            problem = make_problem(
                to_device(take(rows.held, split.train), device),
                torch.from_numpy(target.astype(np.int64)).to(device),
                len(present),
                C=Cs[0],
                weight=torch.from_numpy(weight).to(device),
                fit_intercept=self.fit_intercept,
                standardize=self.standardize,
            )
            for solution in fit_path(problem, Cs, tol=float(self.tol), max_iter=int(self.max_iter)):
                coef, intercept = (part.cpu().numpy() for part in to_coefficients(problem, solution.point))
                right = present[predicted(held_out, coef, intercept)] == rows.target[split.val]
                score = np.average(right, weights=rows.weight[split.val] if rows.weight[split.val].any() else None)
                found.append((float(score), solution.converged))
        return found


SHARED = ("fit_intercept", "class_weight", "tol", "max_iter", "standardize", "normalize", "device")
LEARNT = (
    *("coef_", "intercept_", "classes_", "n_iter_", "objective_", "objective_gap_"),
    *("gradient_norm_", "converged_"),
)


def best_of(tried: dict[float, list[tuple[float, bool]]]) -> float:
    """Return the smallest C among those of the best mean score."""
    means = {C: float(np.mean([score for score, _ in found])) for C, found in tried.items()}
    best = max(means.values())
    return min(C for C, mean in means.items() if mean >= best - SAME)


def halved(tried: dict[float, list[tuple[float, bool]]]) -> list[float]:
    """Return the C half way (in the logarithm) between the best one and its neighbours, rising."""
    Cs = sorted(tried)
    at = Cs.index(best_of(tried))
    return [float(np.sqrt(Cs[i] * Cs[i + 1])) for i in (at - 1, at) if 0 <= i < len(Cs) - 1]


def take(X: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Return some rows; consecutive ones without a copy."""
    first, last = int(rows[0]), int(rows[-1])
    consecutive = last - first == len(rows) - 1 and bool((np.diff(rows) == 1).all())
    found: NDArray[Any] = X[first : last + 1] if consecutive else X[rows]
    return found


def predicted(X: NDArray[Any], coef: Floats, intercept: Floats) -> NDArray[np.int64]:
    """Return the most probable class's number for each row, as `predict` would."""
    found = np.empty(len(X), dtype=np.int64)
    for rows in row_slices(X):
        logits = logits_of(X[rows], coef, intercept)
        found[rows] = logits[:, 0] > 0 if len(coef) == 1 else logits.argmax(1)
    return found
