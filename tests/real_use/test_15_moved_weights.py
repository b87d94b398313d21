"""A fit whose weights file moved predicts from where the file lies now, or from what the run keeps itself."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from command import document, featx, folder_of
from safetensors.torch import save_file

from featx.core.paths import home_folder
from featx.core.recorded import KEPT_FILE
from featx.models.backbones import resolve

pytestmark = pytest.mark.usefixtures("one_thread")

FIT = ("fit", "digits", "--limit", "60", "-b", "lenet5", "-l", "pool2", "--weights")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Weights in a file."""
    path = tmp_path / "lenet.pth"
    torch.save(resolve("lenet5", weights="random:7").module().state_dict(), path)
    return path


def predicted(run: str, *more: object) -> list[list[str]]:
    found = document("predict", run, "digits", "--limit", "20", "--top", "3", *more)
    return [[p["id"], *p["classes"], *map(str, p["probabilities"])] for p in found["predictions"]]


def test_predict_takes_the_file_from_where_it_lies_now(weights: Path, tmp_path: Path) -> None:
    run = document(*FIT, weights)["run"]
    before = predicted(run)
    moved = weights.rename(tmp_path / "elsewhere.bin")
    assert predicted(run, "--weights", moved) == before
    # The same tensors in another kind of file are the same weights.
    save_file(torch.load(moved, weights_only=True), tmp_path / "other.safetensors")
    assert predicted(run, "--weights", tmp_path / "other.safetensors") == before


def test_the_error_says_which_file_of_which_hash_is_wanted(weights: Path, tmp_path: Path) -> None:
    run = document(*FIT, weights)["run"]
    digest = document("runs", "info", run)["weights_sha256"]
    weights.rename(tmp_path / "elsewhere.pth")
    said = document("predict", run, "digits", code=1)
    assert str(weights) in said["error"]
    assert digest in said["error"]
    assert "--weights" in said["hint"]


def test_other_tensors_are_refused_with_both_hashes(weights: Path, tmp_path: Path) -> None:
    run = document(*FIT, weights)["run"]
    other = tmp_path / "other.pth"
    torch.save(resolve("lenet5", weights="random:8").module().state_dict(), other)
    said = document("predict", run, "digits", "--weights", other, code=1)["error"]
    assert document("runs", "info", run)["weights_sha256"] in said
    assert resolve("lenet5", weights=str(other)).weights_sha256 in said
    assert "there is no weights file" in document("predict", run, "digits", "--weights", "no.pth", code=1)["error"]


def test_kept_weights_make_a_run_that_needs_no_other_file(weights: Path, tmp_path: Path) -> None:
    run = document(*FIT, weights, "--keep-weights")["run"]
    before = predicted(run)
    weights.unlink()
    assert predicted(run) == before
    # Nor does it need the home: its folder may be copied anywhere.
    copied = shutil.copytree(folder_of(run), tmp_path / "copied")
    assert predicted(copied, "--home", tmp_path / "new-home") == before
    (folder_of(run) / KEPT_FILE).write_bytes(b"damaged")
    assert "cannot be read" in document("predict", run, "digits", code=1)["error"]


def test_options_that_published_weights_bring_are_those_of_the_record(tmp_path: Path) -> None:
    """GoogLeNet rescales its input for published weights only: a kept copy is not to lose that."""
    module = resolve("googlenet", weights="random:0").module()
    from featx.models.inspection import inspect_recorded

    path = tmp_path / "google.safetensors"
    save_file({name: tensor.clone() for name, tensor in module.state_dict().items()}, path)
    found = inspect_recorded(
        "googlenet", str(path), {"init_weights": False, "transform_input": True, "aux_logits": True}, ""
    )
    assert found.facts.options["transform_input"]


def test_a_moved_home_predicts_as_before(weights: Path, tmp_path: Path) -> None:
    train = ("train", "digits", "--limit", "60", "-b", "lenet5", "--mode", "scratch", "--epochs", "1")
    base = document(*train)["run"]
    model = folder_of(base) / "model.safetensors"
    runs = [document(*FIT, source)["run"] for source in (f"run:{base}", model)]
    before = [predicted(run) for run in runs]
    moved = home_folder().rename(tmp_path / "moved")
    assert predicted(runs[0], "--home", moved) == before[0]
    said = document("predict", runs[1], "digits", "--home", moved, code=1)
    assert str(model) in said["error"]
    now = moved / "runs" / base / "model.safetensors"
    assert predicted(runs[1], "--home", moved, "--weights", now) == before[1]


def test_a_fit_on_a_trained_network_takes_that_run_from_elsewhere(tmp_path: Path) -> None:
    train = ("train", "digits", "--limit", "60", "-b", "lenet5", "--mode", "scratch", "--epochs", "1")
    base = document(*train, "--head", "mlp:8")["run"]
    fit = ("fit", "digits", "--limit", "60", "-b", f"run:{base}", "-l", "pool2")
    plain, keeping = (document(*fit, *more)["run"] for more in ((), ("--keep-weights",)))
    before = predicted(plain)
    moved = folder_of(base).rename(tmp_path / "base")
    assert predicted(keeping) == before
    assert base in document("predict", plain, "digits", code=1)["error"]
    for place in (f"run:{moved}", moved / "model.safetensors"):
        assert predicted(plain, "--weights", place) == before


@pytest.mark.parametrize(
    "command", [("fit", "-l", "fc2"), ("extract", "-l", "fc2"), ("train", "--mode", "finetune", "--epochs", "1")]
)
def test_what_cannot_be_told_of_another_place_says_where_to_put_them_back(
    weights: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    train = ("train", "digits", "--limit", "60", "-b", "lenet5", "--mode", "frozen", "--epochs", "1")
    run = document(*train, "--weights", weights)["run"]
    moved = weights.rename(tmp_path / "elsewhere.pth")
    name, *rest = command
    hint = document(name, "digits", "--limit", "60", "-b", f"run:{run}", *rest, code=1)["hint"]
    assert hint.startswith(f"put them back at {weights}")
    assert f"featx predict {run}" not in hint
    assert "--weights FILE" in document("predict", run, "digits", code=1)["hint"]
    moved.rename(weights)
    assert featx(name, "digits", "--limit", "60", "-b", f"run:{run}", *rest).exit_code == 0


@pytest.mark.parametrize(
    "args",
    [
        ("fit", "digits", "--pixels", "--keep-weights"),
        ("fit", "digits", "-b", "lenet5", "--weights", "random:0", "-l", "pool2", "--head", "knn", "--keep-weights"),
        ("train", "digits", "-b", "lenet5", "--mode", "scratch", "--keep-weights"),
    ],
)
def test_nothing_to_keep_is_a_usage_error(args: tuple[str, ...]) -> None:
    result = featx(*args)
    assert result.exit_code == 2
    assert "--keep-weights" in result.stderr


def test_weights_for_a_run_that_holds_its_own_are_a_usage_error(weights: Path) -> None:
    pixels = document("fit", "digits", "--limit", "60", "--pixels")["run"]
    train = ("train", "digits", "--limit", "60", "-b", "lenet5", "--mode", "scratch", "--epochs", "1")
    for run in (pixels, document(*train)["run"]):
        assert "leave --weights out" in document("predict", run, "digits", "--weights", weights, code=2)["hint"]
