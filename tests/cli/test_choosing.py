"""What ``featx fit`` learns from and chooses among: all rows, joined layers, readouts, successive halving."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import FeatureExtractor, SoftmaxRegression, load_source
from featx.core.run_folder import MODEL_FILE, Runs
from featx.data.splits import partition
from featx.portable import read_model

pytestmark = pytest.mark.usefixtures("one_thread")

DIGITS = ("digits", "--limit", "120", "--device", "cpu")
PIXELS = ("fit", *DIGITS, "--pixels")
LENET = ("-b", "lenet5", "--weights", "random:0")
JOINED = "pool1:avg+pool2:flat"
VIT = ("fit", *DIGITS, "-b", "timm:test_vit", "--weights", "random:0", "--size", "32")


def test_without_validation_rows_all_are_learnt_from_and_there_is_no_score(
    featx_json: Any, featx: Any, tmp_path: Path
) -> None:
    code, document = featx_json(*PIXELS, "--val-size", "0")
    assert code == 0
    assert document["rows"] == {"train": 110, "test": 10}
    assert document["val_size"] == 0
    assert set(document["accuracy"]) == set(document["loss"]) == {"train", "test"}
    assert "val" not in document["missing_classes"]
    code, again = featx_json("rerun", document["run"])
    assert (code, again.get("equal")) == (0, True), again
    assert featx_json("report")[0] == 0
    assert featx("report", "--format", "html", "-o", str(tmp_path / "report.html")).exit_code == 0
    result = featx(*PIXELS, "--val-size", "0")
    assert "there is no validation score" in result.stdout
    assert "no validation images" not in result.stderr


def test_other_shares_are_held_out(featx_json: Any) -> None:
    assert featx_json(*PIXELS, "--val-size", "0.3")[1]["rows"] == {"train": 70, "val": 40, "test": 10}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((*PIXELS, "--sweep", "clip"), "--sweep clip needs them"),
        ((*PIXELS, "--halving"), "--halving needs them"),
        ((*PIXELS, "--head", "knn"), "--head knn without --k needs them"),
        ((*PIXELS, "--calibrate", "vector"), "--calibrate vector needs them"),
        (("fit", *DIGITS, *LENET, "-l", "pool*:avg"), "the choice of a layer needs them"),
        (("train", *DIGITS, *LENET, "--mode", "frozen", "--patience", "2"), "--patience needs them"),
        (("compare", *DIGITS[:3]), "the comparison needs them"),
    ],
)
def test_what_chooses_by_validation_rows_is_refused_without(featx_json: Any, args: tuple[str, ...], said: str) -> None:
    code, document = featx_json(*args, "--val-size", "0")
    assert (code, document["kind"]) == (2, "OptionError")
    assert said in document["error"]


def test_a_source_with_validation_rows_of_its_own_holds_none_out(featx_json: Any, fill: Any, tmp_path: Path) -> None:
    names = [f"{s}/{c}/{i}.png" for s in ("train", "val", "test") for c in "ab" for i in range(3)]
    fill(tmp_path / "data", names)
    args = ("fit", tmp_path / "data", *LENET, "-l", "pool2:avg", "--val-size", "0")
    code, document = featx_json(*args)
    assert (code, document["kind"]) == (2, "OptionError")
    assert "--val-size 0 would have no effect" in document["error"]
    assert featx_json(*args, "--test-split", "val")[1]["rows"] == {"train": 6, "test": 6}  # then it does


def test_a_training_without_validation_rows_keeps_the_last_epoch(featx: Any, featx_json: Any) -> None:
    args = ("train", *DIGITS, *LENET, "--mode", "frozen", "--epochs", "3", "--val-size", "0")
    code, document = featx_json(*args)
    assert code == 0
    assert document["rows"] == {"train": 110, "test": 10}
    assert document["best_epoch"] == 3
    assert "val_accuracy" not in document["history"][-1]
    assert "the last epoch's weights are kept" in featx(*args).stdout


def test_joined_layers_are_one_feature_everywhere(featx: Any, featx_json: Any, home: Path, tmp_path: Path) -> None:
    code, document = featx_json("fit", *DIGITS, *LENET, "-l", JOINED)
    assert code == 0
    assert (document["layer"], document["columns"]) == (JOINED, 6 + 400)
    assert document["computed"] == 2 * 120  # each layer by itself
    assert featx_json("fit", *DIGITS, *LENET, "-l", "pool1:avg")[1]["computed"] == 0

    source = load_source("digits", limit=120)
    cut = partition({"all": source})
    X = FeatureExtractor("lenet5", ["pool1:avg", "pool2"], weights="random:0").transform(source)
    model = SoftmaxRegression(standardize=True).fit(X[cut.train.rows], cut.train.labels)
    assert document["accuracy"]["test"] == model.score(X[cut.test.rows], cut.test.labels)
    kept = read_model(Runs(home).open(document["run"]).path / MODEL_FILE)
    np.testing.assert_allclose(kept.logits(X), model.decision_function(X), rtol=1e-3, atol=1e-3)

    predicted = featx_json("predict", document["run"], "digits", "--limit", "5")
    assert predicted[0] == 0
    assert featx("export", document["run"], "-o", tmp_path / "model.onnx").exit_code == 0  # it compares by itself
    code, again = featx_json("rerun", document["run"])
    assert (code, again.get("equal")) == (0, True), again
    assert JOINED in featx("report").stdout


def test_joined_layers_and_single_ones_are_chosen_among(featx_json: Any) -> None:
    _, document = featx_json("fit", *DIGITS, *LENET, "-l", "pool*:avg", "-l", JOINED)
    assert [line["layer"] for line in document["layers"]] == ["pool1:avg", "pool2:avg", JOINED]


def test_extract_stores_each_part(featx_json: Any) -> None:
    code, document = featx_json("extract", *DIGITS, *LENET, "-l", JOINED, "-l", "pool1:avg")
    assert code == 0
    assert [line["layer"] for line in document["layers"]] == ["pool1:avg", "pool2"]


def test_halving_is_a_run_like_a_sweep_and_says_how_it_chose(featx: Any, featx_json: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("featx.probes.halving.LEAST_ROWS", 40)
    monkeypatch.setattr("featx.probes.halving.LEAST_PER_CLASS", 1)
    monkeypatch.setattr("featx.probes.halving.HALVED_CS", (0.01, 1.0))
    monkeypatch.setattr("featx.probes.halving.halve.__defaults__", ((0.01, 1.0),))
    args = ("fit", *DIGITS, *LENET, "-l", "pool*:avg", "--halving")
    code, document = featx_json(*args)
    assert code == 0
    assert [one["rows"] for one in document["choice"]["rounds"]] == [50, 100]
    assert [one["fits"] for one in document["choice"]["rounds"]] == [4, 2]
    assert [line["layer"] for line in document["layers"]] == ["pool1:avg", "pool2:avg"]
    assert document["search"]["chosen"] == document["C"]
    assert document["accuracy"]["val"] == max(document["search"]["accuracy"])
    code, again = featx_json("rerun", document["run"])
    assert (code, again.get("equal")) == (0, True), again
    said = featx(*args).stdout
    assert "otherwise with a chance of" in said
    assert "stratified by class" in said
    assert featx_json(*args, "--C", "2")[1]["kind"] == "OptionError"
    assert featx_json(*args, "-o", "map.png")[1]["kind"] == "OptionError"


@pytest.fixture
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two C a layer, and rounds of few rows."""
    monkeypatch.setattr("featx.probes.halving.LEAST_ROWS", 40)
    monkeypatch.setattr("featx.probes.halving.LEAST_PER_CLASS", 1)
    monkeypatch.setattr("featx.probes.halving.halve.__defaults__", ((0.01, 1.0),))


NETWORKS = (*("-b", "lenet5", "-b", "lenet5", "-b", "pixels"), *("--weights", "random:0", "--weights", "random:1"))
SEVERAL = ("fit", *DIGITS, *NETWORKS, "--weights", "DEFAULT", "-l", "pool*:avg", "-l", "pixels", "--halving")


@pytest.mark.usefixtures("few_candidates")
def test_halving_chooses_a_network_too_and_the_run_is_an_ordinary_one(
    featx: Any, featx_json: Any, tmp_path: Path
) -> None:
    result = featx(*SEVERAL)
    assert result.exit_code == 0, result.stderr
    assert "lenet5 random:0 is a candidate without pixels: there is no layer" in result.stderr
    assert "pixels DEFAULT is a candidate without pool*:avg" in result.stderr
    assert "another network with" in result.stdout
    code, document = featx_json(*SEVERAL)
    assert code == 0
    choice = document["choice"]
    names = ["lenet5 random:0", "lenet5 random:1", "pixels DEFAULT"]
    assert [network["name"] for network in choice["networks"]] == names
    layers = [[layer["layer"] for layer in network["layers"]] for network in choice["networks"]]
    assert layers == [["pool1:avg", "pool2:avg"], ["pool1:avg", "pool2:avg"], ["pixels"]]
    assert [network["reused"] for network in choice["networks"]] == [240, 240, 120]  # each was stored before
    assert [one["fits"] for one in choice["rounds"]] == [10, 5]
    assert choice["chances"]["another_network"] <= choice["chances"]["another_layer"]
    best = choice["rounds"][-1]["best"]
    assert (best["network"], best["layer"]) == ("pixels DEFAULT", "pixels")  # far the best
    assert (document["backbone"], document["layer"], document["layers"]) == ("pixels", "pixels", None)
    assert document["accuracy"]["val"] == best["accuracy"]

    code, again = featx_json("rerun", document["run"])
    assert (code, again.get("equal")) == (0, True), again
    first, second = (Runs().open(run).read()["choice"] for run in (document["run"], again["run"]))
    assert second["networks"] == first["networks"]
    assert second["chances"] == first["chances"]
    assert featx_json("predict", document["run"], "digits", "--limit", "5")[0] == 0
    assert featx("export", document["run"], "-o", tmp_path / "model.onnx").exit_code == 0
    assert "pixels" in featx("report").stdout


@pytest.mark.usefixtures("few_candidates")
def test_a_choice_among_networks_is_found_by_all_of_its_candidates(featx_json: Any) -> None:
    def identity(*weights: str) -> str:
        named = [word for which in weights for word in ("--weights", which)]
        code, document = featx_json("fit", *DIGITS, "-b", "lenet5", *named, "-l", "pool2:avg", "--halving")
        assert code == 0, document
        assert document["backbone"] == "lenet5"
        return str(Runs().open(document["run"]).read()["identity"])

    both = identity("random:0", "random:1")
    assert identity("random:0", "random:1") == both
    assert len({both, identity("random:0"), identity("random:0", "random:2")}) == 3


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (SEVERAL[:-1], "--halving chooses among several"),
        ((*PIXELS, "-b", "lenet5", "-b", "pixels", "--halving"), "--pixels was given with --backbone"),
        (("fit", *DIGITS, *LENET, "--weights", "random:1", "-l", "fc1"), "--halving chooses among several"),
        ((*VIT, "--weights", "random:1", "--readout", "dinov2-1", "--halving"), "were given with --readout dinov2-1"),
        (("fit", *DIGITS, *LENET, "-b", "pixels", "-l", "fc1", "--halving"), "pixels has none of the layers fc1"),
    ],
)
def test_several_networks_that_cannot_be_chosen_among_are_refused(featx: Any, args: tuple[str, ...], said: str) -> None:
    result = featx(*args)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_readout_is_layers_joined_and_its_record_says_what_it_is(featx: Any, featx_json: Any) -> None:
    code, document = featx_json(*VIT, "--readout", "dinov2-4")
    assert code == 0
    layers = "blocks.2:cls+blocks.3:cls+blocks.4:cls+norm:cls+norm:avg"
    assert document["layer"] == document["readout"]["layer"] == layers
    assert document["columns"] == 5 * 64
    assert "arXiv:2304.07193" in document["readout"]["origin"]
    assert "class token alone" in document["readout"]["notes"][0]  # timm's own pooling
    code, again = featx_json("rerun", document["run"])
    assert (code, again.get("equal")) == (0, True), again
    assert "--readout dinov2-1 is -l norm:cls+norm:avg" in featx(*VIT, "--readout", "dinov2-1").stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((*VIT, "--readout", "dino-4", "-l", "norm:cls"), "was given with -l"),
        ((*PIXELS, "--readout", "dino-4"), "was given with --pixels"),
        (("fit", *DIGITS, *LENET, "--readout", "dino-4"), "lenet5 has no such blocks"),
    ],
)
def test_a_readout_that_cannot_be_had_is_refused(featx_json: Any, args: tuple[str, ...], said: str) -> None:
    code, document = featx_json(*args)
    assert (code, document["kind"]) == (2, "OptionError")
    assert said in document["error"]
