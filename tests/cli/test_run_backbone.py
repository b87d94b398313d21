"""``run:ID``: what a training made, as a backbone and as weights of every command and of the Python classes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from featx import FeatureExtractor
from featx.cache.memo import Memo
from featx.cli import completion
from featx.core.run_folder import MODEL_FILE, RECORD_FILE, Runs
from featx.models.backbones import resolve

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN = ("--epochs", "1", "--augment", "none", "--limit", "60", "--device", "cpu")
LENET = ("train", "digits", "-b", "lenet5", "--mode", "scratch", *TRAIN)
NET = """
from torch import nn

def make():
    base = nn.Sequential(nn.Conv2d(3, 4, 3, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    return nn.Sequential(*base, nn.Linear(16, 5))
"""


@pytest.fixture
def trained(featx_json: Any) -> Callable[..., str]:
    """Train and return the run's id."""

    def train(*args: object) -> str:
        code, document = featx_json(*args)
        assert code == 0, document
        return str(document["run"])

    return train


def keys(document: Any) -> set[str]:
    return {line["key"] for line in document["layers"]}


def test_features_are_those_of_the_trained_weights(featx_json: Any, trained: Any, home: Path) -> None:
    run = trained(*LENET)
    layers = ("-l", "pool2:avg", "-l", "fc3", "--limit", "30")
    code, mine = featx_json("extract", "digits", "-b", f"run:{run}", *layers)
    assert code == 0, mine
    # The same tensors by another road: the same key, and nothing is computed.
    weights = str(Runs(home).open(run).path / MODEL_FILE)
    _, by_file = featx_json("extract", "digits", "-b", "lenet5", "--weights", weights, *layers)
    _, by_weights = featx_json("extract", "digits", "-b", "lenet5", "--weights", f"run:{run[:-2]}", *layers)
    assert keys(mine) == keys(by_file) == keys(by_weights)
    assert {line["computed"] for found in (by_file, by_weights) for line in found["layers"]} == {0}
    _, other = featx_json("extract", "digits", "-b", "lenet5", "--weights", "random:0", *layers)
    assert not keys(other) & keys(mine)


def test_head_of_other_classes_is_a_layer_like_others(featx: Any, trained: Any, home: Path, tmp_path: Path) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (24, 40, 40, 3), np.uint8), np.arange(24) % 3
    np.savez(tmp_path / "three.npz", X=images, y=labels)
    args = ("--size", "32", "--weights", "random:0", "--head", "linear", *TRAIN)
    run = trained("train", tmp_path / "three.npz", "-b", "resnet18", "--mode", "frozen", *args)
    backbone = resolve(f"run:{run}", memo=Memo(home))
    assert (backbone.name, backbone.preprocess.crop, backbone.left_out, backbone.notes) == ("resnet18", 32, (), ())
    X = FeatureExtractor(f"run:{run}", "fc").transform(images[:4])
    assert X.shape == (4, 3)
    result = featx("layers", f"run:{run}", "--size", "64")
    assert result.exit_code == 0, result.stderr
    assert "avgpool, the classifier's input" in result.stdout
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("fc ")] == ["3"]


def test_base_below_a_flat_head_has_its_own_names(featx: Any, featx_json: Any, trained: Any, home: Path) -> None:
    run = trained(*LENET, "--head", "flat-mlp:8")
    backbone = resolve(f"run:{run}", memo=Memo(home))
    assert backbone.left_out == ("fc1", "fc2", "fc3")
    state = load_file(Runs(home).open(run).path / MODEL_FILE)
    np.testing.assert_array_equal(backbone.module().state_dict()["conv2.weight"], state["base.conv2.weight"])
    extract = ("extract", "digits", "--limit", "20", "-b", f"run:{run}", "-l")
    assert featx_json(*extract, "pool2")[1]["layers"][0]["columns"] == 400
    result = featx(*extract, "fc1")
    assert result.exit_code == 2
    assert "layer 'fc1' has no weights" in result.stderr
    again = trained(
        "train", "digits", "-b", f"run:{run}", "--mode", "frozen", "--head", "flat-linear", "--keep-weights", *TRAIN
    )
    kept = load_file(Runs(home).open(again).path / MODEL_FILE)
    np.testing.assert_array_equal(kept["base.conv2.weight"], state["base.conv2.weight"])


def test_preprocessing_is_the_runs_unless_told_otherwise(trained: Any, home: Path) -> None:
    run = f"run:{trained(*LENET, '--size', '32', '--mean', '0.25', '--resize', 'squash')}"
    memo = Memo(home)
    found = resolve(run, memo=memo).preprocess
    assert (found.crop, found.mean, found.fit, found.channels) == (32, (0.25,), "squash", 1)
    assert resolve(run, size=40, mean=[0.5], memo=memo).preprocess.crop == 40
    assert resolve(run, mean=[0.5], memo=memo).preprocess.mean == (0.5,)


def test_training_goes_on_from_a_run(trained: Any, home: Path) -> None:
    run = trained(*LENET)
    first = load_file(Runs(home).open(run).path / MODEL_FILE)
    args = ("--lr", "1e-9", "--weight-decay", "0", *TRAIN)
    again = Runs(home).open(trained("train", "digits", "-b", f"run:{run}", "--mode", "finetune", *args))
    second = load_file(again.path / MODEL_FILE)
    np.testing.assert_allclose(second["conv1.weight"], first["conv1.weight"], atol=1e-6)
    assert (again.read()["backbone"], again.read()["weights"]) == ("lenet5", f"run:{run}")
    # Anew: the network and its preprocessing, and nothing that was learnt.
    fresh = trained("train", "digits", "-b", f"run:{run}", "--mode", "scratch", *TRAIN)
    np.testing.assert_array_equal(load_file(Runs(home).open(fresh).path / MODEL_FILE)["fc3.bias"], first["fc3.bias"])


def test_fit_and_show_take_a_run(featx_json: Any, trained: Any, home: Path, tmp_path: Path) -> None:
    run = f"run:{trained(*LENET)}"
    code, document = featx_json("fit", "digits", "-b", run, "-l", "relu4", "--limit", "100")
    assert code == 0, document
    assert document["backbone"] == "lenet5"
    assert featx_json("show", "digits", "-b", run, "-n", "4", "-o", tmp_path / "x.png")[0] == 0


def test_own_network_is_found_again_where_its_code_is_what_it_was(
    featx: Any, featx_json: Any, trained: Any, tmp_path: Path
) -> None:
    net = tmp_path / "net.py"
    net.write_text(NET)
    run = trained("train", "digits", "-b", f"{net}:make", "--mode", "finetune", "--size", "16", *TRAIN)
    extract = ("extract", "digits", "--limit", "20", "-l", "4", "-b")
    code, document = featx_json(*extract, f"run:{run}")
    assert (code, document["layers"][0]["columns"]) == (0, 10)
    _, named = featx_json(*extract, f"{net}:make", "--weights", f"run:{run}")
    assert keys(named) == keys(document)
    net.write_text(NET.replace("ReLU", "GELU"))
    result = featx(*extract, f"run:{run}")
    assert result.exit_code == 2
    assert "the code of net.py:make changed" in result.stderr


def test_code_that_a_run_from_elsewhere_names_is_not_run(
    featx: Any, featx_json: Any, trained: Any, tmp_path: Path, home: Path
) -> None:
    net = tmp_path / "net.py"
    net.write_text(NET)
    run = trained("train", "digits", "-b", f"{net}:make", "--mode", "finetune", "--size", "16", *TRAIN)
    shutil.move(Runs(home).open(run).path, tmp_path / "elsewhere")
    extract = ("extract", "digits", "--limit", "20", "-l", "4", "-b")
    result = featx(*extract, f"run:{tmp_path / 'elsewhere'}")
    assert result.exit_code == 2
    assert "names no code" in result.stderr
    assert featx_json(*extract, f"{net}:make", "--weights", f"run:{tmp_path / 'elsewhere'}")[0] == 0


def test_what_holds_no_network_is_refused(featx: Any, featx_json: Any, trained: Any, home: Path) -> None:
    _, fit = featx_json("fit", "digits", "--pixels", "--limit", "100")
    run = trained(*LENET)
    folder = Runs(home).open(run).path

    def error(*args: object) -> str:
        result = featx("extract", "digits", "-l", "conv1", *args)
        assert result.exit_code in (1, 2, 4), result.output
        assert result.stderr.count("\n") <= 2
        return str(result.stderr)

    assert "is a softmax regression on pixels" in error("-b", f"run:{fit['run']}")
    assert "featx predict" in error("-b", f"run:{fit['run']}")
    assert "no finished run 'nosuch'" in error("-b", "run:nosuch")
    assert f"run:{run} holds lenet5, and the backbone is resnet18" in error("-b", "resnet18", "--weights", f"run:{run}")
    assert "brings its own weights" in error("-b", f"run:{run}", "--weights", "x.pth")
    assert "without --stem cifar" in error("-b", f"run:{run}", "--stem", "cifar")
    record = json.loads((folder / RECORD_FILE).read_text())
    (folder / RECORD_FILE).write_text(json.dumps(record | {"backbone": "alexnet", "options": {}}))
    assert "made for another network" in error("-b", f"run:{run}")
    (folder / RECORD_FILE).write_text(json.dumps({**record, "preprocess": None}))
    assert "is damaged" in error("-b", f"run:{run}")
    (folder / RECORD_FILE).write_text(json.dumps(record))
    tensors = load_file(folder / MODEL_FILE)
    save_file({**tensors, "fc3.bias": np.zeros(3, np.float32)}, folder / MODEL_FILE)
    assert "fc3.bias is (3,), expected (10,)" in error("-b", f"run:{run}")
    (folder / MODEL_FILE).unlink()
    assert f"run {run} has no model.safetensors" in error("-b", f"run:{run}")


def test_second_look_loads_no_network(
    featx_json: Any, trained: Any, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = ("extract", "digits", "-b", f"run:{trained(*LENET)}", "-l", "pool2:avg", "--limit", "20")
    assert featx_json(*extract)[0] == 0
    monkeypatch.setattr("featx.models.rebuild.rebuild", lambda held: pytest.fail("built again"))
    assert featx_json(*extract)[0] == 0


def test_runs_are_completed(trained: Any, home: Path, featx_json: Any) -> None:
    run = trained(*LENET)
    _, fit = featx_json("fit", "digits", "--pixels", "--limit", "100")

    class Context:
        params = {"home": str(home), "backbone": f"run:{run}"}  # noqa: RUF012

    ctx: Any = Context()
    assert completion.complete_backbone(ctx, ctx, "run:20") == [f"run:{run}"]
    assert completion.complete_weights(ctx, ctx, "run:") == [f"run:{run}"]
    assert set(completion.complete_run(ctx, ctx, "")) == {run, fit["run"]}
    assert completion.complete_layer(ctx, ctx, "fc3") == ["fc3"]


def test_a_new_head_on_a_trained_network_is_told(featx: Any, trained: Any) -> None:
    run = trained(*LENET)
    again = ("train", "digits", "-b", f"run:{run}", "--mode", "finetune", *TRAIN)
    assert f"--init-head {run}" in featx(*again).stderr
    kept = featx(*again, "--init-head", run)
    assert kept.exit_code == 0, kept.stderr
    assert "starting with a new head" not in kept.stderr
