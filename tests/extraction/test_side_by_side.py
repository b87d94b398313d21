"""Passes side by side give what one gives, in order, to the bit whatever the threads, and end with their caller."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from featx.core.rng import LOCK
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.arrays import ArraySource
from featx.errors import FeatureError, ImageError
from featx.extraction import side_by_side
from featx.extraction.compute import activations, compute
from featx.extraction.forward import Forward, Network
from featx.extraction.side_by_side import SideBySide, pays
from featx.models.backbones import resolve

LAYERS = ("layer1:avg", "layer4:avg")
N = 150


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def source() -> ArraySource:
    images = np.random.default_rng(0).integers(0, 256, (N, 32, 32, 3)).astype(np.uint8)
    return ArraySource(images, np.zeros(N, np.int64))


@pytest.fixture(scope="module")
def backbone() -> Any:
    return resolve("resnet18", weights="random:0", size=32)


def features(source: Any, backbone: Any, threads: int, **how: Any) -> dict[str, Any]:
    torch.set_num_threads(threads)
    return compute(source, backbone, list(LAYERS), ExtractConfig(batch_size=16, **how))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_rows_do_not_depend_on_the_threads(source: Any, backbone: Any, precision: Any) -> None:
    two, five = (features(source, backbone, n, precision=precision) for n in (2, 5))
    for name in LAYERS:
        assert two[name].tobytes() == five[name].tobytes()


def test_rows_are_those_of_one_pass(source: Any, backbone: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = features(source, backbone, 2)
    monkeypatch.setattr(side_by_side, "LARGEST", 0)
    alone = features(source, backbone, 2)
    for name in LAYERS:
        np.testing.assert_allclose(found[name], alone[name], rtol=1e-5, atol=1e-5 * np.abs(alone[name]).max())


def test_large_images_one_thread_and_networks_with_hooks_pass_alone(backbone: Any) -> None:
    torch.set_num_threads(2)
    network = Network(backbone, (3, 32, 32))
    forward = Forward(network, [LayerSpec.parse(LAYERS[0])], (), torch.device("cpu"), "fp32")
    plain = Forward(network, [LayerSpec.parse(LAYERS[0])], (), torch.device("cpu"), "fp32", fused=False)
    assert pays(forward, (3, 32, 32))
    assert not pays(forward, (3, 224, 224))
    assert not pays(plain, (3, 32, 32))
    torch.set_num_threads(1)
    assert not pays(forward, (3, 32, 32))


def test_a_caller_that_draws_random_numbers_does_not_wait_for_itself(backbone: Any) -> None:
    torch.set_num_threads(2)
    network = Network(backbone, (3, 32, 32))
    team = SideBySide(Forward(network, [LayerSpec.parse(LAYERS[0])], (), torch.device("cpu"), "fp32"))
    with LOCK:  # as a training has it, whose frozen base is computed now
        begun = team._pool.submit(team._forward, np.zeros((4, 32, 32, 3), np.uint8))
        assert begun.result(timeout=60).rows()[0].shape == (4, 64)
    team.close()


def test_threads_end_when_the_caller_stops_or_an_image_is_broken(source: Any, backbone: Any) -> None:
    torch.set_num_threads(2)
    network, specs = Network(backbone, (3, 32, 32)), [LayerSpec.parse(LAYERS[0])]
    batches = np.split(np.arange(N), range(10, N, 10))
    begun = activations(source, network, specs, (), batches, ExtractConfig())
    next(begun)
    assert threads_left()
    begun.close()
    assert threads_left() == set()


def test_a_pass_that_fails_is_told_after_those_before_it(backbone: Any) -> None:
    torch.set_num_threads(2)
    network, specs = Network(backbone, (3, 32, 32)), [LayerSpec.parse(LAYERS[0])]
    team = SideBySide(Forward(network, specs, (), torch.device("cpu"), "fp32"))
    good, bad = np.zeros((4, 32, 32, 3), np.uint8), np.zeros((4, 32, 32, 5), np.uint8)
    try:
        pending = [team(good), team(good)]
        with pytest.raises(RuntimeError):
            team(bad).rows()
        assert all(one.rows()[0].shape == (4, 64) for one in pending)
    finally:
        team.close()


def threads_left() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("featx-forward")}


def test_values_that_are_no_numbers_are_still_told(source: Any, tmp_path: Any) -> None:
    torch.set_num_threads(2)
    broken = resolve("resnet18", weights="random:0", size=32)
    state = broken.module().state_dict()
    state["layer1.0.conv1.weight"][0] = float("nan")
    file = tmp_path / "broken.pth"
    torch.save(state, file)
    with pytest.raises((FeatureError, ImageError), match="NaN or infinite"):
        features(source, resolve("resnet18", weights=str(file), size=32), 2)
