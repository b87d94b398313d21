"""Softmax regression as a scikit-learn classifier."""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from featx.checks import check_positive
from featx.errors import OptionError, OutOfMemoryError
from featx.objective import Problem, from_coefficients, make_problem, to_coefficients
from featx.solvers import Solution, fit_softmax
from featx.specs import FitConfig

Floats = NDArray[np.float64]

PREDICT_VALUES = 2**21
"""Values of X that prediction converts to float64 at a time."""


class SoftmaxRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Softmax regression (multinomial logistic regression) with scikit-learn's objective.

    Minimises ``C * sum_i sample_weight_i * log_loss_i + ||W||^2 / 2``, the intercept free of penalty. Two classes
    have one row of weights and the sigmoid's loss; three or more have one row each. These are the minima that
    ``sklearn.linear_model.LogisticRegression`` of the same C goes for.

    Parameters
    ----------
    C : float
        Weight of the loss against the penalty; positive.
    fit_intercept : bool
        Whether to fit the intercept. Without one, and without `standardize`, columns are not centred.
    tol : float
        Stop once the scale-free gradient norm ``sqrt(g . M^-1 g / (2 f))`` is at most this, M being the curvature
        (`featx.solvers.gradient_norm`). Its square estimates the part of the objective still to be had: the default
        leaves less than 1e-6 of it.
    max_iter : int
        Steps at most; a ConvergenceWarning names the norm reached.
    standardize : bool
        Fit on ``(x - mean) / deviation``, rows counted by their weights and constant columns by a deviation of 1.
        The penalty then weighs the *standardised* weights; `coef_` and `intercept_` are folded back and apply to X as
        given. The same as a StandardScaler before this estimator, without the copy of X; hence `intercept_`
        is not 0 even with ``fit_intercept=False``.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``: where X is held during the fit. Never changed silently.
    warm_start : bool
        Start from the last fit's weights, where classes and columns are still the same.
    random_state : object
        Has no effect: the fit draws no random numbers. There for code that sets it on every estimator.

    Attributes
    ----------
    coef_ : ndarray of shape (k, n_features_in_)
        float64; k is 1 for two classes, else the number of classes.
    intercept_ : ndarray of shape (k,)
    classes_ : ndarray of shape (n_classes,)
    n_features_in_ : int
    n_iter_ : int
        Steps taken.
    objective_ : float
        The objective reached (in its standardised form with `standardize`).
    gradient_norm_ : float
        The scale-free gradient norm reached.
    converged_ : bool
        Whether `gradient_norm_` is at most `tol`.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]])
    >>> SoftmaxRegression().fit(X, ["low", "low", "high", "high"]).predict([[0.2], [2.9]]).tolist()
    ['low', 'high']
    """

    def __init__(
        self,
        C: float = FitConfig.C,
        *,
        fit_intercept: bool = FitConfig.fit_intercept,
        tol: float = FitConfig.tol,
        max_iter: int = FitConfig.max_iter,
        standardize: bool = False,
        device: str = "cpu",
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.C = C
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter
        self.standardize = standardize
        self.device = device
        self.warm_start = warm_start
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> SoftmaxRegression:
        """Fit to X of shape (n, d) and labels y of shape (n,).

        float32 and float64 stay what they are and are computed in that precision; float16 becomes float32, all else
        float64. NaN and infinity are refused.

        Raises
        ------
        featx.errors.OptionError
            (a ValueError) A parameter that cannot be worked with, or fewer than two classes.
        featx.errors.OutOfMemoryError
            X does not fit on `device`.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            `tol` was not reached.
        """
        device = self._check_parameters()
        X, y = validate_data(self, X, y, dtype=_accepted(X))
        check_classification_targets(y)
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        if not weight.any():
            raise OptionError("sample_weight is zero for every row, expected a positive weight somewhere")
        classes, target = np.unique(y, return_inverse=True)
        counted = classes[np.unique(target[weight > 0])]
        if len(counted) < 2:
            raise OptionError(f"y holds one class only ({counted[0]!r}), expected at least two")
        same_classes = np.array_equal(classes, getattr(self, "classes_", []))
        try:
            problem = make_problem(
                _to_device(X, device),
                torch.from_numpy(target.astype(np.int64)).to(device),
                len(classes),
                C=float(self.C),
                weight=torch.from_numpy(weight).to(device),
                fit_intercept=self.fit_intercept,
                standardize=self.standardize,
            )
            start = self._last_point(problem) if self.warm_start and same_classes else None
            solution = fit_softmax(problem, tol=float(self.tol), max_iter=int(self.max_iter), start=start)
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(
                f"features of {X.nbytes / 2**20:,.0f} MiB and their fit do not fit on {device}", "give device='cpu'"
            ) from error
        self.classes_ = classes
        self._keep(problem, solution)
        return self

    def decision_function(self, X: Any) -> Floats:
        """Return the logits, float64: of shape (n, k), or (n,) for two classes (the second one's)."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=_accepted(X), reset=False)
        logits = np.empty((len(X), len(self.coef_)))
        rows = max(1, PREDICT_VALUES // X.shape[1])
        for start in range(0, len(X), rows):
            block = X[start : start + rows].astype(np.float64, copy=False)
            logits[start : start + rows] = block @ self.coef_.T + self.intercept_
        return logits[:, 0] if len(self.coef_) == 1 else logits

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, of shape (n,)."""
        logits = self.decision_function(X)
        index = (logits > 0).astype(np.intp) if logits.ndim == 1 else logits.argmax(axis=1)
        classes: NDArray[Any] = self.classes_[index]
        return classes

    def predict_proba(self, X: Any) -> Floats:
        """Return the classes' probabilities, of shape (n, n_classes), in the order of `classes_`."""
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return np.column_stack([expit(-logits), expit(logits)])
        probabilities: Floats = softmax(logits, axis=1)
        return probabilities

    def predict_log_proba(self, X: Any) -> Floats:
        """Return the probabilities' logarithms, finite even where a probability underflows."""
        logits = self.decision_function(X)
        if logits.ndim == 1:
            return np.column_stack([log_expit(-logits), log_expit(logits)])
        logarithms: Floats = log_softmax(logits, axis=1)
        return logarithms

    def _check_parameters(self) -> torch.device:
        """Raise OptionError for parameters that cannot be worked with; return the device."""
        for name in ("C", "tol", "max_iter"):
            check_positive(name, getattr(self, name))
        _check_type("max_iter", self.max_iter, numbers.Integral, "a whole number")
        for name in ("fit_intercept", "standardize", "warm_start"):
            _check_type(name, getattr(self, name), (bool, np.bool_), "True or False")
        return _device(self.device)

    def _last_point(self, problem: Problem) -> torch.Tensor | None:
        """Return the last fit's weights in working units, or None where they no longer fit."""
        coefficients = torch.from_numpy(self.coef_).to(problem.X.device)
        if coefficients.shape != (problem.n_rows, problem.X.shape[1]):
            return None
        return from_coefficients(problem, coefficients, torch.from_numpy(self.intercept_).to(problem.X.device))

    def _keep(self, problem: Problem, solution: Solution) -> None:
        coefficients, intercept = to_coefficients(problem, solution.point)
        self.coef_ = coefficients.cpu().numpy()
        self.intercept_ = intercept.cpu().numpy()
        self.n_iter_ = solution.n_iter
        self.objective_ = solution.value
        self.gradient_norm_ = solution.gradient_norm
        self.converged_ = solution.converged
        if not solution.converged:
            warnings.warn(_not_converged(solution, self.tol, self.max_iter), ConvergenceWarning, stacklevel=3)


def _not_converged(solution: Solution, tol: float, max_iter: int) -> str:
    norm = f"gradient norm {solution.gradient_norm:.3g} after {solution.n_iter} steps, expected at most {tol:g}"
    if solution.n_iter >= max_iter:
        return f"softmax regression did not converge: {norm} (raise max_iter, or standardize)"
    return f"softmax regression did not converge: {norm}; rounding ends the decrease (raise tol, or standardize)"


def _check_type(name: str, value: object, types: Any, expected: str) -> None:
    if not isinstance(value, types):
        raise OptionError(f"{name} is {value!r}, expected {expected}")


def _accepted(X: Any) -> Any:
    """Return the dtypes that validation leaves alone; float16 needs no more than float32."""
    return np.float32 if getattr(X, "dtype", None) == np.float16 else (np.float64, np.float32)


def _device(name: Any) -> torch.device:
    """Return the device of this name, or raise OptionError where it is unknown or absent."""
    kind, _, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind not in ("cpu", "cuda") or (":" in str(name) and not (kind == "cuda" and number.isdecimal())):
        raise OptionError(f"device is {name!r}, expected 'cpu', 'cuda' or 'cuda:N'")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"device is {name!r}, expected one that is here: torch finds {torch.cuda.device_count()} CUDA device(s)",
            "give device='cpu'",
        )
    return torch.device(name)


def _to_device(X: NDArray[Any], device: torch.device) -> torch.Tensor:
    """Hand X to torch, without a copy on the CPU."""
    if any(stride < 0 for stride in X.strides):
        X = np.ascontiguousarray(X)  # torch knows no negative strides
    with warnings.catch_warnings():
        # A read-only array is safe here: X is never written to.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(X).to(device)
