"""``report --over-seeds`` puts together what differs in nothing but the seed, and nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from recorded import FIT, TRAIN, rows

from featx.cli.main import cli
from featx.core.run_folder import RECORD_FILE, Run, Runs
from featx.reports.identity import recipe_of
from featx.reports.over_seeds import over_seeds
from featx.reports.rows import rows_of, to_text

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = ("digits", "--limit", "100", "--device", "cpu")
LENET = ("fit", *DIGITS, "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg")
PIXELS = ("fit", *DIGITS, "--pixels")
SCRATCH = ("train", *DIGITS, "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--augment", "none")


def featx(*args: object) -> Any:
    """Run a command that must do well, and return what it prints as JSON."""
    result = CliRunner().invoke(cli, [*map(str, args), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def together() -> list[list[Any]]:
    """Return the seeds of each row that the report has over seeds."""
    found = featx("report", "--over-seeds")["rows"]
    return [[Runs().open(run).read()["seed"] for run in row["runs"]] for row in found]


def rewrite(run: Run, record: dict[str, Any]) -> None:
    """Put another record in the place of a run's, as old as that was: runs of one second are listed by its age."""
    status = os.stat(run.path / RECORD_FILE)
    run.write(record)
    os.utime(run.path / RECORD_FILE, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_fits_on_features_that_lay_there_already_belong_to_the_first(tmp_path: Path) -> None:
    whole = np.random.default_rng(0).integers(0, 256, (60, 28, 28), np.uint8)
    np.savez(tmp_path / "a.npz", X=whole, y=np.arange(60) % 3)
    for seed in (0, 1, 2):
        featx("fit", tmp_path / "a.npz", "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg", "--seed", seed)
    records = [run.read() for run in Runs().list()]
    assert [record["batch_size"] for record in records] == [256, None, None]
    assert together() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("--mean", "0.1"), ("--mean", "0.9")),
        (("--std", "0.1"), ("--std", "0.9")),
        (("--interpolation", "bicubic"), ("--interpolation", "bilinear")),
        (("--resize", "squash"), ("--resize", "pad")),
        (("--dtype", "float16"), ()),
        (("--precision", "bf16"), ()),
        (("--flip",), ()),
        (("--shots", "3", "--draws", "2"), ("--shots", "3", "--draws", "3")),
        (("--max-iter", "40"), ()),
        (("--limit", "90"), ()),
    ],
)
def test_what_changes_the_number_keeps_fits_apart(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    featx(*LENET, "--seed", "0", *one)
    featx(*LENET, "--seed", "1", *other)
    featx(*LENET, "--seed", "2", *other)
    assert together() == [[0], [1, 2]]


def test_what_changes_nothing_keeps_nothing_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    featx(*PIXELS, "--seed", "0", "--workers", "1")
    featx(*PIXELS, "--seed", "1", "--batch-size", "7", "--on-error", "skip")
    featx(*PIXELS, "--seed", "2", "--quiet")
    assert together() == [[0, 1, 2]]


def test_data_may_move_and_must_not_change(tmp_path: Path) -> None:
    images, labels = np.random.default_rng(0).integers(0, 256, (60, 8, 8), np.uint8), np.arange(60) % 3
    for seed, folder in enumerate(("here", "there", "elsewhere")):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "a.npz", X=images, y=labels)
        featx("fit", tmp_path / folder / "a.npz", "--pixels", "--seed", seed)
    assert together() == [[0, 1, 2]]
    np.savez(tmp_path / "here" / "a.npz", X=images, y=np.roll(labels, 1))
    featx("fit", tmp_path / "here" / "a.npz", "--pixels", "--seed", "3")
    np.savez(tmp_path / "here" / "a.npz", X=images[::-1], y=labels)
    featx("fit", tmp_path / "here" / "a.npz", "--pixels", "--seed", "4")
    assert together() == [[0, 1, 2], [3], [4]]


def test_images_that_the_seed_draws_are_the_seeds() -> None:
    featx("fit", "digits", "--pixels", "--per-class", "9", "--repeat", "2")
    featx("fit", "digits", "--pixels", "--per-class", "8", "--repeat", "2")
    assert together() == [[0, 1], [0, 1]]
    for run in Runs().list():  # as earlier featx recorded it: in the command alone
        record = run.read()
        asked = ["--per-class", str(record.pop("per_class"))]
        for name in ("limit", "labels"):
            del record[name]
        rewrite(run, {**record, "command": ["featx", "fit", "digits", "--pixels", *asked, "--repeat", "2"]})
    featx("fit", "digits", "--pixels", "--per-class", "8", "--seed", "2")
    assert together() == [[0, 1], [0, 1, 2]]


def test_what_validation_rows_chose_keeps_nothing_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    base = {**FIT, "head": "knn", "search": {"over": "k"}, "sweep": None}
    (row,) = over_seeds(rows({**base, "seed": 0, "k": 10}, {**base, "seed": 1, "k": 20}))
    assert row["k"] == 15
    lines = [{"layer": "layer3"}, {"layer": "layer4"}]
    of_two = [{**FIT, "seed": s, "layer": f"layer{3 + s}", "layers": lines, "columns": s} for s in (0, 1)]
    found = over_seeds(rows(*of_two, {**FIT, "seed": 2, "layer": "layer4"}))
    assert [row["run"] for row in found[:1]] == ["2 runs"]
    assert found[0]["layer"] == "layer3, layer4"
    assert len(found) == 2


def test_other_splits_are_other_scores() -> None:
    own = {"train": "train", "val": "train", "test": "test"}
    scored = over_seeds(rows({**FIT, "splits": own}, {**FIT, "seed": 1, "splits": {**own, "test": "val"}}))
    assert len(scored) == 2


def test_records_that_lack_newer_fields_go_with_those_that_have_them() -> None:
    featx(*SCRATCH, "--seeds", "0,1")
    (old, new) = Runs().list()
    record = old.read()
    for name in ("labels", "limit", "per_class", "accumulate", "mixup", "cutmix", "clip", "views"):
        record.pop(name)
    del record["preprocess"]["views"], record["preprocess"]["fit"]
    record["command"] = ["featx", "train", *DIGITS]
    rewrite(old, record)
    assert together() == [[0, 1]]
    rewrite(new, {**new.read(), "accumulate": 2})
    assert together() == [[0], [1]]


def test_a_field_that_nobody_listed_counts() -> None:
    assert len(over_seeds(rows({**TRAIN, "newer": 1}, {**TRAIN, "seed": 1, "newer": 2}))) == 2
    assert len(over_seeds(rows({**TRAIN, "newer": {"a": 1}}, {**TRAIN, "seed": 1, "newer": {"a": 1.0}}))) == 1


def test_every_field_of_a_record_is_a_cause_or_not() -> None:
    """A new field: can it change the number? Then add it below, else to the lists of `featx.reports.identity`."""
    data = {"kind", "source", "n", "classes", "limit", "splits", "preprocess", "precision", "val_size"}
    fit, train = featx(*PIXELS), featx(*SCRATCH)
    assert set(recipe_of(Runs().open(fit["run"]).read())) == data | {
        *("weights_sha256", "layer", "head", "C", "standardize", "penalty", "fit_intercept", "tol", "max_iter"),
        "extraction",
    }
    assert set(recipe_of(Runs().open(train["run"]).read())) == data | {
        *("weights_sha256", "mode", "head", "epochs", "batch_size", "accumulate", "optimizer", "lr", "head_lr_factor"),
        *("momentum", "weight_decay", "schedule", "warmup_epochs", "label_smoothing", "augment", "mixup", "cutmix"),
        *("options", "sync_batch_norm"),
    } - {name for name in ("options",) if not Runs().open(train["run"]).read()["options"]}


def test_networks_that_differ_in_their_seed_only_are_known_where_their_runs_are_not_named() -> None:
    runs = [run["run"] for run in featx(*SCRATCH, "--seeds", "0,1")["runs"]]
    fits = [
        featx("fit", *DIGITS, "-b", f"run:{run}", "-l", "pool2:avg", "--seed", seed)["run"]
        for seed, run in enumerate(runs)
    ]
    found = featx("report", "--over-seeds", *fits)["rows"]
    assert [row["run"] for row in found] == ["2 runs"]
    assert found[0]["weights"] == "run, one per seed"


def test_a_network_drawn_once_is_not_one_drawn_by_each_seed() -> None:
    featx(*SCRATCH, "--seeds", "0,1")
    featx(*SCRATCH, "--seeds", "2,3", "--weights", "random:9")
    assert together() == [[0, 1], [2, 3]]


def test_the_seed_that_would_have_drawn_the_same_network_belongs_to_those_that_share_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for args in ((*SCRATCH, "--seeds", "0,1", "--weights", "random:0"), (*SCRATCH, "--seeds", "0,2")):
        monkeypatch.setattr(sys, "argv", ["featx", *args])  # which the record keeps
        featx(*args)
    assert [sorted(seeds) for seeds in together()] == [[0, 1], [0, 2]]


def test_intervals_are_in_every_format() -> None:
    featx(*PIXELS, "--seeds", "0,1")
    (row,) = featx("report", "--over-seeds")["rows"]
    low, high = row["accuracy_interval"]["test"]
    (line,) = featx("report", "--over-seeds", "--columns", "seed,test accuracy,run")["rows"]
    assert list(line) == ["seed", "test accuracy", "test accuracy interval", "run"]
    assert line["test accuracy interval"] == [low, high]
    for more in ((), ("--columns", "test accuracy")):
        text = CliRunner().invoke(cli, ["report", "--over-seeds", "--format", "csv", *more]).stdout
        (found,) = csv.DictReader(io.StringIO(text))
        assert json.loads(found["test accuracy interval"]) == [low, high]
    text = CliRunner().invoke(cli, ["report", "--over-seeds", "--columns", "test accuracy interval"]).stdout
    assert f"{low:.4f} to {high:.4f}" in text


def test_runs_that_stand_apart_say_why() -> None:
    featx(*PIXELS, "--mean", "0.1")
    featx(*PIXELS, "--mean", "0.9", "--seed", "1")
    text = CliRunner().invoke(cli, ["report", "--over-seeds"]).stdout
    assert "mean=0.1" in text
    assert "mean=0.9" in text
    assert "max_iter" not in text


def test_runs_that_a_newer_one_of_the_same_seed_replaces_are_counted_aloud() -> None:
    both = [featx(*PIXELS)["run"] for _ in range(2)]
    first = min(both)  # ids sort by time, and by chance within a second
    result = CliRunner().invoke(cli, ["report", "--over-seeds"])
    assert f"left out 1 run with the seed of a newer one: {first}" in result.stderr
    assert featx("report", "--over-seeds")["rows"][0]["left_out"] == [first]


def test_odd_records_are_grouped_without_a_crash() -> None:
    odd: list[dict[str, Any]] = [
        {"kind": ["x"], "C": {"a": 1}, "options": [1], "preprocess": "no", "layers": [1, {"layer": ["y"]}]},
        {"kind": "fit", "rows": {"train": "many"}, "skipped": 3, "search": [], "classes": "all", "command": {"a": 1}},
        {"kind": "train", "weights": ["w"], "weights_sha256": {"a": [1]}, "seed": {"s": 1}, "limit": "few"},
    ]
    found = over_seeds(rows(*odd, *odd))
    assert len(found) == 3
    assert to_text(found)
    assert rows_of([]) == []
