"""Softmax regression as a scikit-learn classifier."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import _check_sample_weight

from featx.core.device import torch_device
from featx.core.validation import check_choice, check_positive, check_range
from featx.errors import OptionError
from featx.probes.check_array import dense, validated
from featx.probes.config import DEFAULT_PENALTY, PENALTIES, Balanced, FitConfig, Normalize, Penalty
from featx.probes.duality_gap import certify
from featx.probes.elastic_net import fit_saga
from featx.probes.lbfgs import Solution
from featx.probes.linear_classifier import LinearClassifier, NotConvergedWarning, TrainingRows
from featx.probes.minibatch import Adam, step_through
from featx.probes.problem import Problem, from_coefficients, make_problem, to_coefficients, working_blocks
from featx.probes.root_steps import has_root
from featx.probes.softmax_solver import fit_softmax, refine
from featx.probes.streaming import fitting_on, to_device

PROMISED = 1000.0
"""A converged fit leaves at most so many times tol^2 of the objective."""

FINER, ROUNDS = 0.03, 4
"""Where the bound proves less than `tol` promises, Newton steps go on to this part of it, so often at most: nearer to
the minimum the bound is tighter, and what they gain says how far it was."""

COARSER, STEPS = 0.1, 5
"""The same for problems that are not small (`has_root`): their steps take up to hundreds of passes, and there are so
many at most."""


def _takes_minibatches(model: SoftmaxRegression) -> bool:
    """Whether `partial_fit` is there: not where a statistic of all rows is needed first, or saga."""
    return model.penalty in (None, "l2") and not model.standardize


class SoftmaxRegression(LinearClassifier):
    """Softmax regression (multinomial logistic regression) with scikit-learn's objective.

    Minimises ``C * sum_i sample_weight_i * log_loss_i + ||W||^2 / 2``, the intercept unpenalised. Two classes
    have one row of weights and the sigmoid's loss; three or more have one row each. The minimum is that of
    ``sklearn.linear_model.LogisticRegression`` with the same C.

    Parameters
    ----------
    C : float
        Weight of the loss against the penalty; positive.
    penalty : str or None
        ``l2``; None for no penalty (separable classes then have no minimum, and the fit reports that it did not
        converge); ``l1`` or ``elasticnet`` for ``l1_ratio ||W||_1 + (1 - l1_ratio) ||W||^2 / 2``, minimised by
        scikit-learn's saga: `tol` is then saga's, and there is no certificate.
    l1_ratio : float
        From 0 to 1; for ``elasticnet`` only.
    fit_intercept : bool
        Whether to fit the intercept. Without one, and without `standardize`, columns are not centred.
    class_weight : None, 'balanced' or dict
        Multiplies each row's weight; ``balanced`` gives all classes the same total weight (including sample weights).
    tol : float
        Stop once the scale-free gradient norm ``sqrt(g . M^-1 g / (2 f))`` is at most this, where M is the curvature
        (`featx.probes.lbfgs.gradient_norm`). Its square estimates how far the objective is from its minimum, relative
        to the objective: by default less than 1e-6 (`converged_`).
    max_iter : int
        Maximum number of steps; a ConvergenceWarning gives the norm reached.
    standardize : bool
        Fit on ``(x - mean) / deviation``, with rows weighted by their sample weights and a deviation of 1 for constant
        columns. The penalty then applies to the *standardised* weights; `coef_` and `intercept_` are folded back and
        apply to X as given. The same as a StandardScaler before this estimator, without the copy of X; hence
        `intercept_` is not 0 even with ``fit_intercept=False``.
    normalize : str or None
        ``l2``: each row is divided by its Euclidean norm, here and in prediction (a copy of X; before `standardize`).
    learning_rate : float
        Learning rate of `partial_fit`; positive.
    device : str
        ``cpu``, ``cuda`` or ``cuda:N``: where X is held during the fit. Never changed silently.
    warm_start : bool
        Start from the last fit's weights if classes and columns are the same.
    random_state : int, RandomState or None
        Seed for saga; other fits draw no random numbers.

    Attributes
    ----------
    coef_ : ndarray of shape (k, n_features_in_)
        float64; k is 1 for two classes, else the number of classes.
    intercept_ : ndarray of shape (k,)
        float64; zeros without an intercept.
    classes_ : ndarray of shape (n_classes,)
        Labels, sorted.
    n_features_in_ : int
        Columns of X.
    n_iter_ : int
        Steps taken.
    objective_ : float
        The objective reached (in its standardised form with `standardize`).
    objective_gap_ : float or None
        Upper bound on how far the objective at `coef_` and `intercept_` is above its minimum, in exact arithmetic on X
        as given, whatever its dtype: the bound includes its own rounding error (`featx.probes.duality_gap`). None if
        nothing could be proven.
    gradient_norm_ : float or None
        The scale-free gradient norm reached; None with saga.
    converged_ : bool
        Whether the fit is within ``1000 tol^2`` of the minimum, relative to the objective: proven by `objective_gap_`,
        or else estimated by what a Newton step with the true Hessian would still gain. If not, a warning says what
        ended the fit. Without a penalty, weights along which the columns of X cancel to rounding are left unchanged;
        with an intercept, values 1e15 times smaller than their column's range count as 0.

    Notes
    -----
    X is an array, a data frame, a FeatureTable (whose labels are used if y is left out), a FeatureMatrix, a
    ``numpy.memmap`` or an h5py dataset; data on disk is streamed, pass after pass, if larger than 2 GiB, else read into
    memory. float16 becomes float32. A sparse matrix is converted to a dense array in `fit`, and one block of rows at a
    time in prediction.

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
        penalty: Penalty | None = DEFAULT_PENALTY,
        l1_ratio: float = FitConfig.l1_ratio,
        fit_intercept: bool = FitConfig.fit_intercept,
        class_weight: Balanced | Mapping[Any, float] | None = FitConfig.class_weight,
        tol: float = FitConfig.tol,
        max_iter: int = FitConfig.max_iter,
        standardize: bool = False,
        normalize: Normalize | None = FitConfig.normalize,
        learning_rate: float = FitConfig.LEARNING_RATE,
        device: str = "cpu",
        warm_start: bool = False,
        random_state: Any = None,
    ) -> None:
        self.C = C
        self.penalty = penalty
        self.l1_ratio = l1_ratio
        self.fit_intercept = fit_intercept
        self.class_weight = class_weight
        self.tol = tol
        self.max_iter = max_iter
        self.standardize = standardize
        self.normalize = normalize
        self.learning_rate = learning_rate
        self.device = device
        self.warm_start = warm_start
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> SoftmaxRegression:
        """Minimise the objective on all rows.

        Parameters
        ----------
        X : array of shape (n, d)
            An array, a sparse matrix, a data frame, a FeatureTable or anything else that the class's notes list.
            float32 and float64 are kept and computed in that precision; float16 becomes float32, all else float64.
        y : array-like of shape (n,), optional
            Labels; None takes those of a FeatureTable.
        sample_weight : array-like of shape (n,), optional
            At least 0; None weighs every row alike.

        Returns
        -------
        SoftmaxRegression
            Itself.

        Raises
        ------
        featx.errors.OptionError
            (a ValueError) An invalid parameter, fewer than two classes, or values that are not finite; the first bad
            row is named.
        featx.errors.OutOfMemoryError
            X does not fit on `device`.

        Warns
        -----
        sklearn.exceptions.ConvergenceWarning
            `tol` was not reached.
        """
        self._check_parameters()
        return self._fit_rows(self._rows(X, y, sample_weight))

    def _fit_rows(self, rows: TrainingRows) -> SoftmaxRegression:
        """Fit on what was found fit to learn from, with parameters that were."""
        if self.penalty in ("l1", "elasticnet"):
            return self._fit_saga(rows)
        device = torch_device(self.device)
        same_classes = np.array_equal(rows.classes, getattr(self, "classes_", []))
        with fitting_on(device, rows.X):
            problem = self._problem(rows, device)
            start = self._last_point(problem) if self.warm_start and same_classes else None
            proves = None if has_root(problem) else functools.partial(self._proves, problem)
            fit = functools.partial(
                fit_softmax, problem, tol=float(self.tol), max_iter=int(self.max_iter), proves=proves
            )
            solution = fit(start=start)
            if start is not None and not solution.converged:
                # Where every row is certain, and wrong, there is no curvature to leave by: from zero there is.
                cold = fit()
                solution = cold if cold.value < solution.value else solution
            if not solution.is_proven:
                self._keep(problem, solution)
            if not self._is_proven() and (solution.converged or has_root(problem)):
                self._refine(problem, solution)
        self.classes_ = rows.classes
        if self._is_proven():
            self.converged_ = True
        if self._has_no_minimum(rows):
            self.converged_ = False
        if not self.converged_:
            warnings.warn(self._why_not(), NotConvergedWarning, stacklevel=3)
        return self

    @available_if(_takes_minibatches)  # type: ignore[untyped-decorator]
    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> SoftmaxRegression:
        """Take one step of Adam per 256 rows, in the order given, starting from the last fit if there is one.

        Approximate, unlike `fit`: see `featx.probes.minibatch` for the objective. Not available with `standardize`
        (put a StandardScaler before it) or an L1 penalty.

        Parameters
        ----------
        X : array of shape (n, d)
            As `fit` takes it, but in memory.
        y : array-like of shape (n,)
            Labels, all among the classes of the first call.
        classes : array-like of shape (n_classes,), optional
            All labels that will occur; required in the first call.
        sample_weight : array-like of shape (n,), optional
            At least 0; None weighs every row alike.

        Returns
        -------
        SoftmaxRegression
            Itself.

        Raises
        ------
        featx.errors.OptionError
            (a ValueError) An invalid parameter, only one class, or a label that is not among the classes.
        """
        self._check_parameters()
        first = _check_partial_fit_first_call(self, classes)
        X, y = validated(self, X, y, reset=first, accept_sparse="csr")
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        target = np.searchsorted(self.classes_, y)
        known = target < len(self.classes_)
        known[known] = self.classes_[target[known]] == y[known]
        if not known.all():
            raise OptionError(f"y holds {y[~known][0]!r}, which is not among the classes of the first call")
        if len(self.classes_) < 2:
            raise OptionError(f"only one class ({self.classes_.tolist()[0]!r}), expected at least two")
        state = step_through(
            self._adam(X.shape[1]),
            dense(self._normalized(X)),
            target,
            weight * self._class_weight(y, weight),
            penalty=0.0 if self.penalty is None else 1 / float(self.C),
            fit_intercept=bool(self.fit_intercept),
            learning_rate=float(self.learning_rate),
        )
        self._state: Adam | None = state
        self.coef_, self.intercept_, self.n_iter_ = state.weights[:, :-1], state.weights[:, -1], state.steps
        # What an earlier `fit` knew of its minimum is not true of these weights.
        self._forget_minimum()
        return self

    def _can_stream(self) -> bool:
        return self.penalty not in ("l1", "elasticnet")  # saga wants all of X

    def _adam(self, d: int) -> Adam:
        """Return where `partial_fit` stopped, or the last fit's weights, or zeros."""
        state: Adam | None = getattr(self, "_state", None)
        if state is not None:
            return state
        start = Adam.begin(1 if len(self.classes_) == 2 else len(self.classes_), d)
        if not hasattr(self, "coef_"):
            return start
        return replace(start, weights=np.column_stack([self.coef_, self.intercept_]))

    def _check_parameters(self) -> torch.device:
        """Raise OptionError for parameters that cannot be worked with; return the device."""
        check_positive("C", self.C)
        self._check_common()
        if self.penalty is not None:
            check_choice("penalty", self.penalty, PENALTIES)
        check_range("l1_ratio", self.l1_ratio, below=1, inclusive=True)
        check_positive("learning_rate", self.learning_rate)
        return torch_device(self.device)

    def _problem(self, rows: TrainingRows, device: torch.device) -> Problem:
        problem = make_problem(
            to_device(rows.X, device),
            torch.from_numpy(rows.target).to(device),
            len(rows.classes),
            C=float(self.C),
            weight=torch.from_numpy(rows.weight * rows.class_weight).to(device),
            fit_intercept=self.fit_intercept,
            standardize=self.standardize,
        )
        return unpenalised(problem) if self.penalty is None else problem

    def _last_point(self, problem: Problem) -> torch.Tensor | None:
        """Return the last fit's weights in working units, or None where they no longer fit."""
        coefficients = torch.from_numpy(self.coef_).to(problem.X.device)
        if coefficients.shape != (problem.n_rows, problem.X.shape[1]):
            return None
        return from_coefficients(problem, coefficients, torch.from_numpy(self.intercept_).to(problem.X.device))

    def _proves(self, problem: Problem, solution: Solution) -> bool:
        """Keep a solution; return whether it is proven to be as near to the minimum as `tol` promises."""
        self._keep(problem, solution)
        return self._is_proven()

    def _keep(self, problem: Problem, solution: Solution) -> None:
        coefficients, intercept = to_coefficients(problem, solution.point)
        self.coef_ = coefficients.cpu().numpy()
        self.intercept_ = intercept.cpu().numpy()
        self.n_iter_ = solution.n_iter
        self.gradient_norm_: float | None = solution.gradient_norm
        self.converged_ = solution.converged
        found = certify(problem, self.coef_, self.intercept_, enough=self._promised(solution.value))
        self.objective_, self.objective_gap_ = found.value, found.gap
        self._state = None

    def _refine(self, problem: Problem, solution: Solution) -> None:
        """Go on where nothing is proven, until a finer tolerance no longer gains what `tol` promises; else say so."""
        tol, is_small = float(self.tol), has_root(problem)
        for _ in range(ROUNDS if is_small else 1):
            tol *= FINER if is_small else COARSER
            most = int(self.max_iter) if is_small else min(int(self.max_iter), solution.n_iter + STEPS)
            finer = refine(problem, solution, tol=tol, max_iter=most)
            gained, promised = solution.value - finer.value, self._promised(finer.value)
            if self.penalty is None and not (finer.converged or is_small) and gained <= promised:
                break  # columns may be copies of each other, along which there is only rounding to follow
            is_near = gained <= promised and finer.gradient_norm <= float(self.tol)
            solution = replace(finer, converged=is_near)
            self._keep(problem, solution)
            if solution.converged or self._is_proven():
                break

    def _forget_minimum(self) -> None:
        self.objective_, self.converged_ = np.nan, False
        self.objective_gap_, self.gradient_norm_ = None, None

    def _promised(self, value: float) -> float:
        """Return the distance from the minimum that `tol` stands for: less than 1e-6 of the objective by default."""
        return PROMISED * float(self.tol) ** 2 * value

    def _is_proven(self) -> bool:
        return self.objective_gap_ is not None and self.objective_gap_ <= self._promised(self.objective_)

    def _has_no_minimum(self, rows: TrainingRows) -> bool:
        """Tell whether there is no penalty and every row's loss is below log 2: longer weights are always better."""
        weight = rows.weight * rows.class_weight
        return self.penalty is None and self.objective_ < float(self.C) * float(weight[weight > 0].min()) * np.log(2)

    def _why_not(self) -> str:
        """Return what ended the fit before its minimum, and what would mend it, in one line."""
        norm = f"gradient norm {self.gradient_norm_:.3g} after {self.n_iter_} steps, expected at most {self.tol:g}"
        if not np.isfinite(self.gradient_norm_ or 0.0):
            norm = f"after {self.n_iter_} steps, the remaining gain cannot be told from rounding"
        if self.penalty is None and self.objective_gap_ is None:
            why = "without a penalty, classes that a plane separates have no minimum (penalty='l2')"
        elif self.n_iter_ >= int(self.max_iter):
            why = "raise max_iter, or standardize"
        else:
            why = "rounding prevents further decrease (raise tol, or standardize, or lower C)"
        return f"softmax regression did not converge: {norm}; {why}"

    def _fit_saga(self, rows: TrainingRows) -> SoftmaxRegression:
        found = fit_saga(
            rows.held,
            rows.target,
            rows.weight * rows.class_weight,
            C=float(self.C),
            l1_ratio=1.0 if self.penalty == "l1" else float(self.l1_ratio),
            fit_intercept=bool(self.fit_intercept),
            standardize=bool(self.standardize),
            tol=float(self.tol),
            max_iter=int(self.max_iter),
            random_state=self.random_state,
        )
        self.classes_ = rows.classes
        self.coef_, self.intercept_, self.n_iter_ = found.coef, found.intercept, found.n_iter
        self._forget_minimum()
        self.objective_, self.converged_ = found.objective, found.converged
        self._state = None
        if not found.converged:
            said = f"saga did not converge in {found.n_iter} epochs, expected changes of at most {self.tol:g}"
            warnings.warn(f"{said} (raise max_iter or tol, or standardize)", NotConvergedWarning, stacklevel=4)
        return self


def unpenalised(problem: Problem) -> Problem:
    """Return the problem without its penalty; columns that do not vary keep theirs, which holds their weights at 0."""
    ridge = torch.zeros_like(problem.ridge)
    first: torch.Tensor | None = None
    varies = torch.zeros(problem.X.shape[1], dtype=torch.bool, device=ridge.device)
    for _, block in working_blocks(problem):
        first = block[0].clone() if first is None else first
        varies |= torch.ne(block, first).any(0)[: len(varies)]
    ridge[: len(varies)] = (~varies).double()
    return replace(problem, ridge=ridge)
