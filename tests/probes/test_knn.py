"""The weighted vote of nearest neighbours: against its definition, and scikit-learn's own checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import OptionError
from featx.probes import knn
from featx.probes.knn import KNNProbe

pytestmark = pytest.mark.usefixtures("one_thread")


@parametrize_with_checks([KNNProbe(k=5)])
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def clouds(n: int = 200, k: int = 3, d: int = 6) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % k
    return rng.standard_normal((n, d)) + 2 * np.eye(d)[y], y


@pytest.mark.parametrize("k", [1, 10, 1000])
def test_shares_are_those_of_the_definition(k: int) -> None:
    X, y = clouds()
    queries = clouds(37)[0] + 0.1
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    expected = np.zeros((37, 3))
    for i, query in enumerate(queries):
        cosine = unit @ query / np.linalg.norm(query)
        for row in np.argsort(-cosine)[:k]:
            expected[i, y[row]] += np.exp(cosine[row] / 0.07)
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(KNNProbe(k=k).fit(X, y).predict_proba(queries), expected, atol=1e-5)


def test_it_is_scikit_learns_with_the_same_weights() -> None:
    X, y = clouds()
    same = KNeighborsClassifier(20, metric="cosine", weights=lambda far: np.exp((1 - far) / 0.07)).fit(X, y)
    np.testing.assert_allclose(KNNProbe().fit(X, y).predict_proba(X), same.predict_proba(X), atol=1e-4)


def test_several_k_at_once_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = clouds()
    model = KNNProbe().fit(X, y)
    singly = [KNNProbe(k=k).fit(X, y).predict_proba(X) for k in (1, 20, 300)]
    monkeypatch.setattr(knn, "BLOCK_VALUES", 1000)
    for one, together in zip(singly, model.votes(X, [1, 20, 300]), strict=True):
        np.testing.assert_allclose(together, one, atol=1e-6)


def test_scale_of_a_row_and_a_row_of_zeros_do_no_harm() -> None:
    X, y = clouds()
    model = KNNProbe().fit(X, y)
    np.testing.assert_allclose(model.predict_proba(X * 1e4), model.predict_proba(X), atol=1e-5)
    assert np.isfinite(model.predict_proba(np.zeros((1, 6)))).all()
    assert np.isfinite(KNNProbe(k=1).fit(X, y).predict_log_proba(X).max(axis=1)).all()


@pytest.mark.parametrize(("options", "said"), [({"k": 0}, "k is 0"), ({"temperature": 0.0}, "temperature is 0.0")])
def test_bad_parameters_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        KNNProbe(**options).fit(*clouds())
