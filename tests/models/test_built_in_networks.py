"""The networks that featx defines itself: LeNet-5, and the identity that gives an image's pixels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from featx.core.specs import IMAGENET_MEAN
from featx.models.backbones import resolve
from featx.models.built_in_networks import LeNet5, Pixels


@pytest.mark.parametrize("channels", [1, 3])
def test_lenet5_is_lecuns(channels: int) -> None:
    network = LeNet5(channels=channels)
    assert network(torch.zeros(2, channels, 32, 32)).shape == (2, 10)
    # 61,706 parameters in grey: 6*(25+1), 16*(6*25+1), 120*(400+1), 84*(120+1), 10*(84+1).
    assert sum(p.numel() for p in network.parameters()) == 61_706 + 150 * (channels - 1)


def test_lenet5_takes_the_sources_channels() -> None:
    grey, colour, many = (resolve("lenet5", weights="random:0", channels=n).preprocess for n in (1, 3, 4))
    assert (grey.resize, grey.crop, grey.channels) == (32, 32, 1)
    assert grey.mean == (pytest.approx(sum(IMAGENET_MEAN) / 3, abs=1e-3),)
    assert (colour.channels, colour.mean) == (3, IMAGENET_MEAN)
    assert many == colour


def test_lenet5_ends_in_its_classifier() -> None:
    found = resolve("lenet5", weights="random:0")
    assert (found.head, found.head_width) == ("fc3", 84)
    assert isinstance(found.module().get_submodule("fc3"), torch.nn.Linear)


def test_reading_a_file_for_lenet5_draws_no_random_numbers(tmp_path: Path) -> None:
    torch.save({"model": LeNet5().state_dict()}, tmp_path / "a.pth")
    torch.manual_seed(5)
    before = torch.get_rng_state()
    resolve("lenet5", weights=str(tmp_path / "a.pth"))
    assert torch.equal(torch.get_rng_state(), before)


def test_pixels_is_the_identity() -> None:
    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(Pixels()(x), x)


def test_pixels_have_the_sources_channels_and_nothing_to_remember(tmp_path: Path) -> None:
    from featx.cache.memo import Memo

    found = resolve("pixels", channels=5, memo=Memo(tmp_path))
    assert (found.weights, found.head, found.preprocess.channels) == ("none", "", 5)
    assert not list(tmp_path.iterdir())
