"""Heads; above all, a frozen network that carries the fitted softmax gives the cached path's logits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import logits_of, some_digits
from torch import nn

from featx.cache.store import FeatureStore
from featx.core.metrics import full_logits
from featx.data.sources import load_source
from featx.extraction.compute import compute
from featx.extraction.extract import extract
from featx.models.backbones import Backbone, resolve
from featx.models.head_spec import HeadSpec
from featx.models.heads import attach, count_parameters, linear_from_softmax, make_head
from featx.probes.softmax import SoftmaxRegression

pytestmark = pytest.mark.usefixtures("one_thread")


def both_ways(backbone: Backbone, layer: str, source: Any, home: Path, **options: Any) -> tuple[Any, Any]:
    """Return the logits of the cached features, and of the whole network with the softmax in its head's place."""
    table = extract({source.split: source}, backbone, [layer], FeatureStore(home)).tables[source.split, layer]
    features = np.asarray(table.X)
    model = SoftmaxRegression(**options).fit(features, source.labels)
    network = attach(backbone.module(), backbone.head, linear_from_softmax(model))
    return full_logits(model, features, len(source.classes)), logits_of(network, backbone, source)


@pytest.mark.parametrize("classes", [(3, 8), tuple(range(10))])
@pytest.mark.parametrize(("name", "layer", "size"), [("resnet18", "avgpool", 64), ("lenet5", "relu4", None)])
def test_frozen_network_with_the_softmax_gives_the_cached_logits(
    tmp_path: Path, name: str, layer: str, size: int | None, classes: tuple[int, ...]
) -> None:
    source = some_digits(80, classes)
    backbone = resolve(name, weights="random:0", size=size, channels=1)
    cached, whole = both_ways(backbone, layer, source, tmp_path, C=0.1, standardize=True)
    assert cached.shape == whole.shape == (80, len(classes))
    assert np.abs(cached).max() > 0.5  # not all zero
    np.testing.assert_allclose(whole, cached, atol=1e-4)
    np.testing.assert_array_equal(whole.argmax(1), cached.argmax(1))


@pytest.mark.shared
def test_so_it_does_with_real_weights_on_real_images(shared_data: Path, tmp_path: Path) -> None:
    source = load_source(shared_data / "cifar10.zip", "test", per_class=4)
    weights = str(shared_data / "resnet18-tinyimagenet.pth")
    backbone = resolve("resnet18", weights=weights, size=64)
    cached, whole = both_ways(backbone, "avgpool", source, tmp_path, C=0.01)
    assert (cached.argmax(1) == source.labels).mean() > 0.5  # of its training rows: the features mean something
    np.testing.assert_allclose(whole, cached, atol=1e-4)


def test_two_classes_become_two_logits_the_first_of_them_zero() -> None:
    X = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    model = SoftmaxRegression().fit(X, np.where(X[:, 0] > 0, "yes", "no"))
    logits = linear_from_softmax(model)(torch.from_numpy(X)).detach().numpy()
    assert (logits[:, 0] == 0).all()
    np.testing.assert_allclose(logits[:, 1], model.decision_function(X), atol=1e-5)


@pytest.mark.parametrize("seen", [(1, 3), (0, 2, 3)])
def test_classes_that_were_never_seen_are_ruled_out(seen: tuple[int, ...]) -> None:
    X = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    model = SoftmaxRegression().fit(X, np.array(seen)[np.arange(60) % len(seen)])
    head = linear_from_softmax(model, n_classes=5)
    probabilities = torch.softmax(head(torch.from_numpy(X)), 1).detach().numpy()
    np.testing.assert_allclose(probabilities[:, seen], model.predict_proba(X), atol=1e-6)
    assert (np.delete(probabilities, seen, axis=1) == 0).all()


def test_softmax_without_intercept_has_a_bias_of_zero() -> None:
    X = np.random.default_rng(0).normal(size=(60, 3))
    head = linear_from_softmax(SoftmaxRegression(fit_intercept=False).fit(X, np.arange(60) % 3))
    assert (head.bias == 0).all()


def test_linear_head_and_its_convolution() -> None:
    assert make_head(HeadSpec(), 7, 3).state_dict()["weight"].shape == (3, 7)
    head = make_head(HeadSpec(), 7, 3, convolution=True)
    assert isinstance(head, nn.Conv2d)
    assert tuple(head(torch.zeros(2, 7, 4, 5)).shape) == (2, 3, 4, 5)


def test_attaching_replaces_the_classifier_wherever_it_stands() -> None:
    backbone = resolve("mobilenet_v2", weights="random:0")
    head = make_head(HeadSpec(), backbone.head_width, 3)
    module = attach(backbone.module(), backbone.head, head)
    assert module.get_submodule(backbone.head) is head
    with torch.inference_mode():
        assert tuple(module(torch.zeros(2, 3, 32, 32)).shape) == (2, 3)


def test_parameters_are_counted() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    module[0].requires_grad_(False)
    assert count_parameters(module) == {"total": 15 + 6 + 8, "trainable": 14, "frozen": 15}


def test_cached_logits_do_not_need_the_store() -> None:
    source, backbone = some_digits(30), resolve("lenet5", weights="random:0", channels=1)
    features = compute(source, backbone, ["relu4"])["relu4"]
    model = SoftmaxRegression().fit(features, source.labels)
    whole = logits_of(attach(backbone.module(), "fc3", linear_from_softmax(model)), backbone, source)
    np.testing.assert_allclose(whole, model.decision_function(features), atol=1e-4)
