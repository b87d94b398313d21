"""Softmax regression by stochastic gradient descent, as SimCLR's linear evaluation does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import OptionError
from featx.probes.config import RECIPES
from featx.probes.sgd import SGDProbe

pytestmark = pytest.mark.usefixtures("one_thread")


@parametrize_with_checks([SGDProbe(random_state=0)])
def test_scikit_learns_checks(estimator: Any, check: Callable[[Any], None]) -> None:
    check(estimator)


def clouds(n: int = 300, k: int = 3, d: int = 6, seed: int = 0) -> tuple[Any, Any]:
    random = np.random.default_rng(seed)
    y = np.arange(n) % k
    return (random.standard_normal((n, d)) + 2 * np.eye(d)[y]).astype(np.float32), y


def test_one_batch_follows_nesterovs_formula() -> None:
    X, y = clouds()
    model = SGDProbe(epochs=7, batch_size=1000, learning_rate=0.3, random_state=0).fit(X, y)
    weights, speed = np.zeros((3, 7)), np.zeros((3, 7))
    inputs = np.column_stack([X.astype(float), np.ones(len(X))])
    for step in range(7):
        gradient = (softmax(inputs @ weights.T, axis=1) - np.eye(3)[y]).T @ inputs / len(X)
        lr = 0.3 * 300 / 256 * (1 + np.cos(np.pi * step / 7)) / 2
        speed = 0.9 * speed + gradient
        weights = weights - lr * (gradient + 0.9 * speed)
    np.testing.assert_allclose(model.coef_, weights[:, :-1], atol=1e-5)
    np.testing.assert_allclose(model.intercept_, weights[:, -1], atol=1e-5)
    assert model.n_iter_ == 7


def test_batches_are_all_rows_once_an_epoch_and_the_seed_gives_their_order() -> None:
    X, y = clouds()
    one, same, other = (SGDProbe(epochs=2, batch_size=64, random_state=seed).fit(X, y) for seed in (0, 0, 1))
    assert one.n_iter_ == 2 * 5
    np.testing.assert_array_equal(one.coef_, same.coef_)
    assert (one.coef_ != other.coef_).any()


def test_two_classes_have_one_row_and_predict_what_two_logits_would() -> None:
    X, y = clouds(k=2)
    model = SGDProbe(random_state=0).fit(X, np.array(["a", "b"])[y])
    assert model.coef_.shape == (1, 6)
    assert model.score(X, np.array(["a", "b"])[y]) > 0.9
    assert np.allclose(model.predict_proba(X).sum(axis=1), 1)


def test_callers_random_numbers_stay() -> None:
    X, y = clouds()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    SGDProbe(random_state=0).fit(X, y)
    assert torch.equal(torch.rand(2), expected)


def test_defaults_are_those_of_the_published_recipe() -> None:
    recipe, params = RECIPES["simclr-sgd"], SGDProbe().get_params()
    assert {name: params[name] for name in ("epochs", "batch_size", "learning_rate", "momentum")} == {
        "epochs": 90,
        "batch_size": 4096,
        "learning_rate": 0.1,
        "momentum": 0.9,
    }
    assert recipe.epochs == 90


@pytest.mark.parametrize("bad", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}])
def test_parameters_that_cannot_be_worked_with(bad: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(bad))} is 0"):
        SGDProbe(**bad).fit(*clouds())
