"""What a GPU gives is what the CPU gives: features, a network trained on it, neighbours; and its memory may run out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from drawn import drawn, parts

from featx.core.specs import ExtractConfig, Views
from featx.data.arrays import ArraySource
from featx.errors import FeatxWarning
from featx.extraction.compute import compute
from featx.models.backbones import resolve
from featx.probes.knn import KNNProbe
from featx.training.config import MODES, Mode, TrainConfig
from featx.training.train import train

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
GPU = "cuda"


def noise(n: int, px: int) -> ArraySource:
    return ArraySource(np.random.default_rng(7).integers(0, 256, (n, px, px, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "px", "layer"),
    [
        ("resnet18", 64, "layer2"),
        ("vgg16", 64, "features.30:avg"),
        ("vit_b_16", 224, "encoder:cls"),
    ],
)
def test_features_are_the_cpus(name: str, px: int, layer: str) -> None:
    source, backbone = noise(6, px), resolve(name, weights="random:0", size=px)
    config = ExtractConfig(batch_size=4, device=GPU)
    (right,) = compute(source, backbone, [layer], replace(config, device="cpu")).values()
    for precision, tolerance in (("fp32", 1e-4), ("bf16", 0.1), ("fp16", 0.02)):
        (found,) = compute(source, backbone, [layer], replace(config, precision=precision)).values()
        assert np.abs(found - right).max() <= tolerance * np.abs(right).max(), precision


def test_the_mean_over_views_and_mirror_images_is_the_cpus() -> None:
    source, backbone = noise(6, 64), resolve("resnet18", weights="random:0", size=64, views=Views(5, scales=(1, 1.5)))
    found, right = (compute(source, backbone, ["avgpool"], ExtractConfig(device=d))["avgpool"] for d in (GPU, "cpu"))
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-4 * np.abs(right).max())


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Let this process use no more than 1 GiB of the GPU's memory."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((1 << 30) / torch.cuda.get_device_properties(0).total_memory)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.usefixtures("little_memory")
def test_where_its_memory_runs_out_the_batches_become_smaller_and_the_features_stay() -> None:
    source, backbone = noise(512, 224), resolve("resnet18", weights="random:0", size=224)
    with pytest.warns(FeatxWarning, match="out of memory with 512 images"):
        found = compute(source, backbone, ["avgpool"], ExtractConfig(batch_size=512, device=GPU))["avgpool"]
    right = compute(source, backbone, ["avgpool"], ExtractConfig(batch_size=16, device=GPU))["avgpool"]
    np.testing.assert_allclose(found, right, rtol=0, atol=1e-4 * np.abs(right).max())


@pytest.mark.parametrize("mode", MODES)
def test_training_begins_as_on_the_cpu_and_ends_there(mode: Mode) -> None:
    config = TrainConfig(mode=mode, epochs=2, batch_size=4, augment="none", device=GPU)
    backbone = resolve("resnet18", weights="random:0", size=32)
    found, right = (
        train(parts(drawn(14, 2), 8, 3), backbone, replace(config, device=device)) for device in (GPU, "cpu")
    )
    assert found.device.startswith("cuda")
    assert {p.device.type for p in found.module.parameters()} == {"cpu"}
    assert found.history[0]["train_loss"] == pytest.approx(right.history[0]["train_loss"], rel=0.05)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_training_in_half_precision_learns_something(precision: str) -> None:
    config = TrainConfig(mode="scratch", epochs=8, batch_size=8, lr=0.005, augment="none", device=GPU)
    result = train(
        parts(drawn(64, 2), 56, 4),
        resolve("resnet18", weights="random:0", size=32),
        replace(config, precision=precision),
    )
    assert result.history[-1]["train_loss"] < result.history[0]["train_loss"]


def test_neighbours_are_the_cpus() -> None:
    X, y = np.random.default_rng(0).normal(size=(20, 3)), np.arange(20) % 2
    found, right = (KNNProbe(3, device=device).fit(X, y).predict_proba(X) for device in (GPU, "cpu"))
    np.testing.assert_allclose(found, right, rtol=1e-5)
