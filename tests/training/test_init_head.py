"""A head begun as a fitted softmax regression gives that regression's predictions before it learns anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import parts, some_digits

from featx.cache.store import FeatureStore
from featx.core.run_folder import BLIND_FILE, MODEL_FILE, Runs
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.splits import Partition
from featx.errors import FeatxWarning, OptionError, StoreError
from featx.models.backbones import Backbone, resolve
from featx.portable import read_model
from featx.probes.config import FitConfig
from featx.probes.probe import fit_probe
from featx.runs.record import new_run, record_fit, record_train
from featx.training.config import TrainConfig
from featx.training.init_head import begin_head
from featx.training.train import train
from featx.training.trainable import trainable_of

pytestmark = pytest.mark.usefixtures("one_thread")

PLAIN = FitConfig(standardize=True)
TINY = TrainConfig(mode="finetune", epochs=1, lr=1e-9, augment="none")


def digits(classes: int = 4) -> Partition:
    return parts(some_digits(80, tuple(range(classes))), 50, 10)


def network(name: str = "lenet5", seed: int = 0) -> Backbone:
    size = None if name == "lenet5" else 32
    return resolve(name, weights=f"random:{seed}", size=size, channels=1)


def fitted(home: Path, cut: Partition, backbone: Backbone, layer: str, config: FitConfig = PLAIN) -> dict[str, Any]:
    spec = LayerSpec.parse(layer)
    with new_run(home, "fit", ["featx"]) as run:
        result = fit_probe(cut, backbone, spec, FeatureStore(home), ExtractConfig(), config)
        return record_fit(run, cut, backbone, spec, ExtractConfig(), result)


@pytest.mark.parametrize(
    ("name", "layer", "head"),
    [
        ("lenet5", "relu4", "linear"),
        ("lenet5", "pool2", "flat-linear"),
        ("resnet18", "layer4:avg", "linear"),
    ],
)
def test_training_begins_where_the_fit_ended(tmp_path: Path, name: str, layer: str, head: str) -> None:
    cut, backbone = digits(), network(name)
    record = fitted(tmp_path, cut, backbone, layer)
    for mode in ("finetune", "frozen"):
        config = TrainConfig(mode=mode, head=head, init_head=record["run"], epochs=1, lr=1e-9, augment="none")
        result = train(cut, backbone, config, runs=Runs(tmp_path))
        if mode == "frozen" or name == "lenet5":  # batch norms of a base that trains move even so
            assert result.scores["test"].accuracy == record["accuracy"]["test"]
            assert result.scores["test"].loss == pytest.approx(record["loss"]["test"], rel=1e-4)
        assert record["loss"]["train"] < 1  # a fresh head's is ln 4 = 1.39


def test_a_head_begun_as_a_sweep_has_not_seen_the_rows_that_choose_an_epoch(tmp_path: Path) -> None:
    cut, backbone = digits(), network()
    record = fitted(tmp_path, cut, backbone, "relu4", FitConfig(sweep="clip"))
    config = replace(TINY, init_head=record["run"])
    result = train(cut, backbone, config, runs=Runs(tmp_path))
    blind = read_model(tmp_path / "runs" / record["run"] / BLIND_FILE)
    assert result.scores["val"].accuracy == record["accuracy"]["val"]
    weight = result.module.get_parameter("fc3.weight").detach().numpy()
    assert np.allclose(weight, blind.coef, atol=1e-5)
    assert not np.allclose(weight, read_model(tmp_path / "runs" / record["run"] / MODEL_FILE).coef, atol=1e-5)


def test_a_sweep_of_an_older_featx_is_warned_of(tmp_path: Path) -> None:
    cut, backbone = digits(), network()
    record = fitted(tmp_path, cut, backbone, "relu4", FitConfig(sweep="clip"))
    (tmp_path / "runs" / record["run"] / BLIND_FILE).unlink()
    with pytest.warns(FeatxWarning, match="has learnt from validation rows"):
        train(cut, backbone, replace(TINY, init_head=record["run"]), runs=Runs(tmp_path))


def refuse(home: Path, run: str, cut: Partition, backbone: Backbone, match: str, **options: Any) -> None:
    with pytest.raises(OptionError, match=match):
        train(cut, backbone, TrainConfig(mode="finetune", init_head=run, epochs=1, **options), runs=Runs(home))


def test_what_does_not_belong_together_is_refused_by_name(tmp_path: Path) -> None:
    cut = digits()
    run = fitted(tmp_path, cut, network(), "relu4")["run"]
    refuse(tmp_path, run, digits(3), network(), "classes was")
    refuse(tmp_path, run, cut, network(seed=1), "weights_sha256")
    refuse(tmp_path, run, cut, network("shufflenet_v2_x0_5"), "backbone was lenet5, now shufflenet_v2_x0_5")
    refuse(tmp_path, run, cut, network(), "fitted on layer relu4, and the head is given pool2", head="flat-linear")
    refuse(tmp_path, "20200101", cut, network(), "no finished run")


def test_other_runs_have_no_head_and_a_fit_needs_its_model(tmp_path: Path) -> None:
    cut, backbone = digits(), network()
    record = fitted(tmp_path, cut, backbone, "relu4")
    trainable = trainable_of(backbone, TINY, 4, (1, 32, 32))
    run = Runs(tmp_path).open(record["run"])
    begin_head(trainable, run, backbone, "linear", cut.classes, (1, 32, 32))
    assert torch.isfinite(trainable.head.get_parameter("weight")).all()
    assert np.isfinite(record["loss"]["test"])
    (run.path / MODEL_FILE).unlink()
    with pytest.raises(StoreError, match=MODEL_FILE):
        begin_head(trainable, run, backbone, "linear", cut.classes, (1, 32, 32))
    other = Runs(tmp_path).new("demo", ["featx"])
    other.write({"accuracy": {}})
    with pytest.raises(OptionError, match="expected a fit"):
        begin_head(trainable, other, backbone, "linear", cut.classes, (1, 32, 32))


def trained(home: Path, cut: Partition, backbone: Backbone, config: TrainConfig) -> dict[str, Any]:
    with new_run(home, "train", ["featx"]) as run:
        result = train(cut, backbone, config, runs=Runs(home))
        return record_train(run, cut, backbone, config, result)


@pytest.mark.parametrize("head", ["linear", "mlp:8:dropout=0.5", "flat-mlp:8"])
def test_fine_tuning_begins_where_a_frozen_training_ended(tmp_path: Path, head: str) -> None:
    cut, backbone = digits(), network()
    config = TrainConfig(mode="frozen", head=head, epochs=30, optimizer="adam", lr=0.02, augment="none")
    before = trained(tmp_path, cut, backbone, config)
    after = train(cut, backbone, replace(TINY, head=head, init_head=before["run"]), runs=Runs(tmp_path))
    fresh = train(cut, backbone, replace(TINY, head=head))
    assert after.scores["test"].loss == pytest.approx(before["loss"]["test"], rel=1e-4)
    assert fresh.scores["test"].loss != pytest.approx(before["loss"]["test"], rel=1e-2)
    refuse(tmp_path, before["run"], cut, backbone, "head was .*, now mlp:9", head="mlp:9")
    refuse(tmp_path, before["run"], digits(3), backbone, "classes was", head=head)
    refuse(tmp_path, before["run"], cut, network(seed=1), "weights_sha256", head=head)


@pytest.mark.parametrize("head", ["linear", "flat-linear"])
def test_a_trained_network_goes_on_with_its_own_head(tmp_path: Path, head: str) -> None:
    cut = digits()
    before = trained(
        tmp_path, cut, network(), TrainConfig(mode="scratch", head=head, epochs=15, optimizer="adam", augment="none")
    )
    own = resolve(f"run:{before['path']}", channels=1)
    after = train(cut, own, replace(TINY, head=head, init_head=before["run"]), runs=Runs(tmp_path))
    fresh = train(cut, own, replace(TINY, head=head))
    assert fresh.scores["test"].loss != pytest.approx(before["loss"]["test"], rel=1e-2)
    assert after.scores["test"].loss == pytest.approx(before["loss"]["test"], rel=1e-4)
    refuse(tmp_path, before["run"], cut, network(), "mode was scratch, now frozen", head=head)


def test_a_head_is_looked_for_where_the_features_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "elsewhere"))
    cut, backbone = digits(), network()
    before = trained(tmp_path, cut, backbone, replace(TINY, mode="frozen", augment="none"))
    config = replace(TINY, init_head=before["run"])
    assert train(cut, backbone, config, store=FeatureStore(tmp_path)).history
    with pytest.raises(OptionError, match=before["run"]):
        train(cut, backbone, config)
