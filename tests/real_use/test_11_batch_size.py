"""Batch size changes the last bits of features, and every place that speaks of it says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from lively import lively

from featx import FeatureExtractor
from featx.cache.key import FeatureKey
from featx.cli.main import cli
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.arrays import ArraySource
from featx.extraction.compute import compute
from featx.extraction.extract import feature_key
from featx.models.backbones import resolve

LARGEST = 5e-6
"""A few 1e-6, as the documentation says: relative to the largest value, in fp32."""


@pytest.mark.parametrize(("name", "layer"), [("densenet121", "features.norm5"), ("resnet18", "avgpool")])
def test_other_batches_differ_by_no_more_than_is_said(name: str, layer: str) -> None:
    source = ArraySource(np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), np.uint8))
    backbone = resolve(name, weights="random:0", size=32)
    lively(backbone.module())
    one, all_of_them = (compute(source, backbone, [layer], ExtractConfig(batch_size=n))[layer] for n in (1, 9))
    assert np.abs(one - all_of_them).max() <= LARGEST * np.abs(all_of_them).max()
    spec = LayerSpec(layer)
    keys = {feature_key(source, backbone, spec, ExtractConfig(batch_size=n)).digest for n in (1, 9)}
    assert len(keys) == 1


@pytest.mark.parametrize("text", [ExtractConfig.__doc__, FeatureExtractor.__doc__])
def test_the_python_documentation_says_so(text: str) -> None:
    assert "1e-6" in text
    assert "do not change what they are" not in text


def test_the_key_s_documentation_says_so() -> None:
    assert "affect the last bits" in str(FeatureKey.__doc__)


@pytest.mark.parametrize("command", ["extract", "fit"])
def test_the_help_says_so(command: str) -> None:
    said = " ".join(CliRunner().invoke(cli, [command, "--help"]).stdout.split())
    assert "affects rounding (in fp32 by a few 1e-6 of the largest value)" in said


def test_the_readme_says_so() -> None:
    text = " ".join((Path(__file__).resolve().parents[2] / "README.md").read_text().split())
    assert "Batch size, device and thread count are not part of it; they affect only rounding" in text
