"""``--stem cifar``: what the first layers become, whose weights fit them, and that a key tells them apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.arrays import ArraySource
from featx.errors import OptionError, WeightsError
from featx.extraction.extract import feature_key
from featx.extraction.extractor import FeatureExtractor
from featx.graph.traced import Traced
from featx.models import torchvision_models
from featx.models.backbones import Backbone, resolve
from featx.training.end_to_end import EndToEndClassifier


def digest(backbone: Backbone) -> str:
    source = ArraySource(np.zeros((2, 8, 8, 3), np.uint8))
    return feature_key(source, backbone, LayerSpec("conv1"), ExtractConfig()).digest


def on_paper(name: str) -> nn.Module:
    with torch.device("meta"):
        return torchvision_models.build(name, {"stem": "cifar"}).eval()


@pytest.mark.parametrize("name", ["resnet18", "resnet152", "resnext50_32x4d", "wide_resnet50_2"])
def test_stem_keeps_the_images_size_and_the_nodes_names(name: str) -> None:
    nodes = Traced(on_paper(name)).describe((3, 32, 32))
    assert nodes["conv1"].shape == nodes["maxpool"].shape == (64, 32, 32)
    assert nodes["layer4"].shape[1:] == (4, 4)
    with torch.device("meta"):
        plain = Traced(torchvision_models.build(name, {}).eval())
    assert plain.names() == list(nodes)
    assert on_paper(name).get_submodule("conv1").bias is None


def test_first_convolution_is_drawn_as_torchvision_draws_the_others() -> None:
    conv1 = torchvision_models.build("resnet18", {"stem": "cifar"}).get_parameter("conv1.weight")
    assert conv1.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.1)


def test_key_and_options_tell_it_apart() -> None:
    plain, stem = resolve("resnet18", weights="random:0"), resolve("resnet18", weights="random:0", stem="cifar")
    assert (plain.options, stem.options) == ({}, {"stem": "cifar"})
    assert digest(plain) != digest(stem)
    assert stem.module().get_parameter("conv1.weight").shape == (64, 3, 3, 3)
    assert stem == resolve("resnet18", weights="random:0", stem="cifar")


def test_published_weights_are_refused_before_anything_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.models.torchvision_models.fetch", lambda enum: pytest.fail("looked for the file"))
    for weights in ("DEFAULT", "IMAGENET1K_V1"):
        with pytest.raises(OptionError, match="7 x 7 conv1") as caught:
            resolve("resnet18", weights=weights, stem="cifar")
        for way_out in ("random:0", "mode='scratch'"):
            assert way_out in caught.value.hint


def test_file_must_have_the_stem_that_was_asked_for(tmp_path: Path) -> None:
    files = {}
    for stem, options in ((None, {}), ("cifar", {"stem": "cifar"})):
        files[stem] = tmp_path / f"{stem}.pth"
        torch.save(torchvision_models.build("resnet18", options).state_dict(), files[stem])
    assert resolve("resnet18", weights=str(files["cifar"]), stem="cifar").left_out == ()
    for stem, other in ((None, "cifar"), ("cifar", None)):
        with pytest.raises(WeightsError, match=r"conv1.weight is \(64, 3, .*\), expected") as caught:
            resolve("resnet18", weights=str(files[other]), stem=stem)
        assert "stem=" in caught.value.hint


@pytest.mark.parametrize("name", ["vgg16", "lenet5", "pixels", "timm:resnet18", "resnet18.py:make", "mobilenet_v1"])
def test_other_networks_refuse_it_by_name(name: str) -> None:
    with pytest.raises(OptionError, match="torchvision's ResNets") as caught:
        resolve(name, weights="random:0", stem="cifar")
    assert "resnet18" in caught.value.hint


def test_it_takes_32_px_unless_told_otherwise() -> None:
    found = resolve("resnet18", weights="random:0", stem="cifar").preprocess
    assert (found.resize, found.crop) == (32, 32)
    assert resolve("resnet18", weights="random:0", stem="cifar", size=48).preprocess.crop == 48


def test_unknown_stem_is_refused() -> None:
    with pytest.raises(OptionError, match="cifar"):
        resolve("resnet18", weights="random:0", stem="svhn")


@pytest.mark.usefixtures("one_thread")
def test_python_classes_take_it() -> None:
    X = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    how = {"size": 16, "stem": "cifar", "device": "cpu"}
    rows = FeatureExtractor("resnet18", "maxpool", weights="random:0", **how).fit_transform(X)
    assert rows.shape == (6, 64 * 16 * 16)
    model = EndToEndClassifier("resnet18", mode="scratch", epochs=1, batch_size=3, **how).fit(X, np.arange(6) % 2)
    assert model.module_.get_parameter("conv1.weight").shape == (64, 3, 3, 3)
