"""``featx train``: what it promises in JSON, what it says, what it keeps."""

from __future__ import annotations

import csv
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import drawn, explode
from PIL import Image

from featx.core.run_folder import MODEL_FILE, Runs
from featx.runs.record import HISTORY_FILE
from featx.training.config import MODES
from featx.training.step import Step

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = ("train", "digits", "-b", "lenet5", "--limit", "200", "--device", "cpu", "--augment", "none", "--epochs", "2")
WEIGHTS = ("--weights", "random:0")


@pytest.mark.pictures
@pytest.mark.parametrize("mode", MODES)
def test_json_holds_what_is_promised(featx_json: Any, home: Path, mode: str) -> None:
    code, document = featx_json(*DIGITS, "--mode", mode, *(() if mode == "scratch" else WEIGHTS))
    assert code == 0
    promised = {"run", "path", "accuracy", "loss", "seconds", "parameters", "epochs", "best_epoch", "images_per_second"}
    assert promised <= set(document)
    assert set(document["accuracy"]) == set(document["loss"]) == {"train", "val", "test"}
    frozen = 61_706 - 850 if mode == "frozen" else 0  # LeNet-5's parameters, and those of its last layer
    assert document["parameters"] == {"total": 61_706, "trainable": 61_706 - frozen, "frozen": frozen}
    assert document["epochs"] == 2
    assert document["best_epoch"] in (1, 2)
    assert document["images_per_second"] > 0
    assert document["cached"] is (mode == "frozen")
    assert document["rows"] == {"train": 160, "val": 20, "test": 20}
    (run,) = Runs(home).list()
    assert (run.id, str(run.path)) == (document["run"], document["path"])
    record = run.read()
    assert isinstance(document.pop("checks"), list)
    assert {name: record.get(name) for name in document} == document
    assert (run.path / MODEL_FILE).is_file()
    for kind, start in {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}.items():
        assert (run.path / f"curves.{kind}").read_bytes().startswith(start)
    with (run.path / HISTORY_FILE).open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2


def test_people_are_told_every_epoch_and_the_end(featx: Any, home: Path) -> None:
    result = featx(*DIGITS, "--mode", "scratch")
    assert result.exit_code == 0, result.stderr
    record = Runs(home).list()[0].read()
    for line in record["history"]:
        assert f"{line['val_accuracy']:.4f}" in result.stdout
    for said in (f"test accuracy {record['accuracy']['test']:.4f}", "61,706 trainable", record["run"], "best epoch"):
        assert said in result.stdout


def test_seed_repeats_a_training(featx_json: Any) -> None:
    args = (*DIGITS, "--mode", "scratch", "--epochs", "1", "--augment", "crop-flip")
    first, again, other = (featx_json(*args, "--seed", seed)[1] for seed in (1, 1, 2))
    assert (first["accuracy"], first["loss"]) == (again["accuracy"], again["loss"])
    assert first["loss"] != other["loss"]


def test_frozen_base_is_read_from_the_store_the_second_time(featx_json: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    args = (*DIGITS, "--mode", "frozen", *WEIGHTS)
    assert featx_json(*args)[0] == 0
    monkeypatch.setattr("featx.extraction.forward.Forward.__call__", explode)
    assert featx_json(*args, "--lr", "0.5", "--epochs", "3")[0] == 0
    assert featx_json(*args, "--weights", "random:1")[0] != 0


def test_trained_weights_are_taken_on_by_the_other_commands(featx_json: Any) -> None:
    _, trained = featx_json(*DIGITS, "--mode", "scratch", "--epochs", "4", "--lr", "0.05")
    weights = ("--weights", Path(trained["path"]) / MODEL_FILE)
    code, tuned = featx_json(*DIGITS, "--mode", "finetune", *weights)
    assert code == 0
    assert tuned["loss"]["train"] < trained["loss"]["train"]
    assert featx_json("fit", "digits", "-b", "lenet5", "-l", "relu4", "--limit", "200", *weights)[0] == 0


def test_classes_without_training_images_and_missing_validation_are_told(featx: Any, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (14, 32, 32), np.uint8)
    file = tmp_path / "odd.npz"
    np.savez(file, X_train=images[:8], y_train=np.arange(8) % 8 // 4, X_test=images[8:], y_test=np.arange(6) % 3)
    result = featx("train", file, "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--per-class", "1")
    assert result.exit_code == 0, result.stderr
    assert "1 of 3 classes have no training images: 2" in result.stderr
    assert "no validation rows: the last epoch's weights are kept" in result.stdout


def test_scratch_refuses_weights_that_it_would_ignore(featx: Any, home: Path) -> None:
    result = featx(*DIGITS, "--mode", "scratch", "--weights", "lenet.safetensors")
    assert result.exit_code == 2
    assert "--weights" in result.stderr
    assert not home.exists()


@pytest.mark.parametrize(("given", "drawn"), [((), "random:3"), (("--weights", "random:5"), "random:5")])
def test_scratch_draws_from_its_own_seed_unless_told_another(
    featx_json: Any, home: Path, given: tuple[str, ...], drawn: str
) -> None:
    code, document = featx_json(*DIGITS, "--mode", "scratch", "--seed", "3", *given)
    assert code == 0
    assert Runs(home).open(document["run"]).read()["weights"] == drawn


@pytest.mark.parametrize(
    "wrong",
    [
        ("--mode", "thawed"),
        ("--mode", "frozen", "--epochs", "0"),
        ("--mode", "frozen", "--lr", "0"),
        ("--mode", "frozen", "--lr", "nan"),
        ("--mode", "frozen", "--batch-size", "0"),
        ("--mode", "frozen", "--head", "mlpp:3"),
        ("--mode", "finetune", "--unfreeze-from", "conv9"),
        ("--mode", "finetune", "--init-head", "20200101"),
        ("--mode", "frozen", "--against", "20200101"),
        ("--mode", "frozen", "--augment", "rotate"),
        ("--mode", "frozen", "--seed", "-1"),
        (),
    ],
)
def test_impossible_options_are_usage_errors_and_leave_no_run(featx: Any, home: Path, wrong: tuple[str, ...]) -> None:
    result = featx(*DIGITS, *WEIGHTS, *wrong)
    assert result.exit_code == 2
    assert "Traceback" not in result.stderr
    assert Runs(home).list() == []
    assert not (home / "runs").exists() or not list((home / "runs").iterdir())


def test_several_seeds_have_a_mean_and_an_interval(featx_json: Any, home: Path) -> None:
    args = (*DIGITS, "--mode", "scratch", "--epochs", "1", "--seed", "4")
    code, document = featx_json(*args, "--repeat", "3")
    assert code == 0
    assert [run["seed"] for run in document["runs"]] == [4, 5, 6]
    accuracies = [run["accuracy"]["test"] for run in document["runs"]]
    found = document["accuracy"]["test"]
    assert found["mean"] == pytest.approx(sum(accuracies) / 3)
    assert found["interval"][0] <= found["mean"] <= found["interval"][1]
    assert len({run["loss"]["test"] for run in document["runs"]}) == 3
    _, alone = featx_json(*args[:-1], "5")
    assert alone["loss"] == document["runs"][1]["loss"]
    # The same with --resume: all are finished, and nothing is trained.
    assert featx_json(*args, "--repeat", "3", "--resume")[1]["accuracy"] == document["accuracy"]
    assert len(Runs(home).list()) == 4


def test_two_trainings_are_compared_image_by_image(featx_json: Any) -> None:
    _, first = featx_json(*DIGITS, "--mode", "scratch", "--lr", "0.0001")
    code, second = featx_json(*DIGITS, "--mode", "frozen", *WEIGHTS, "--against", first["run"])
    assert code == 0
    (test,) = second["against"]["tests"]
    difference = (test["only_first"] - test["only_second"]) / test["n"]
    assert difference == pytest.approx(second["accuracy"]["test"] - first["accuracy"]["test"])
    assert 0 < test["p_mid"] <= test["p_exact"] <= 1


def test_interrupt_is_told_how_to_go_on_and_it_goes_on(
    featx: Any, featx_json: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = (*DIGITS, "--mode", "scratch")
    update, steps = Step.update, [0]

    def interrupted(self: Step) -> None:
        update(self)
        steps[0] += 1
        if steps[0] == 4:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "update", interrupted)
        result = featx(*args)
    assert result.exit_code == 130
    assert "--resume" in result.stderr.splitlines()[-1]
    assert Runs(home).list() == []
    code, wrong = featx_json(*args, "--lr", "0.3", "--resume=strict")
    assert code == 2
    assert "lr was 0.05, now 0.3" in wrong["error"]
    code, resumed = featx_json(*args, "--resume")
    assert code == 0
    (folder,) = (home / "runs").iterdir()
    assert resumed["run"] == folder.name
    assert resumed["loss"] == featx_json(*args)[1]["loss"]


def test_resume_without_anything_to_resume_begins(featx: Any) -> None:
    result = featx(*DIGITS, "--mode", "scratch", "--resume")
    assert result.exit_code == 0
    assert "nothing to resume" in result.stderr


def test_broken_images_may_be_left_out(featx_json: Any, tmp_path: Path) -> None:
    source = drawn(24, 2)
    for i, (image, label) in enumerate(zip(source.images, source.labels, strict=True)):
        path = tmp_path / "photos" / "ab"[label] / f"{i:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
    path.write_bytes(path.read_bytes()[:200])
    args = ("train", tmp_path / "photos", "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--device", "cpu")
    code, document = featx_json(*args)
    assert (code, document["kind"]) == (1, "ImageError")
    code, document = featx_json(*args, "--on-error", "skip")
    assert code == 3
    assert [Path(image["id"]).name for image in document["skipped"]] == ["23.png"]
    assert sum(document["rows"].values()) == 23


@pytest.mark.parametrize("augment", ["none", "flip"])
def test_a_class_of_which_no_image_is_left_is_told(featx: Any, tmp_path: Path, augment: str) -> None:
    for i in range(36):
        path = tmp_path / "photos" / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((32, 32, 3), 7 * i, np.uint8)).save(path)

    def train() -> Any:
        how = ("--mode", "frozen", "--augment", augment, "--epochs", "1", "--on-error", "skip")
        return featx("train", tmp_path / "photos", "-b", "lenet5", *WEIGHTS, *how)

    def spoil(name: str) -> None:
        for path in (tmp_path / "photos" / name).iterdir():
            path.write_bytes(path.read_bytes()[:60])

    spoil("b")
    two = train()
    assert two.exit_code == 3, two.stderr
    assert "no training image of b could be read" in two.stderr
    spoil("c")
    one = train()
    assert one.exit_code == 1
    assert "hold one class" in one.stderr


def test_options_reach_the_training(featx_json: Any, home: Path) -> None:
    options = {
        "optimizer": "adamw",
        "schedule": "onecycle",
        "clip": 1.0,
        "accumulate": 2,
        "label_smoothing": 0.1,
        "class_weight": "balanced",
        "mixup": 0.2,
        "patience": 5,
        "head": "flat-mlp:16:dropout=0.5",
        "head_lr_factor": 3.0,
        "unfreeze_from": "conv2",
        "momentum": 0.8,
        "weight_decay": 0.02,
        "lr": 0.001,
    }
    flags = [part for name, value in options.items() for part in ("--" + name.replace("_", "-"), str(value))]
    code, _ = featx_json(*DIGITS, "--mode", "finetune", *WEIGHTS, *flags)
    assert code == 0
    record = Runs(home).list()[0].read()
    assert {name: record[name] for name in options} == options


def test_loss_that_is_no_number_ends_in_words_and_without_a_run(featx_json: Any, home: Path) -> None:
    code, document = featx_json(*DIGITS, "--mode", "scratch", "--lr", "1e6", "--epochs", "20")
    assert (code, document["kind"]) == (1, "FeatureError")
    assert "--lr" in document["hint"]
    assert not list((home / "runs").iterdir())
