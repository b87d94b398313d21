"""``featx train``: what it promises in JSON, what it says, what it keeps."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from drawn import explode

from featx.records import HISTORY_FILE
from featx.runs import MODEL_FILE, Runs
from featx.specs import MODES

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = ("train", "digits", "-b", "lenet5", "--limit", "200", "--device", "cpu", "--augment", "none", "--epochs", "2")
WEIGHTS = ("--weights", "random:0")


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
    assert {name: run.read()[name] for name in document} == document
    assert (run.path / MODEL_FILE).is_file()
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
    monkeypatch.setattr("featx.forward.Forward.__call__", explode)
    assert featx_json(*args, "--lr", "0.5", "--epochs", "3")[0] == 0
    assert featx_json(*args, "--weights", "random:1")[0] != 0


def test_trained_weights_are_taken_on_by_the_other_commands(featx_json: Any) -> None:
    _, trained = featx_json(*DIGITS, "--mode", "scratch", "--epochs", "4", "--lr", "0.05")
    weights = ("--weights", Path(trained["path"]) / MODEL_FILE)
    code, tuned = featx_json(*DIGITS, "--mode", "finetune", *weights)
    assert code == 0
    assert tuned["loss"]["train"] < trained["loss"]["train"]
    assert featx_json("fit", "digits", "-b", "lenet5", "-l", "relu4", "--limit", "200", *weights)[0] == 0


def test_scratch_refuses_weights_that_it_would_ignore(featx: Any, home: Path) -> None:
    result = featx(*DIGITS, "--mode", "scratch", "--weights", "random:5")
    assert result.exit_code == 2
    assert "--weights" in result.stderr
    assert not home.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        ("--mode", "thawed"),
        ("--mode", "frozen", "--epochs", "0"),
        ("--mode", "frozen", "--lr", "0"),
        ("--mode", "frozen", "--lr", "nan"),
        ("--mode", "frozen", "--batch-size", "0"),
        ("--mode", "frozen", "--head", "mlpp:3"),
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


def test_loss_that_is_no_number_ends_in_words_and_without_a_run(featx_json: Any, home: Path) -> None:
    code, document = featx_json(*DIGITS, "--mode", "scratch", "--lr", "1e6", "--epochs", "20")
    assert (code, document["kind"]) == (1, "FeatureError")
    assert "--lr" in document["hint"]
    assert not list((home / "runs").iterdir())
