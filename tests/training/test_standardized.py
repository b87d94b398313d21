"""Standardised heads: what they divide by, against numpy; the rate that follows; and that folding changes no logit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from drawn import CPU, drawn
from torch import nn

from featx.data.splits import Part
from featx.training import standardized
from featx.training.batches import FeatureLoader
from featx.training.config import TrainConfig
from featx.training.standardized import CURVATURE_BATCH, Standardized

pytestmark = pytest.mark.usefixtures("one_thread")

HEADS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(5, 3), (7, 5)),
    "mlp": (lambda: nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3)), (7, 5)),
    "convolution": (lambda: nn.Conv2d(5, 3, 1), (7, 5, 2, 3)),
}


def made(kind: str) -> tuple[Standardized, nn.Module, torch.Tensor]:
    """A standardised head, the same one as it was, and features for both."""
    build, shape = HEADS[kind]
    torch.manual_seed(0)
    head, plain = build(), build()
    plain.load_state_dict(head.state_dict())
    found = Standardized(head)
    found.mean.copy_(torch.randn_like(found.mean) * 3)
    found.spread.copy_(torch.rand_like(found.spread) * 10 + 0.1)
    return found, plain, torch.randn(shape)


def features(n: int = 200) -> npt.NDArray[np.float32]:
    """Five columns of other means and widths; the last varies most."""
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, 5)) * [1, 2, 3, 4, 500] + [0, 10, -5, 1e3, 0]).astype(np.float32)


def measured(X: Any, head: nn.Module | None = None, module: nn.Module | None = None, **options: Any) -> Standardized:
    """Return a head that has looked at features, as those of a frozen base that were cached."""
    found = Standardized(head or nn.Linear(X.shape[1], 2))
    loader = FeatureLoader(Part(drawn(len(X), px=2), np.arange(len(X))), X, CPU)
    whole = found if module is None else nn.Sequential(module, found)
    found.measure(whole, loader, TrainConfig(mode="frozen", **options))
    return found


# ---- the same logits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", HEADS)
def test_its_input_is_standardised(kind: str) -> None:
    found, plain, x = made(kind)
    torch.testing.assert_close(found(x), plain((x - found.mean) / found.spread))
    assert not torch.allclose(found(x), plain(x), atol=0.1)


@pytest.mark.parametrize("kind", HEADS)
def test_folded_it_gives_the_same_and_standardises_no_more(kind: str) -> None:
    found, _, x = made(kind)
    before = found(x)
    found.fold()
    torch.testing.assert_close(found(x), before, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.head(x), before, rtol=1e-4, atol=1e-5)
    assert found.mean.unique().tolist() == [0]
    assert found.spread.unique().tolist() == [1]


@pytest.mark.parametrize("kind", HEADS)
def test_unfolded_it_gives_what_the_plain_head_gave(kind: str) -> None:
    found, plain, x = made(kind)
    found.unfold()
    torch.testing.assert_close(found(x), plain(x), rtol=1e-4, atol=1e-5)


# ---- mean and spread ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [7, 64, 1000])
def test_mean_and_spread_are_numpys_and_the_loud_are_brought_down(batch_size: int) -> None:
    X = features()
    found, std = measured(X, batch_size=batch_size), X.astype(float).std(0)
    np.testing.assert_allclose(found.mean, X.astype(float).mean(0), rtol=1e-5)
    assert std[4] > 2 * np.median(std)
    np.testing.assert_allclose(found.spread, np.maximum(std, 2 * np.median(std)), rtol=1e-5)


def test_far_means_cost_no_digits_of_the_spread() -> None:
    X = (np.random.default_rng(0).normal(size=(200, 5)) + 1e5).astype(np.float32)
    std = X.astype(float).std(0)
    np.testing.assert_allclose(measured(X, batch_size=9).spread, np.maximum(std, 2 * np.median(std)), rtol=1e-6)


def test_columns_that_vary_by_rounding_alone_count_for_nothing() -> None:
    X = features()
    X[:, 0] = np.where(np.arange(len(X)) % 2, 1e4, np.nextafter(np.float32(1e4), np.float32(2e4)))
    X[:, 1] = 7
    std = X.astype(float).std(0)
    assert std[0] > 0 == std[1]
    np.testing.assert_allclose(measured(X).spread, np.maximum(std, 2 * np.median(std[2:])), rtol=1e-5)


def test_without_any_variation_only_the_mean_is_taken_off() -> None:
    found = measured(np.full((20, 5), 3, np.float32))
    assert found.spread.tolist() == [1] * 5
    assert found.mean.tolist() == [3] * 5
    assert found.rate == 1


def test_a_convolution_has_a_mean_a_channel_over_all_places() -> None:
    X = np.random.default_rng(0).normal(size=(40, 3 * 4)) * np.repeat([1, 2, 3], 4) + np.repeat([5, 6, 7], 4)
    found = measured(X.astype(np.float32), nn.Conv2d(3, 2, 1), nn.Unflatten(1, (3, 2, 2)))
    places = X.reshape(40, 3, 4).transpose(0, 2, 1).reshape(-1, 3)
    assert found.mean.shape == found.spread.shape == (3, 1, 1)
    np.testing.assert_allclose(found.mean.flatten(), places.mean(0), rtol=1e-5)
    std = places.std(0)
    np.testing.assert_allclose(found.spread.flatten(), np.maximum(std, 2 * np.median(std)), rtol=1e-5)


def test_a_sample_is_drawn_by_the_seed_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standardized, "SAMPLE", 30)
    X = features()
    one, same, other = (measured(X, seed=s, batch_size=b).mean for s, b in ((0, 4), (0, 64), (1, 4)))
    torch.testing.assert_close(one, same)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, torch.from_numpy(X.mean(0)))


def test_features_that_are_no_numbers_change_nothing() -> None:
    X = features()
    X[13, 2] = np.inf
    found = measured(X)
    assert (found.mean.tolist(), found.spread.tolist(), found.rate) == ([0] * 5, [1] * 5, 1)


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_stays_on_the_head(fails: bool) -> None:
    class Failing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no")

    head = nn.Linear(5, 2)
    if fails:
        with pytest.raises(RuntimeError, match="no"):
            measured(features(), head, Failing())
    else:
        measured(features(), head)
    assert not head._forward_pre_hooks


# ---- the rate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_the_rate_follows_from_the_largest_eigenvalue(optimizer: str) -> None:
    X = features(CURVATURE_BATCH)  # one batch, so that the order of its rows is no matter
    found = measured(X, optimizer=optimizer, batch_size=CURVATURE_BATCH)
    z = (X - found.mean.numpy().astype(float)) / found.spread.numpy()
    largest = np.linalg.eigvalsh(z.T @ z / len(z))[-1]
    wanted = 10 / largest if optimizer == "sgd" else 300 / math.sqrt(5 * largest)
    assert 2**-0.5 <= found.rate / wanted <= 2**0.5
    assert math.log2(found.rate).is_integer()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_rate_is_alike_for_features_of_any_size(optimizer: str) -> None:
    rates = {measured(features() * np.float32(scale), optimizer=optimizer).rate for scale in (2.0**-20, 1, 2.0**20)}
    assert len(rates) == 1


def test_small_batches_have_a_rate_of_their_own() -> None:
    """A batch of few rows curves more, along those rows, than many do along any."""
    X = np.random.default_rng(0).normal(size=(256, 60)).astype(np.float32)
    small, large = (measured(X, batch_size=size).rate for size in (2, 64))
    assert small <= large / 4
    assert measured(X, batch_size=2, accumulate=32).rate == large
