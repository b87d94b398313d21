"""Heads on frozen bases learn by default, whatever the size of the features; what did not learn is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from drawn import some_digits

from featx import EndToEndClassifier
from featx.cli.main import cli
from featx.core.run_folder import Runs
from featx.errors import FeatxWarning
from featx.models.state_dict import read_state

pytestmark = pytest.mark.usefixtures("one_thread")

SCALES = (1e-4, 1.0, 1e6)
HEADS = ("linear", "mlp:64", "flat-linear", "flat-mlp:64:dropout=0.2")

NETWORK = '''
import torch
from torch import nn

class Scaled(nn.Module):
    """Three convolutions, whose values are multiplied, and one of whose channels is louder than the others."""

    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
            nn.Conv2d(32, 48, 3), nn.ReLU()
        )
        self.gain = nn.Identity()
        self.register_buffer("scale", torch.full((48, 1, 1), scale))
        self.scale[0] *= 1000
        self.pool = nn.AdaptiveAvgPool2d(2)
        self.fc = nn.Linear(48 * 4, 10)

    def forward(self, x):
        x = self.gain(self.features(x) * self.scale)
        return self.fc(torch.flatten(self.pool(x), 1))

def tiny(): return Scaled(1e-4)
def plain(): return Scaled(1.0)
def huge(): return Scaled(1e6)
'''
FACTORIES = dict(zip(SCALES, ("tiny", "plain", "huge"), strict=True))


@pytest.fixture
def networks(tmp_path: Path) -> dict[float, str]:
    (tmp_path / "scaled.py").write_text(NETWORK)
    return {scale: f"{tmp_path / 'scaled.py'}:{name}" for scale, name in FACTORIES.items()}


def fitted(network: str, head: str, **options: Any) -> EndToEndClassifier:
    how = {"mode": "frozen", "size": 8, "weights": "random:0", **options}
    return EndToEndClassifier(network, head=head, **how).fit(TRAIN, TRAIN.labels)


TRAIN, TEST = some_digits(400), some_digits(900, seed=0).subset(np.arange(400, 900))


@pytest.mark.filterwarnings("error:worse than guessing")
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("head", HEADS)
def test_a_head_learns_alike_from_features_of_any_size(networks: dict[float, str], head: str, optimizer: str) -> None:
    found = {scale: fitted(networks[scale], head, optimizer=optimizer) for scale in SCALES}
    right = {scale: model.score(TEST, TEST.labels) for scale, model in found.items()}
    assert min(right.values()) > 0.8
    assert max(right.values()) - min(right.values()) < 0.03


@pytest.mark.filterwarnings("error:worse than guessing")
@pytest.mark.parametrize("options", [{"augment": "crop"}, {"mixup": 0.2}, {"accumulate": 2}, {"batch_size": 5}])
def test_so_it_does_on_images_and_in_other_batches(networks: dict[float, str], options: dict[str, Any]) -> None:
    right = [fitted(networks[scale], "flat-mlp:64", epochs=4, **options).score(TEST, TEST.labels) for scale in SCALES]
    assert min(right) > 0.5
    assert max(right) - min(right) < 0.06


def test_a_resnet_50_with_random_weights_is_learnt_from() -> None:
    how = ("--mode", "frozen", "--head", "flat-mlp:512", "--size", "32", "--limit", "400", "--epochs", "5")
    record = train("digits", "-b", "resnet50", "--weights", "random:0", *how)
    assert record["accuracy"]["test"] > 0.7  # the loss was 9,149,552 on all digits
    assert record["loss"]["test"] < 1
    assert record["notes"] == []


def test_what_is_kept_is_a_plain_head_that_predicts_what_was_scored(networks: dict[float, str]) -> None:
    for network in networks.values():
        how = ("--weights", "random:0", "--mode", "frozen", "--size", "8", "--head", "mlp:16")
        run = Runs().open(train("digits", "-b", network, *how)["run"])
        heads = {name for name in read_state(run.path / "model.safetensors") if name.startswith("fc.")}
        assert heads == {"fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias"}
        record = run.read()
        right = sum(np.trace(record["confusion"][part]) for part in ("train", "val", "test"))
        assert call("predict", run.id, "digits")["accuracy"] == pytest.approx(right / 1797, abs=1e-3)
        assert record["standardize"] is True


def test_without_learning_a_head_is_what_it_was_begun_as(networks: dict[float, str]) -> None:
    for network in networks.values():
        common = ("digits", "--limit", "300", "-b", network, "--weights", "random:0", "--size", "8")
        fit = call("fit", *common, "-l", "pool")
        how = ("--mode", "frozen", "--lr", "1e-12", "--epochs", "1", "--init-head", fit["run"])
        record = train(*common, *how)
        assert record["accuracy"]["test"] == fit["accuracy"]["test"]
        assert record["loss"]["test"] == pytest.approx(fit["loss"]["test"], rel=1e-3)


def test_a_loss_above_that_of_guessing_is_said_everywhere(networks: dict[float, str]) -> None:
    how = ("--weights", "random:0", "--mode", "frozen", "--size", "8", "--lr", "1e4", "--limit", "300")
    result = CliRunner().invoke(cli, ["train", "digits", "-b", networks[1.0], *how, "--json"])
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    said = "worse than guessing by class frequency: train loss"
    assert said in result.stderr
    assert any(said in note and "another --lr than 10000" in note for note in record["notes"])
    assert Runs().open(record["run"]).read()["notes"] == record["notes"]
    with pytest.warns(FeatxWarning, match=said):
        fitted(networks[1.0], "linear", lr=1e4)


def test_a_recipe_that_diverges_in_a_fit_is_said_too(networks: dict[float, str]) -> None:
    common = ("digits", "--limit", "300", "-b", networks[1e6], "--weights", "random:0", "--size", "8", "-l", "pool")
    found = call("fit", *common, "--sweep", "simclr-sgd")
    assert any("worse than guessing" in note for note in found["notes"])
    assert call("fit", *common)["notes"] == []


def test_squeezenets_convolution_is_standardised_too() -> None:
    how = ("--mode", "frozen", "--size", "32", "--epochs", "8")
    record = train("digits", "-b", "squeezenet1_1", "--weights", "random:0", *how)
    assert record["accuracy"]["test"] > 0.5
    assert not record["cached"]


def test_features_without_any_variation_leave_the_shares_of_the_classes() -> None:
    X, y = np.zeros((60, 8, 8), np.uint8), np.arange(60) % 2
    model = EndToEndClassifier("lenet5", mode="frozen", weights="random:0", epochs=2).fit(X, y)
    assert np.isfinite(model.decision_function(X)).all()


def test_the_dead_and_the_rare_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "scaled.py").write_text(NETWORK)
    X = TRAIN.images.copy()
    X[0] = 255  # one image unlike all others
    model = EndToEndClassifier(f"{tmp_path / 'scaled.py'}:huge", mode="frozen", size=8, weights="random:0", epochs=5)
    assert model.fit(X, TRAIN.labels).score(TEST, TEST.labels) > 0.6
    assert all(torch.isfinite(tensor).all() for tensor in model.module_.state_dict().values())


def train(*args: str) -> Any:
    return call("train", *args)


def call(*args: str) -> Any:
    result = CliRunner().invoke(cli, [*args, "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
