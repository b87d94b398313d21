"""Every node of a network can be named: RegNet's hyphens, and what users' own modules are called."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from without_weights import classifiers, names_that_do_not_come_back

from featx import FeatureExtractor
from featx.cli.main import cli
from featx.core.specs import LayerSpec
from featx.errors import FeatxWarning, OptionError

FAMILIES = sorted({re.split(r"[_\d]", name.replace("swin_v2", "swinv2").replace("regnet_y", "regnety"))[0]: name
                   for name in reversed(classifiers())}.values())  # fmt: skip
"""One network of each family; all of them: tests/benchmarks/node_names.py."""

ODD = '''
from torch import nn

def odd():
    """Modules may be called anything that has no dot."""
    names = ["block1-0", "3x3+bn", "stage(2)", "wide@2", "two words", "a*", "all"]
    layers = nn.ModuleDict({name: nn.Conv2d(3, 3, 1) for name in names})
    return nn.Sequential(in_order(layers), nn.Flatten(), nn.Linear(3 * 64, 2))

def in_order(layers):
    found = nn.Sequential()
    for name, layer in layers.items():
        found.add_module(name, layer)
    return found
'''


@pytest.mark.parametrize("name", FAMILIES)
def test_every_node_of_torchvisions_networks_has_a_name_that_leads_back_to_it(name: str) -> None:
    assert names_that_do_not_come_back(name) == []


def test_a_regnets_layers_are_extracted_by_name_and_by_pattern(tmp_path: Path) -> None:
    source = _images(tmp_path)
    common = ("extract", str(source), "-b", "regnet_x_400mf", "--weights", "random:0", "--size", "32", "--json")
    named = _json(*common, "-l", "trunk_output.block1.block1-0:avg", "-l", "trunk_output.block2.block2-1.activation")
    assert [line["layer"] for line in named["layers"] if line["split"] == "train"] == [
        "trunk_output.block1.block1-0:avg",
        "trunk_output.block2.block2-1.activation",
    ]
    matched = _json(*common, "-l", "trunk_output.block1.block1-*:avg")
    assert [line["reused"] for line in matched["layers"]] == [10, 4]


def test_a_regnets_pooled_bytes_are_listed(tmp_path: Path) -> None:
    found = _json("layers", "regnet_x_400mf", "--size", "32", "--json")
    one = next(line for line in found["layers"] if line["name"] == "trunk_output.block1.block1-0.proj.0")
    assert one["pooled_bytes"] == 4 * 32


@pytest.mark.parametrize("options", [("--head", "flat-linear"), ("--unfreeze-from", "trunk_output.block4.block4-0")])
def test_a_regnet_trains_from_a_named_block_and_predicts(tmp_path: Path, options: tuple[str, str]) -> None:
    source = _images(tmp_path)
    how = ("--mode", "finetune", "--epochs", "1", "--lr", "1e-4", "--size", "32", *options)
    record = _json("train", str(source), "-b", "regnet_x_400mf", "--weights", "random:0", *how, "--json")
    found = _json("predict", record["run"], str(source), "--json")
    assert len(found["predictions"]) == 14


def test_users_own_modules_may_be_called_almost_anything(tmp_path: Path, images: np.ndarray) -> None:
    network = _odd(tmp_path)
    plain = FeatureExtractor(network, ["0.block1-0", "0.3x3+bn", "0.stage(2)", "0.wide@2"], size=8, weights="random:0")
    assert plain.transform(images).shape == (4, 4 * 3 * 64)


@pytest.mark.parametrize("stored", [False, True])
def test_nodes_that_no_text_can_name_are_left_out_of_patterns_aloud(
    tmp_path: Path, images: np.ndarray, stored: bool
) -> None:
    network, home = _odd(tmp_path), tmp_path / "home"
    for _ in range(2):  # the second time is remembered, and must not be silent
        every = FeatureExtractor(network, "0.*:avg", size=8, weights="random:0", store=home if stored else None)
        with pytest.warns(FeatxWarning, match=r"2 of the layers .* left out: 0.two words, 0.a\*"):
            assert every.transform(images).shape == (4, 5 * 3)


def test_names_that_a_shell_or_a_path_would_cut_are_refused_in_words() -> None:
    for name in ("two words", "a/b", "a,b", "a;b", "", "a..b"):
        assert not LayerSpec.can_name(name)
        with pytest.raises(OptionError, match=r"not a node name, expected letters, digits, '_', '-'"):
            LayerSpec(name)


def test_brackets_and_hyphens_are_no_pattern() -> None:
    assert LayerSpec("block[0-9]").matches("block[0-9]")
    assert not LayerSpec("block[0-9]*").matches("block3")
    assert LayerSpec("block1-*").matches("block1-12")


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)


def _images(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for i in range(10 if split == "train" else 4):
            path = folder / "images" / split / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    return folder / "images"


def _odd(folder: Path) -> str:
    (folder / "odd.py").write_text(ODD)
    return f"{folder / 'odd.py'}:odd"


def _json(*args: str) -> dict:
    result = CliRunner().invoke(cli, args)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
