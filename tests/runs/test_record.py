"""What a run writes down: enough to know what was done, and to do it again."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import drawn, logits_of, parts, some_digits
from safetensors.numpy import load_file

from featx.cache.store import FeatureStore
from featx.core.run_folder import BLIND_FILE, MODEL_FILE, RECORD_FILE, Runs
from featx.core.specs import ExtractConfig, LayerSpec
from featx.data.splits import Partition
from featx.extraction.compute import compute
from featx.models import torchvision_models
from featx.models.backbones import resolve
from featx.models.head_spec import HeadSpec
from featx.models.heads import attach, make_head
from featx.portable import read_model
from featx.probes.config import FitConfig
from featx.probes.probe import fit_probe
from featx.reports.predictions import PREDICTIONS_FILE, TABLE_FILE
from featx.runs.record import CURVES, HISTORY_FILE, new_run, record_fit, record_train
from featx.training.config import TrainConfig
from featx.training.train import TrainResult, train

pytestmark = pytest.mark.usefixtures("one_thread")

SHARED = {
    *("run", "path", "source", "classes", "images", "rows", "splits", "fingerprints", "shared_with_test", "backbone"),
    *("weights", "weights_sha256", "preprocess", "precision", "seed", "accuracy", "loss", "confusion", "versions"),
    *("hardware", "seconds", "parameters", "kind", "command", "created", "id", "top5", "balanced_accuracy", "macro_f1"),
}
OF_FIT = SHARED | {
    *("layer", "C", "standardize", "fit_intercept", "tol", "max_iter", "converged", "gradient_norm", "objective"),
    *("n_iter", "columns", "bytes", "keys", "computed", "reused", "skipped", "model_classes", "extraction"),
}
OF_TRAIN = SHARED | {
    *("mode", "head", "epochs", "batch_size", "lr", "momentum", "weight_decay", "augment", "best_epoch", "history"),
    *("cached", "images_per_second", "device"),
}


FEW = FitConfig(C=0.25)


def fit_run(
    home: Path, cut: Partition, backbone_name: str = "lenet5", config: FitConfig = FEW
) -> tuple[Path, dict[str, Any]]:
    extraction = ExtractConfig(dtype="float16")
    backbone = resolve(backbone_name, weights="random:0", channels=cut.train.source.channels)
    layer = LayerSpec("pool2")
    with new_run(home, "fit", ["featx", "fit", "digits"]) as run:
        result = fit_probe(cut, backbone, layer, FeatureStore(home), extraction, config)
        record_fit(run, cut, backbone, layer, extraction, result)
    return run.path, run.read()


def train_run(home: Path, cut: Partition, name: str, **options: Any) -> tuple[Path, dict[str, Any], TrainResult]:
    config = TrainConfig(**{"mode": "finetune", "epochs": 2, "batch_size": 8, "augment": "none", **options})
    size = None if name == "lenet5" else 32
    backbone = resolve(name, weights="random:0", size=size, channels=cut.train.source.channels)
    with new_run(home, "train", ["featx", "train", "digits"]) as run:
        result = train(cut, backbone, config)
        record_train(run, cut, backbone, config, result)
    return run.path, run.read(), result


def test_a_sweep_also_keeps_the_model_that_has_not_seen_the_validation_rows(tmp_path: Path) -> None:
    cut = parts(some_digits(100), 70, 20)
    path, record = fit_run(tmp_path, cut, config=FitConfig(sweep="clip"))
    table = compute(
        cut.train.source, resolve("lenet5", weights="random:0", channels=1), ["pool2"], ExtractConfig(dtype="float16")
    )
    model, blind = (read_model(path / name) for name in (MODEL_FILE, BLIND_FILE))
    assert not np.allclose(model.coef, blind.coef)
    X, y = table["pool2"][cut.val.rows], cut.val.labels
    right = blind.predict(X) == np.array(record["classes"])[y]
    assert right.mean() == record["accuracy"]["val"]
    plain, _ = fit_run(tmp_path, cut)
    assert not (plain / BLIND_FILE).exists()


def test_fit_is_recorded_whole(tmp_path: Path) -> None:
    cut = parts(some_digits(100), 70, 20, seed=9)
    path, record = fit_run(tmp_path, cut)
    assert set(record) >= OF_FIT
    assert record["run"] == record["id"] == path.name
    assert record["path"] == str(path)
    assert record["kind"] == "fit"
    assert record["command"] == ["featx", "fit", "digits"]
    assert (record["source"], record["backbone"], record["layer"]) == ("digits", "lenet5", "pool2")
    assert record["C"] == 0.25
    assert record["seed"] == 9  # what the rows were chosen with
    asked = {"weights": "random:0", "stem": None, "size": None, "mean": None, "std": None, "resize": None}
    asked |= {"interpolation": None, "bits": None, "views": {"crops": 1, "flip": False, "scales": [1.0]}}
    how = {"precision": "fp32", "dtype": "float16", "batch_size": None, "device": "auto", "workers": None}
    assert record["extraction"] == asked | how | {"on_error": "raise"}
    assert record["rows"] == {"train": 70, "val": 20, "test": 10}
    assert record["images"] == 70
    assert set(record["accuracy"]) == set(record["loss"]) == {"train", "val", "test"}
    assert np.sum(record["confusion"]["test"]) == 10
    assert record["parameters"] == {"total": 4010, "trainable": 4010, "frozen": 0}
    assert record["fingerprints"] == {"all": cut.train.source.fingerprint()}
    assert {"python", "featx", "torch", "numpy"} <= set(record["versions"])
    assert (tmp_path / "features" / record["keys"]["all"]).is_dir()
    json.dumps(record, allow_nan=False)


def test_fitted_model_reloads_and_gives_the_same_logits(tmp_path: Path) -> None:
    source = some_digits(100)
    path, record = fit_run(tmp_path, parts(source, 70, 20))
    tensors = load_file(path / MODEL_FILE)
    X = compute(source, resolve("lenet5", weights="random:0", channels=1), ["pool2"])["pool2"].astype(np.float16)
    logits = X.astype(float) @ tensors["coef_"].T + tensors["intercept_"]
    predicted = np.array(record["model_classes"])[logits.argmax(1)]
    assert (predicted[90:] == source.labels[90:]).mean() == pytest.approx(record["accuracy"]["test"])
    loss = np.log(np.exp(logits).sum(1)) - logits[np.arange(100), source.labels]
    assert loss[90:].mean() == pytest.approx(record["loss"]["test"], rel=1e-3)


def test_two_classes_and_missing_ones_are_recorded_as_they_are(tmp_path: Path) -> None:
    source = some_digits(60, classes=(0, 1, 2))
    source = source.subset(np.argsort(source.labels == 1, kind="stable"))
    cut = parts(source, int((source.labels != 1).sum()), 0)
    path, record = fit_run(tmp_path, cut)
    assert record["model_classes"] == [0, 2]
    assert record["classes"] == ["0", "1", "2"]
    assert load_file(path / MODEL_FILE)["coef_"].shape == (1, 400)


@pytest.mark.pictures
def test_training_is_recorded_whole(tmp_path: Path) -> None:
    path, record, result = train_run(tmp_path, parts(some_digits(60), 40, 10), "lenet5", seed=3, lr=None)
    assert set(record) >= OF_TRAIN
    assert record["mode"] == "finetune"
    assert record["lr"] == TrainConfig.LR["sgd"]["finetune"]  # resolved, not None
    assert record["augment"] == "none"
    assert record["epochs"] == len(record["history"]) == 2
    assert record["parameters"] == result.parameters
    assert record["best_epoch"] == result.best_epoch
    assert record["accuracy"] == {n: s.accuracy for n, s in result.scores.items()}
    assert record["top5"] == {n: s.top5 for n, s in result.scores.items()}
    assert record["balanced_accuracy"] == {n: s.balanced_accuracy for n, s in result.scores.items()}
    assert record["macro_f1"] == {n: s.macro_f1 for n, s in result.scores.items()}
    assert record["history"] == result.history
    json.dumps(record, allow_nan=False)
    assert {p.name for p in path.iterdir()} == {
        *(RECORD_FILE, MODEL_FILE, HISTORY_FILE, PREDICTIONS_FILE, TABLE_FILE),
        *(f"{CURVES}.png", f"{CURVES}.svg", f"{CURVES}.pdf"),
    }


def test_history_is_a_table_a_line_an_epoch(tmp_path: Path) -> None:
    path, record, _ = train_run(tmp_path, parts(some_digits(60), 40, 10), "lenet5")
    with (path / HISTORY_FILE).open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [{k: float(v) for k, v in line.items()} for line in lines] == record["history"]
    assert list(lines[0])[2:6] == ["train_loss", "train_accuracy", "val_loss", "val_accuracy"]
    without_val, _, _ = train_run(tmp_path, parts(some_digits(60), 40, 0), "lenet5")
    assert "val_loss" not in (without_val / HISTORY_FILE).read_text()


def test_trained_model_is_weights_for_the_same_network(tmp_path: Path) -> None:
    source = some_digits(60)
    path, record, result = train_run(tmp_path, parts(source, 40, 10), "lenet5")
    backbone = resolve("lenet5", weights=str(path / MODEL_FILE), channels=1)
    logits = logits_of(backbone.module(), backbone, source)
    np.testing.assert_array_equal(logits, logits_of(result.module, backbone, source))
    assert (logits[50:].argmax(1) == source.labels[50:]).mean() == pytest.approx(record["accuracy"]["test"])


@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_trained_model_of_other_classes_reloads(tmp_path: Path, name: str) -> None:
    source = drawn(10, 2)
    path, _, result = train_run(tmp_path, parts(source, 6, 2), name, epochs=1)
    backbone = resolve(name, weights=str(path / MODEL_FILE), size=32)
    assert backbone.left_out == ("fc",)
    tensors = {k: torch.from_numpy(v) for k, v in load_file(path / MODEL_FILE).items()}
    module = torchvision_models.build(name, backbone.options)
    attach(module, backbone.head, make_head(HeadSpec(), backbone.head_width, 2))
    module.load_state_dict(tensors)
    expected = logits_of(result.module, backbone, source)
    np.testing.assert_allclose(logits_of(module.eval(), backbone, source), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
def test_exception_leaves_no_run_folder(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with new_run(tmp_path, "train", ["featx"]) as run:
            run.write_text(HISTORY_FILE, "epoch\n")
            assert run.path.is_dir()
            raise error

    with pytest.raises(error):
        interrupted()
    assert not list((tmp_path / "runs").iterdir())


def test_exception_after_the_record_keeps_the_run(tmp_path: Path) -> None:
    def printed_in_vain() -> None:
        with new_run(tmp_path, "train", ["featx"]) as run:
            run.write({"accuracy": {"test": 0.5}})
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        printed_in_vain()
    (run,) = Runs(tmp_path).list()
    assert run.read()["accuracy"] == {"test": 0.5}


def test_images_that_test_and_train_are_counted(tmp_path: Path) -> None:
    source = some_digits(50)
    source.images[45:] = source.images[:5]
    _, record = fit_run(tmp_path, parts(source, 30, 10))
    assert record["shared_with_test"] == 5
