"""Layers are read from texts once, where they come in; networks are built, and first images looked at, once as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import LayerSpec
from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.specs import ExtractConfig
from featx.data.arrays import ArraySource
from featx.extraction.compute import Networks, compute, expand_layers
from featx.extraction.extract import ExtractResult, extract
from featx.models.backbone import Backbone
from featx.models.backbones import resolve

CONFIG = ExtractConfig(device="cpu", workers=1, batch_size=4)
LAYERS = (LayerSpec("conv1", "avg"), LayerSpec("pool2"), LayerSpec("relu4"))


class Watched(ArraySource):
    """Ten images of 32 px that count how often the first one is taken."""

    def __init__(self) -> None:
        super().__init__(np.random.default_rng(0).integers(0, 256, (10, 32, 32, 1), np.uint8))
        self.firsts = 0

    def __getitem__(self, row: int) -> Any:
        self.firsts += row == 0
        return super().__getitem__(row)


def lenet5(**how: Any) -> Backbone:
    return resolve("lenet5", weights="random:0", channels=1, **how)


def go(source: ArraySource, backbone: Backbone, layers: Any, home: Path) -> ExtractResult:
    return extract({"all": source}, backbone, layers, FeatureStore(home), CONFIG)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were read as layers."""
    found: list[str] = []
    parse = LayerSpec.parse

    def noted(text: str) -> LayerSpec:
        found.append(text)
        return parse(text)

    monkeypatch.setattr(LayerSpec, "parse", noted)
    return found


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the networks that were built."""
    found: list[str] = []
    module = Backbone.module

    def noted(self: Backbone) -> Any:
        found.append(self.name)
        return module(self)

    monkeypatch.setattr(Backbone, "module", noted)
    return found


def test_layers_are_no_texts_on_their_way(tmp_path: Path, parsed: list[str]) -> None:
    source, backbone, texts = Watched(), lenet5(), [str(layer) for layer in LAYERS]
    first = go(source, backbone, LAYERS, tmp_path)
    assert parsed == texts  # of the plan that the store keeps, from which another process may go on
    again = go(source, backbone, LAYERS, tmp_path)
    computed = compute(source, backbone, LAYERS, CONFIG)
    assert parsed == texts
    assert list(first.tables) == list(again.tables) == [("all", text) for text in texts]
    assert [line["layer"] for line in first.layers] == list(computed) == texts


def test_texts_and_layers_mean_the_same(tmp_path: Path, parsed: list[str]) -> None:
    mixed = ["pool2", LayerSpec("conv1", "avg"), "conv1:avg1", LayerSpec("pool2"), "pool2:flat"]
    source, backbone = Watched(), lenet5()
    computed = compute(source, backbone, mixed, CONFIG)
    assert parsed == ["pool2", "conv1:avg1", "pool2:flat"]
    stored = go(source, backbone, mixed, tmp_path)
    assert list(computed) == [layer for _, layer in stored.tables] == ["pool2", "conv1:avg"]
    for (_, layer), table in stored.tables.items():
        np.testing.assert_array_equal(computed[layer], np.asarray(table.X))


def test_the_part_of_one_layer_is_its_tables_and_lines(tmp_path: Path) -> None:
    whole = go(Watched(), lenet5(), LAYERS, tmp_path)
    part = whole.only("pool2")
    assert list(part.tables) == [("all", "pool2")]
    assert [line["layer"] for line in part.layers] == ["pool2"]
    assert (part.seconds, part.device, part.batch_size) == (whole.seconds, whole.device, whole.batch_size)
    assert len(whole.tables) == len(whole.layers) == 3


def test_a_pattern_and_the_filling_share_one_network(tmp_path: Path, built: list[str]) -> None:
    backbone = lenet5()
    found = go(Watched(), backbone, ["conv*:avg", "pool2", "relu*"], tmp_path)
    assert built == ["lenet5"]
    layers = [layer for _, layer in found.tables]
    assert layers == ["conv1:avg", "conv2:avg", "pool2", "relu1", "relu2", "relu3", "relu4"]
    again = go(Watched(), backbone, ["conv*:avg", "pool2", "relu*"], tmp_path)
    assert built == ["lenet5"]
    assert [layer for _, layer in again.tables] == layers


def test_a_network_is_built_for_each_shape_of_images_once(built: list[str]) -> None:
    networks = Networks(lenet5())
    assert built == []
    first, other = networks.of((1, 32, 32)), networks.of((1, 36, 36))
    assert (first.shape, other.shape) == ((1, 32, 32), (1, 36, 36))
    assert networks.of((1, 32, 32)) is first
    assert built == ["lenet5", "lenet5"]


def test_layers_without_a_pattern_stay_what_they_are(tmp_path: Path, built: list[str]) -> None:
    source = Watched()
    found = expand_layers(LAYERS, source, Networks(lenet5(resize="none")), Memo(tmp_path))
    assert all(one is given for one, given in zip(found, LAYERS, strict=True))
    assert (built, source.firsts) == ([], 0)


@pytest.mark.parametrize("layers", [["conv1:avg", "pool2"], ["conv*:avg", "relu*"]])
def test_the_first_image_is_decoded_once_for_its_shape_and_once_for_its_features(
    layers: list[str], tmp_path: Path
) -> None:
    source, backbone = Watched(), lenet5(resize="none")
    assert backbone.preprocess.crop is None
    go(source, backbone, layers, tmp_path)
    assert source.firsts == 2
    go(source, backbone, layers, tmp_path)
    assert source.firsts == 2


def test_a_given_size_needs_no_image(tmp_path: Path) -> None:
    source, backbone = Watched(), lenet5(size=32)
    assert backbone.preprocess.crop == 32
    go(source, backbone, ["conv*:avg"], tmp_path)
    assert source.firsts == 1
