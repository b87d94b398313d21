"""``featx fit``: what it promises in JSON, what it says, what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn import explode

from featx.runs import MODEL_FILE, Runs

pytestmark = pytest.mark.usefixtures("one_thread")

PIXELS = ("fit", "digits", "--pixels", "--limit", "300", "--device", "cpu")
LENET = ("fit", "digits", "-b", "lenet5", "--weights", "random:0", "--limit", "200", "--device", "cpu")


def test_json_holds_what_is_promised(featx_json: Any, home: Path) -> None:
    code, document = featx_json(*PIXELS, "--C", "0.5")
    assert code == 0
    assert {"run", "path", "converged", "gradient_norm", "objective", "n_iter", "C", "seconds"} <= set(document)
    assert set(document["accuracy"]) == set(document["loss"]) == {"train", "val", "test"}
    assert document["C"] == 0.5
    assert document["converged"] is True
    assert 0 <= document["gradient_norm"] <= 3e-5
    assert {"extract", "read", "fit", "score", "total"} == set(document["seconds"])
    assert document["rows"] == {"train": 240, "val": 30, "test": 30}
    assert (document["computed"], document["reused"], document["skipped"]) == (300, 0, [])
    (run,) = Runs(home).list()
    assert (run.id, str(run.path)) == (document["run"], document["path"])
    assert (run.path / MODEL_FILE).is_file()
    assert run.read()["command"][0] == "featx"
    assert {name: run.read()[name] for name in document} == document


def test_pixels_of_all_digits(featx_json: Any) -> None:
    code, document = featx_json("fit", "digits", "--pixels")
    assert code == 0
    assert document["accuracy"]["test"] > 0.93
    assert document["columns"] == 64


def test_people_are_told_the_same(featx: Any, home: Path) -> None:
    result = featx(*PIXELS)
    assert result.exit_code == 0, result.stderr
    record = Runs(home).list()[0].read()
    for said in (f"{record['accuracy']['test']:.4f}", f"{record['loss']['val']:.4f}", record["run"], "converged in"):
        assert said in result.stdout
    assert "warning" not in result.stderr


def test_second_fit_computes_nothing(featx_json: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = featx_json(*LENET, "-l", "pool2")
    monkeypatch.setattr("featx.forward.Forward.__call__", explode)
    code, again = featx_json(*LENET, "-l", "pool2")
    assert code == 0
    assert (again["computed"], again["reused"]) == (0, 200)
    assert again["accuracy"] == first["accuracy"]
    assert again["run"] != first["run"]
    assert featx_json(*LENET, "-l", "pool1")[0] != 0  # what was never computed still is


def test_options_are_obeyed(featx_json: Any) -> None:
    losses = [featx_json(*PIXELS, "--C", c)[1]["loss"]["train"] for c in ("0.001", "1", "10")]
    assert losses == sorted(losses, reverse=True)
    _, scaled = featx_json(*PIXELS)
    _, plain = featx_json(*PIXELS, "--no-standardize")
    assert plain["objective"] != scaled["objective"]
    _, seeded = featx_json(*PIXELS, "--seed", "1")
    assert seeded["accuracy"] != scaled["accuracy"]
    _, few = featx_json("fit", "digits", "--pixels", "--per-class", "20")
    assert few["rows"] == {"train": 160, "val": 20, "test": 20}


def test_fit_that_did_not_converge_says_so(featx: Any, featx_json: Any) -> None:
    with pytest.warns(match="did not converge"):
        result = featx(*PIXELS, "--max-iter", "1")
    assert result.exit_code == 0
    assert "NOT converged" in result.stdout
    with pytest.warns(match="did not converge"):
        assert featx_json(*PIXELS, "--max-iter", "1")[1]["converged"] is False


def test_own_splits_are_kept_apart(featx_json: Any, fill: Any, tmp_path: Path) -> None:
    names = [f"{s}/{c}/{i}.png" for s, n in (("train", 12), ("val", 3), ("test", 4)) for c in "ab" for i in range(n)]
    fill(tmp_path / "data", names)
    args = ("fit", tmp_path / "data", "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg")
    assert featx_json(*args)[1]["rows"] == {"train": 24, "val": 6, "test": 8}
    assert featx_json(*args, "--test-split", "val")[1]["rows"] == {"train": 22, "val": 2, "test": 6}
    code, document = featx_json(*args, "--train-split", "val", "--test-split", "val")
    assert (code, document["kind"]) == (2, "OptionError")


def test_images_that_test_and_train_are_warned_of(featx: Any, tmp_path: Path, png: Any) -> None:
    for split, seeds in (("train", range(8)), ("test", range(6, 10))):
        for seed in seeds:
            path = tmp_path / "data" / split / "ab"[seed % 2] / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(seed))
    result = featx("fit", tmp_path / "data", "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg")
    assert result.exit_code == 0, result.stderr
    assert "2 test images" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("fit", "digits"), "--pixels"),
        (("fit", "digits", "-b", "lenet5"), "layer"),
        ((*LENET, "-l", "pool1", "-l", "pool2"), "2 layers"),
        ((*PIXELS, "-b", "lenet5"), "--pixels"),
        ((*PIXELS, "-l", "pixels"), "--pixels"),
        (("fit",), "SOURCE"),
    ],
)
def test_what_to_fit_on_must_be_clear(featx: Any, home: Path, args: tuple[str, ...], said: str) -> None:
    result = featx(*args)
    assert result.exit_code == 2
    assert said.lower() in result.stderr.lower()
    assert not home.exists()
