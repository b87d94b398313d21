"""SoftmaxRegression: scikit-learn's own checks, scikit-learn's own minima, and the ways a fit can go wrong."""

from __future__ import annotations

import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from drawn import some_digits
from numpy.typing import NDArray
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.cache.store import FeatureStore
from featx.errors import FeatxError, OptionError
from featx.extraction.extract import extract
from featx.models.backbones import resolve
from featx.probes import check_array, softmax
from featx.probes.config import FitConfig
from featx.probes.softmax import SoftmaxRegression

Array = NDArray[Any]
Data = tuple[Array, Array]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@parametrize_with_checks(
    [
        SoftmaxRegression(),
        SoftmaxRegression(standardize=True, fit_intercept=False, normalize="l2", class_weight="balanced"),
        SoftmaxRegression(penalty="elasticnet", tol=1e-11, max_iter=100_000),
    ]
)
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


# ---- the same minima as scikit-learn --------------------------------------------------------------------------------


def features(k: int, n: int = 400, d: int = 12, *, sharp: float = 1.0, seed: int = 0) -> Data:
    """Correlated ReLU-like columns and noisy labels."""
    rng = np.random.default_rng(seed)
    X = np.maximum(rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) / 2, 0)
    logits = sharp * X @ rng.standard_normal((d, k))
    return X, (logits - logits.mean(0) + rng.gumbel(size=(n, k))).argmax(1)


def badly_scaled(k: int) -> Data:
    X, y = features(k)
    return X * np.logspace(-4, 4, X.shape[1]) + np.linspace(0, 1000, X.shape[1]), y


def separable(k: int) -> Data:
    X, _ = features(k)
    return X, (X[:, :k] * [1 + i / 50 for i in range(k)]).argmax(1)


def with_odd_columns(k: int) -> Data:
    """Two columns equal, two constant."""
    X, y = features(k)
    return np.column_stack([X, X[:, 3], np.full(len(X), 7.3), np.zeros(len(X))]), y


def wide(k: int) -> Data:
    return features(k, n=40, d=90)


def single_column(k: int) -> Data:
    X, y = features(k, d=1)
    return X, y


DATA = {f.__name__: f for f in (features, badly_scaled, separable, with_odd_columns, wide, single_column)}


def objective(X: Array, y: Array, model: Any, C: float, weight: Array | None = None) -> float:
    """scikit-learn's objective in float64, from coefficients alone."""
    logits = X.astype(np.float64) @ model.coef_.astype(np.float64).T + model.intercept_.astype(np.float64)
    if logits.shape[1] == 1:
        logits = np.column_stack([np.zeros(len(X)), logits])
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(y)), y]
    return float(C * np.sum(losses if weight is None else weight * losses) + np.sum(model.coef_**2) / 2)


def reference(X: Array, y: Array, C: float, weight: Array | None = None, **options: Any) -> LogisticRegression:
    """scikit-learn at its best: exact Newton steps in float64 to a tight tolerance."""
    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it complains of rounding at this tolerance
        return model.fit(X.astype(np.float64), y, sample_weight=weight)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("k", [2, 10])
@pytest.mark.parametrize("kind", [kind for kind in DATA if kind != "badly_scaled"])
def test_default_tol_reaches_scikit_learns_objective(kind: str, k: int, C: float, dtype: type) -> None:
    X, y = DATA[kind](k)
    X = X.astype(dtype)
    model = SoftmaxRegression(C).fit(X, y)
    assert model.converged_
    assert objective(X, y, model, C) == pytest.approx(objective(X, y, reference(X, y, C), C), rel=1e-6)
    assert model.objective_ == pytest.approx(objective(X, y, model, C), rel=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("k", [2, 10])
def test_default_tol_reaches_the_minimum_on_badly_scaled_columns(k: int, C: float, dtype: type) -> None:
    """scikit-learn stops early on these, so the reference is Newton's method with automatic derivatives."""
    X, y = badly_scaled(k)
    X = X.astype(dtype)
    model = SoftmaxRegression(C).fit(X, y)
    reached = objective(X, y, model, C)
    assert model.converged_
    assert reached == pytest.approx(newton(X, y, C), rel=1e-6)
    assert reached <= objective(X, y, reference(X, y, C), C) * (1 + 1e-6)


def newton(X: Array, y: Array, C: float) -> float:
    """Return the objective's minimum, by damped Newton steps on scaled columns that pay the unscaled penalty."""
    k, d = max(y) + 1 if max(y) > 1 else 1, X.shape[1]
    scale = torch.from_numpy(X.astype(np.float64).std(0))
    columns = (torch.from_numpy(X.astype(np.float64)) - torch.from_numpy(X.astype(np.float64).mean(0))) / scale
    target = torch.from_numpy(y)

    def value(flat: torch.Tensor) -> torch.Tensor:
        weights = flat.view(k, d + 1)
        logits = columns @ weights[:, :d].T + weights[:, d]
        if k == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        loss = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
        return C * loss + (weights[:, :d] / scale).square().sum() / 2

    flat = torch.zeros(k * (d + 1), dtype=torch.float64)
    for _ in range(60):
        gradient = torch.autograd.functional.jacobian(value, flat)
        hessian = torch.autograd.functional.hessian(value, flat)
        step = torch.linalg.lstsq(hessian, -gradient[:, None], driver="gelsd").solution[:, 0]
        if float(-gradient @ step) <= 1e-13 * float(value(flat)):  # twice what is left
            break
        length = 1.0
        while value(flat + length * step) > value(flat) and length > 1e-10:
            length /= 2
        flat = flat + length * step
    return float(value(flat))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
@pytest.mark.parametrize("k", [2, 10])
def test_standardize_is_a_scaler_before_it(k: int, C: float, fit_intercept: bool, dtype: type) -> None:
    X, y = badly_scaled(k)
    X = X.astype(dtype)
    model = SoftmaxRegression(C, standardize=True, fit_intercept=fit_intercept).fit(X, y)
    scaled = StandardScaler().fit_transform(X.astype(np.float64))
    best = reference(scaled, y, C, fit_intercept=fit_intercept)
    assert model.objective_ == pytest.approx(objective(scaled, y, best, C), rel=1e-6)
    np.testing.assert_allclose(model.predict_proba(X), best.predict_proba(scaled), atol=2e-3)
    plain = SoftmaxRegression(C, fit_intercept=fit_intercept).fit(scaled, y)
    np.testing.assert_allclose(model.predict_proba(X), plain.predict_proba(scaled), atol=2e-3)


def test_standardize_survives_constant_columns() -> None:
    X, y = with_odd_columns(3)
    model = SoftmaxRegression(standardize=True).fit(X, y)
    best = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-8)).fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X), best.predict_proba(X), atol=1e-3)
    assert not model.coef_[:, -2:].any()
    np.testing.assert_allclose(model.coef_[:, 3], model.coef_[:, -3], atol=1e-6)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("k", [2, 3, 10])
def test_coefficients_and_predictions_are_scikit_learns(k: int, fit_intercept: bool) -> None:
    X, y = features(k)
    model = SoftmaxRegression(tol=1e-8, fit_intercept=fit_intercept).fit(X, y)
    best = reference(X, y, 1.0, fit_intercept=fit_intercept)
    np.testing.assert_allclose(model.coef_, best.coef_, atol=1e-6)
    np.testing.assert_allclose(model.intercept_, best.intercept_ - best.intercept_.mean() * (k > 2), atol=1e-6)
    np.testing.assert_array_equal(model.predict(X), best.predict(X))
    np.testing.assert_allclose(model.predict_proba(X), best.predict_proba(X), atol=1e-6)
    np.testing.assert_allclose(model.predict_log_proba(X), best.predict_log_proba(X), atol=1e-5)
    assert model.decision_function(X).shape == best.decision_function(X).shape
    assert model.score(X, y) == best.score(X, y)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("k", [2, 4])
def test_sample_weight_is_repetition(k: int, standardize: bool) -> None:
    X, y = features(k, n=80)
    weight = np.random.default_rng(1).integers(0, 4, size=len(X))
    options: dict[str, Any] = {"tol": 1e-8, "standardize": standardize}
    weighted = SoftmaxRegression(**options).fit(X, y, sample_weight=weight)
    repeated = SoftmaxRegression(**options).fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, atol=1e-6)
    np.testing.assert_allclose(weighted.intercept_, repeated.intercept_, atol=1e-6)


def test_two_classes_have_one_row_as_in_scikit_learn() -> None:
    X, y = features(2)
    model = SoftmaxRegression().fit(X, y)
    assert model.coef_.shape == (1, X.shape[1])
    assert model.decision_function(X).shape == (len(X),)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)


# ---- labels and data ------------------------------------------------------------------------------------------------


def test_labels_may_be_words_and_numbers_with_gaps() -> None:
    X, y = features(3)
    names, gaps = np.array(["cat", "dog", "owl"]), np.array([0, 7, 40])
    plain = SoftmaxRegression().fit(X, y).predict(X)
    np.testing.assert_array_equal(SoftmaxRegression().fit(X, names[y]).predict(X), names[plain])
    np.testing.assert_array_equal(SoftmaxRegression().fit(X, gaps[y]).predict(X), gaps[plain])
    assert SoftmaxRegression().fit(X, names[y]).classes_.tolist() == ["cat", "dog", "owl"]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int64])
def test_any_number_type_fits(dtype: type) -> None:
    X, y = features(3)
    X = np.round(X * 8).astype(dtype)
    expected = SoftmaxRegression().fit(X.astype(np.float64), y).predict_proba(X.astype(np.float64))
    np.testing.assert_allclose(SoftmaxRegression().fit(X, y).predict_proba(X), expected, atol=1e-3)


def test_float16_and_float32_are_computed_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    real = softmax.fit_softmax

    def watched(problem: Any, **options: Any) -> Any:
        seen.append((problem.X.dtype, problem.dtype))
        return real(problem, **options)

    monkeypatch.setattr(softmax, "fit_softmax", watched)
    X, y = features(3)
    for dtype in (np.float16, np.float32, np.float64):
        SoftmaxRegression().fit(X.astype(dtype), y)
    assert seen == [(torch.float32,) * 2, (torch.float32,) * 2, (torch.float64,) * 2]


class Lazy:
    """What a FeatureTable shows of itself: a shape, a type, and an array on demand."""

    def __init__(self, values: Array) -> None:
        self.values, self.shape, self.dtype, self.ndim = values, values.shape, values.dtype, 2

    def __len__(self) -> int:
        return len(self.values)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.values.astype(dtype or self.values.dtype)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_lazy_matrix_fits_and_predicts(dtype: type) -> None:
    X, y = features(3)
    X = X.astype(dtype)
    lazy = SoftmaxRegression().fit(Lazy(X), y)
    np.testing.assert_array_equal(lazy.predict_proba(Lazy(X)), SoftmaxRegression().fit(X, y).predict_proba(X))


@pytest.mark.parametrize("view", ["fortran", "reversed", "strided", "read-only"])
def test_memory_layout_does_not_matter(view: str) -> None:
    X, y = features(3)
    expected = SoftmaxRegression().fit(X, y).coef_
    layouts = {
        "fortran": np.asfortranarray(X),
        "reversed": X[::-1].copy()[::-1],
        "strided": np.column_stack([X, X])[:, : X.shape[1]],
        "read-only": X.copy(),
    }
    layouts["read-only"].flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(SoftmaxRegression().fit(layouts[view], y).coef_, expected, atol=1e-9)


def test_the_fit_leaves_x_alone() -> None:
    X, y = features(3)
    before = X.copy()
    SoftmaxRegression(standardize=True).fit(X, y)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinity_are_refused_by_row(bad: float, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = features(3)
    X = X.astype(dtype)
    model = SoftmaxRegression().fit(X, y)
    X[70, 2] = X[90, 1] = bad
    monkeypatch.setattr(check_array, "BLOCK_VALUES", 100)
    said = "row 70 of X holds " + ("NaN" if np.isnan(bad) else "infinity") + " in column 2"
    with pytest.raises(OptionError, match=said):
        SoftmaxRegression().fit(X, y)
    with pytest.raises(OptionError, match=said):
        model.predict(X)
    with pytest.raises(OptionError, match=said):
        model.predict(sparse.csr_array(X.astype(np.float32)))


def test_large_finite_values_are_no_infinity() -> None:
    X = np.full((300, 2), 3e38, dtype=np.float32)
    check_array.check_finite(X)


def test_one_class_is_refused() -> None:
    X, _ = features(3)
    with pytest.raises(FeatxError, match=r"only one class .*expected at least two"):
        SoftmaxRegression().fit(X, np.zeros(len(X)))


# ---- parameters -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("C", 0),
        ("C", -1.0),
        ("C", float("nan")),
        ("C", float("inf")),
        ("C", "1"),
        ("C", None),
        ("penalty", "l3"),
        ("l1_ratio", 1.5),
        ("normalize", "max"),
        ("learning_rate", 0.0),
        ("tol", 0.0),
        ("tol", -1e-4),
        ("tol", float("nan")),
        ("max_iter", 0),
        ("max_iter", 2.5),
        ("fit_intercept", "yes"),
        ("standardize", None),
        ("device", "gpu"),
        ("device", "cuda:x"),
        ("device", "cpu:0"),
        ("device", "cuda:99"),
        ("device", 0),
    ],
)
def test_bad_parameters_are_named(name: str, value: object) -> None:
    X, y = features(3)
    model = SoftmaxRegression(**{name: value})
    with pytest.raises(OptionError, match=f"^{name} is .*expected") as caught:
        model.fit(X, y)
    assert isinstance(caught.value, ValueError)
    assert repr(value) in str(caught.value)


def test_cuda_where_there_is_none_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    X, y = features(3)
    with pytest.raises(OptionError, match=r"device is 'cuda', .*0 CUDA"):
        SoftmaxRegression(device="cuda").fit(X, y)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_finds_the_same_minimum() -> None:
    X, y = features(10)
    for dtype in (np.float32, np.float64):
        cpu, cuda = (SoftmaxRegression(device=d).fit(X.astype(dtype), y) for d in ("cpu", "cuda"))
        assert cuda.objective_ == pytest.approx(cpu.objective_, rel=1e-6)


def test_defaults_are_those_of_the_specs() -> None:
    given = SoftmaxRegression().get_params()
    for name in ("C", "fit_intercept", "tol", "max_iter"):
        assert given[name] == getattr(FitConfig(), name)


# ---- penalties, weights, kinds of X ---------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 4])
def test_without_a_penalty_it_is_the_limit_of_large_c(k: int) -> None:
    X, y = with_odd_columns(k)
    model = SoftmaxRegression(penalty=None, tol=1e-6).fit(X, y)
    limit = LogisticRegression(C=1e9, tol=1e-9, max_iter=5000).fit(X, y)
    assert model.converged_
    np.testing.assert_allclose(model.predict_proba(X), limit.predict_proba(X), atol=1e-3)
    assert np.abs(model.coef_[:, -2:]).max() < 1e-20  # columns that do not vary


def test_separable_classes_without_a_penalty_do_not_converge_silently() -> None:
    X = np.arange(8.0)[:, None]
    with pytest.warns(ConvergenceWarning):
        model = SoftmaxRegression(penalty=None, max_iter=30).fit(X, X[:, 0] > 3)
    assert not model.converged_
    assert model.objective_gap_ is None
    assert model.score(X, X[:, 0] > 3) == 1


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize("penalty", ["l1", "elasticnet"])
@pytest.mark.parametrize("k", [2, 3])
def test_l1_and_elastic_net_are_scikit_learns(k: int, penalty: str, standardize: bool) -> None:
    X, y = features(k, n=150)
    options: dict[str, Any] = {"penalty": penalty, "l1_ratio": 0.3, "standardize": standardize, "random_state": 0}
    model = SoftmaxRegression(0.05, tol=1e-7, max_iter=20_000, **options).fit(X, y)
    scaled = StandardScaler().fit_transform(X) if standardize else X
    ratio = 1.0 if penalty == "l1" else 0.3
    best = LogisticRegression(C=0.05, l1_ratio=ratio, solver="saga", tol=1e-7, max_iter=20_000, random_state=0)
    best.fit(scaled, y)
    np.testing.assert_allclose(model.predict_proba(X), best.predict_proba(scaled), atol=1e-4)
    loss = -np.log(best.predict_proba(scaled)[np.arange(len(y)), y]).sum()
    size = ratio * np.abs(best.coef_).sum() + (1 - ratio) / 2 * np.square(best.coef_).sum()
    assert model.objective_ == pytest.approx(0.05 * loss + size, rel=1e-4)
    assert (model.coef_ == 0).any() == (best.coef_ == 0).any()
    assert (model.gradient_norm_, model.objective_gap_) == (None, None)
    with pytest.warns(ConvergenceWarning, match="saga did not converge in 1 epochs"):
        SoftmaxRegression(max_iter=1, **options).fit(X, y)


@pytest.mark.parametrize("k", [2, 3])
def test_class_weights_are_sample_weights(k: int) -> None:
    X, y = features(k)
    y[:300] = 0  # rare others
    names = np.array(["ant", "bee", "cat"])[:k]
    weights = dict(zip(names.tolist(), (0.5, 3.0, 2.0), strict=False))
    model = SoftmaxRegression(class_weight=weights, tol=1e-7).fit(X, names[y])
    same = SoftmaxRegression(tol=1e-7).fit(X, y, sample_weight=[weights[name] for name in names[y]])
    np.testing.assert_allclose(model.coef_, same.coef_, atol=1e-6)
    balanced = SoftmaxRegression(class_weight="balanced", tol=1e-7).fit(X, y)
    reference = LogisticRegression(class_weight="balanced", tol=1e-9, max_iter=5000).fit(X, y)
    np.testing.assert_allclose(balanced.predict_proba(X), reference.predict_proba(X), atol=1e-4)


@pytest.mark.parametrize("weights", ["even", {0: -1.0}, {0: float("nan")}, 3])
def test_bad_class_weights_are_refused(weights: Any) -> None:
    X, y = features(3)
    with pytest.raises(OptionError, match="class_weight is"):
        SoftmaxRegression(class_weight=weights).fit(X, y)


def test_normalize_divides_rows_in_the_fit_and_in_predictions() -> None:
    X, y = features(3)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    model, plain = SoftmaxRegression(normalize="l2").fit(X, y), SoftmaxRegression().fit(unit, y)
    np.testing.assert_allclose(model.predict_proba(X * 7), plain.predict_proba(unit), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sparse_rows_give_what_dense_ones_give(dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = features(3)
    X = np.where(X > 1, X, 0).astype(dtype)
    for options in ({}, {"standardize": True, "normalize": "l2"}):
        expected = SoftmaxRegression(**options).fit(X, y)
        for kind in (sparse.csr_array, sparse.csc_matrix, sparse.coo_array):
            model = SoftmaxRegression(**options).fit(kind(X), y)
            monkeypatch.setattr(check_array, "BLOCK_VALUES", 200)
            np.testing.assert_allclose(model.predict_proba(kind(X)), expected.predict_proba(X), atol=1e-6)


def test_data_on_a_disk_fit_and_predict(tmp_path: Path) -> None:
    X, y = features(3)
    X = X.astype(np.float32)
    expected = SoftmaxRegression().fit(X, y).predict_proba(X)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_allclose(SoftmaxRegression().fit(mapped, y).predict_proba(mapped), expected, atol=1e-5)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        data = file.create_dataset("X", data=X, chunks=(64, 4))
        np.testing.assert_allclose(SoftmaxRegression().fit(data, y).predict_proba(data), expected, atol=1e-5)


@pytest.mark.parametrize("normalize", [None, "l2"])
def test_what_is_too_large_to_be_held_is_streamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, normalize: str | None
) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 6)).astype(np.float32)
    y = np.array(["a", "b", "c"])[(X[:, :3] + rng.normal(size=(3000, 3))).argmax(1)]
    held = SoftmaxRegression(normalize=normalize).fit(X, y)
    monkeypatch.setattr(check_array, "HELD_BYTES", 1000)
    with h5py.File(tmp_path / "X.h5", "w") as file:
        lazy = file.create_dataset("X", data=X)
        monkeypatch.setattr(lazy.__class__, "__array__", lambda *_: pytest.fail("it was read whole"))
        model = SoftmaxRegression(normalize=normalize).fit(lazy, y)
        assert (model.predict(lazy) == held.predict(X)).mean() > 0.999
        assert model.objective_gap_ is not None
        with pytest.raises(OptionError, match="3 labels for 3000 rows"):
            SoftmaxRegression().fit(lazy, y[:3])
        narrow = SoftmaxRegression().fit(X[:, :5], y)
        with pytest.raises(ValueError, match="features"):
            narrow.predict(lazy)
        lazy[1234, 3] = np.nan
        with pytest.raises(OptionError, match="row 1234 of X holds NaN in column 3"):
            SoftmaxRegression().fit(lazy, y)
    np.testing.assert_allclose(model.coef_, held.coef_, atol=1e-3)


def test_a_table_of_features_brings_its_labels(tmp_path: Path) -> None:
    source = some_digits(120)
    backbone = resolve("lenet5", weights="random:0", channels=1)
    table = extract({"all": source}, backbone, ["pool2"], FeatureStore(tmp_path)).tables["all", "pool2"]
    model = SoftmaxRegression(C=0.01).fit(table)
    np.testing.assert_array_equal(model.coef_, SoftmaxRegression(C=0.01).fit(table.X, source.labels).coef_)
    assert model.predict(table).shape == (120,)
    table.y[7] = -1
    with pytest.raises(OptionError, match="row 7 of the table has no label"):
        SoftmaxRegression().fit(table)


@pytest.mark.parametrize("k", [2, 5])
def test_partial_fit_comes_near_the_minimum(k: int) -> None:
    X, y = features(k, n=2000)
    model, exact = SoftmaxRegression(learning_rate=0.05), SoftmaxRegression().fit(X, y)
    for _ in range(60):
        for start in range(0, 2000, 500):
            model.partial_fit(X[start : start + 500], y[start : start + 500], classes=np.arange(k))
    assert objective(X, y, model, 1.0) < 1.02 * exact.objective_
    assert model.n_iter_ == 60 * 8


def test_partial_fit_goes_on_from_a_fit_and_is_not_there_where_it_cannot_be() -> None:
    X, y = features(3)
    model = SoftmaxRegression().fit(X, y)
    before = model.coef_.copy()
    model.partial_fit(X[:10], y[:10])
    assert 0 < np.abs(model.coef_ - before).max() <= 1.01 * model.learning_rate
    assert not hasattr(SoftmaxRegression(standardize=True), "partial_fit")
    assert not hasattr(SoftmaxRegression(penalty="l1"), "partial_fit")
    with pytest.raises(OptionError, match="not among the classes"):
        model.partial_fit(X[:10], np.full(10, 7))


def test_sample_weights_are_routed_through_a_pipeline_of_data_frames() -> None:
    pytest.importorskip("pandas")
    X, y = features(3)
    weight = np.random.default_rng(0).uniform(0, 2, len(y))
    with config_context(enable_metadata_routing=True):
        routed = make_pipeline(
            StandardScaler().set_fit_request(sample_weight=False).set_output(transform="pandas"),
            SoftmaxRegression().set_fit_request(sample_weight=True),
        ).fit(X, y, sample_weight=weight)
    plain = SoftmaxRegression().fit(StandardScaler().fit_transform(X), y, sample_weight=weight)
    np.testing.assert_allclose(routed[-1].coef_, plain.coef_, atol=1e-9)
    assert routed[-1].feature_names_in_.tolist() == [f"x{i}" for i in range(X.shape[1])]


@pytest.mark.parametrize("C", [1e-8, 1e-4, 1e4, 1e8])
@pytest.mark.parametrize("k", [2, 5])
def test_extreme_c(k: int, C: float) -> None:
    X, y = features(k)
    model = SoftmaxRegression(C).fit(X, y)
    assert model.converged_
    assert model.objective_ <= objective(X, y, reference(X, y, C), C) * (1 + 1e-6)
    assert model.objective_gap_ is not None


def test_a_thousand_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(2000) % 1000
    X = (rng.standard_normal((1000, 12))[y] + 0.1 * rng.standard_normal((2000, 12))).astype(np.float32)
    model = SoftmaxRegression().fit(X, y)
    assert model.coef_.shape == (1000, 12)
    assert model.converged_
    assert model.score(X, y) > 0.8


# ---- convergence ----------------------------------------------------------------------------------------------------


def test_too_few_steps_warn_with_the_norm_reached() -> None:
    X, y = features(10)
    with pytest.warns(ConvergenceWarning, match=r"gradient norm .* after 2 steps, .*max_iter") as caught:
        model = SoftmaxRegression(max_iter=2).fit(X, y)
    assert (model.n_iter_, model.converged_) == (2, False)
    assert f"{model.gradient_norm_:.3g}" in str(caught[0].message)
    assert caught[0].filename == __file__


def test_a_tolerance_below_rounding_warns_too() -> None:
    X, y = features(10)
    with pytest.warns(ConvergenceWarning, match="rounding"):
        model = SoftmaxRegression(tol=1e-30).fit(X, y)
    assert not model.converged_
    assert model.n_iter_ < model.max_iter


def test_convergence_is_silent() -> None:
    X, y = features(10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = SoftmaxRegression().fit(X, y)
    assert model.converged_
    assert model.gradient_norm_ <= model.tol


def test_warm_start_takes_up_where_it_stopped() -> None:
    X, y = features(10)
    for standardize in (True, False):
        model = SoftmaxRegression(warm_start=True, standardize=standardize).fit(X, y)
        first = model.n_iter_
        assert first > 3
        assert model.fit(X, y).n_iter_ <= 2
        assert model.set_params(C=1.1).fit(X, y).n_iter_ < first


def test_warm_start_begins_anew_for_other_classes_and_columns() -> None:
    X, y = features(10)
    model = SoftmaxRegression(warm_start=True).fit(X, y)
    for other in ((X, y + 1), (X[:, :5], y), (X, (y > 4).astype(int))):
        cold = SoftmaxRegression().fit(*other)
        np.testing.assert_array_equal(model.fit(*other).coef_, cold.coef_)


# ---- an object like any other ---------------------------------------------------------------------------------------


def test_clone_and_pickle_keep_what_they_should() -> None:
    X, y = features(3)
    model = SoftmaxRegression(C=0.3, standardize=True).fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
    fresh = clone(model)
    assert fresh.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        fresh.predict(X)


def test_no_second_copy_of_x_arises() -> None:
    """Fit and prediction on 124 MiB, standardised, grow the process by less than half of that."""
    code = """
import resource, sys, warnings
import numpy as np, torch
from featx.probes.softmax import SoftmaxRegression
warnings.simplefilter("ignore")
torch.set_num_threads(1)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
X = np.random.default_rng(0).standard_normal((130_000, 250), dtype=np.float32)
y = np.arange(len(X)) % 5
SoftmaxRegression(max_iter=1).fit(X[:100], y[:100]).predict(X[:100])
before = peak()
SoftmaxRegression(standardize=True, max_iter=1).fit(X, y).predict(X)
print((peak() - before) / X.nbytes)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.5


def test_equal_fits_are_equal() -> None:
    X, y = features(10)
    first, second = (SoftmaxRegression().fit(X.astype(np.float32), y) for _ in range(2))
    np.testing.assert_array_equal(first.coef_, second.coef_)


def test_prediction_in_blocks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = features(3)
    model = SoftmaxRegression().fit(X, y)
    whole = model.decision_function(X)
    monkeypatch.setattr(check_array, "BLOCK_VALUES", 100)
    np.testing.assert_allclose(model.decision_function(X), whole, rtol=1e-12, atol=1e-12)
