"""``--calibrate``: what is kept, predicted, exported and reported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from featx.core.run_folder import MODEL_FILE, RECORD_FILE, Runs
from featx.data.sources import load_source
from featx.portable import read_model
from featx.reports.columns import chosen
from featx.reports.over_seeds import over_seeds
from featx.reports.rows import rows_of

pytestmark = pytest.mark.usefixtures("one_thread")

FIT = ("fit", "digits", "--pixels", "--limit", "300", "--device", "cpu", "--C", "100")
TRAIN = ("train", "digits", "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--limit", "200", "--device", "cpu")


def test_a_fit_keeps_what_it_calibrated_and_predicts_with_it(featx_json: Any, featx: Any, home: Path) -> None:
    _, plain = featx_json(*FIT)
    code, found = featx_json(*FIT, "--calibrate", "vector")
    assert code == 0
    done = found["calibration"]
    assert done["before"]["test"]["loss"] == plain["loss"]["test"]
    assert done["after"]["test"]["loss"] == found["loss"]["test"] != plain["loss"]["test"]
    assert found["loss"]["val"] == plain["loss"]["val"]
    assert 0 <= done["objective_gap"] < 1e-12
    before, after = (Runs(home).open(one["run"]).path / MODEL_FILE for one in (plain, found))
    assert load_file(before).keys() == load_file(after).keys()
    np.testing.assert_array_equal(load_file(before)["coef_"], load_file(after)["coef_"])

    code, predicted = featx_json("predict", found["run"], "digits", "--limit", "25", "--top", "10")
    assert code == 0
    digits = load_source("digits")
    model = read_model(after)
    for one in predicted["predictions"]:
        X = digits[digits.ids.index(one["id"])][0].reshape(1, -1) / 255
        shares = dict(zip(model.classes.tolist(), model.predict_proba(X)[0], strict=True))
        np.testing.assert_allclose(one["probabilities"], [shares[name] for name in one["classes"]], atol=1e-5)
        logits = model.logits(X)
        raw = X @ model.coef.T + model.intercept
        np.testing.assert_allclose(logits, raw * done["scale"] + done["offset"], rtol=1e-12)

    rows = over_seeds(rows_of([Runs(home).open(found["run"])]))
    columns = chosen(["test Brier score", "test ECE", "test uncalibrated loss", "calibrate"], rows)
    texts = [column.text(rows[0]) for column in columns.values()]
    assert texts[2:] == [f"{plain['loss']['test']:.4f}", "vector"]
    page = featx("report", "--format", "html", "-o", home / "page.html")
    assert page.exit_code == 0, page.stderr
    text = (home / "page.html").read_text()
    assert "Probabilities of the test images" in text
    assert "uncalibrated ECE" in text


@pytest.mark.parametrize("command", [FIT, TRAIN])
def test_an_exported_model_is_calibrated(featx_json: Any, home: Path, tmp_path: Path, command: Any) -> None:
    code, run = featx_json(*command, "--calibrate", "temperature")
    assert code == 0, run
    scale = run["calibration"]["scale"]
    logits = {}
    for ending in ("onnx", "pt2", "safetensors"):
        file = tmp_path / f"model.{ending}"
        code, found = featx_json("export", run["run"], "-o", file, "--images", "6")
        assert code == 0, found
        assert found["largest_difference"] < 1e-4
    with safe_open(tmp_path / "model.safetensors", "numpy") as file:
        np.testing.assert_allclose(file.get_tensor("calibration.scale"), scale, rtol=1e-6)
        card = json.loads(file.metadata()["featx"])
    assert card["calibration"]["method"] == "temperature"
    # The record is what it depends on: without its calibration the same file is the plain model.
    path = Runs(home).open(run["run"]).path / RECORD_FILE
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "calibration": None}))
    code, _ = featx_json("export", run["run"], "-o", tmp_path / "plain.onnx", "--images", "6")
    assert code == 0
    for name in ("model", "plain"):
        session = onnxruntime.InferenceSession(tmp_path / f"{name}.onnx")
        image = np.linspace(0, 1, int(np.prod(session.get_inputs()[0].shape[1:])), dtype=np.float32)
        (logits[name],) = session.run(None, {"image": image.reshape(1, *session.get_inputs()[0].shape[1:])})
    np.testing.assert_allclose(logits["model"], logits["plain"] * np.float32(scale), rtol=1e-4, atol=1e-5)


def test_people_are_told_in_a_line(featx: Any, featx_json: Any, home: Path) -> None:
    plain = featx(*FIT)
    assert "test: Brier score 0." in plain.stdout
    result = featx(*TRAIN, "--calibrate", "temperature")
    assert result.exit_code == 0, result.stderr
    assert "temperature scaling on " in result.stdout
    assert "test before and after: log loss " in result.stdout
    (run,) = [run for run in Runs(home).list() if run.read()["kind"] == "train"]
    with safe_open(run.path / MODEL_FILE, "numpy") as file:
        kept = json.loads(file.metadata()["featx"])["calibration"]
    assert kept["scale"] == run.read()["calibration"]["scale"]
    code, again = featx_json("rerun", run.id)
    assert code == 0
    assert again["equal"] is True


def test_a_record_with_a_damaged_calibration_is_refused(featx_json: Any, home: Path) -> None:
    _, run = featx_json(*FIT)
    path = Runs(home).open(run["run"]).path / RECORD_FILE
    record = json.loads(path.read_text())
    for wrong in ({"method": "vector"}, {"method": "vector", "scale": [1], "offset": [0]}, [1], "x"):
        path.write_text(json.dumps({**record, "calibration": wrong}))
        code, said = featx_json("predict", run["run"], "digits", "--limit", "3")
        assert code == 4, said
        assert "damaged" in said["error"]
    # A run of an earlier featx has none of it.
    old = {name: value for name, value in record.items() if name not in ("calibrate", "calibration", "brier", "ece")}
    path.write_text(json.dumps(old))
    assert featx_json("predict", run["run"], "digits", "--limit", "3")[0] == 0
    assert featx_json("rerun", run["run"])[0] == 0


@pytest.mark.parametrize("wrong", [("--head", "svm"), ("--shots", "2")])
def test_what_has_no_use_is_refused(featx_json: Any, wrong: Any) -> None:
    code, said = featx_json(*FIT[:-2], *wrong, "--calibrate", "temperature")
    assert code == 2
    assert "--calibrate" in said["error"]
    assert said["hint"]
