"""``featx predict``: what was scored in the run is what is predicted, from any source, and in every format."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from programs import PROGRAM

from featx.cache.memo import Memo
from featx.core.run_folder import MODEL_FILE, RECORD_FILE, Runs
from featx.data.sources import load_source, load_splits
from featx.data.splits import partition
from featx.runs.predict import open_predictor, predict

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN = ("--epochs", "2", "--augment", "none", "--device", "cpu")


@pytest.fixture
def parted(tmp_path: Path) -> Path:
    """Write some of the digits with splits of their own."""
    digits = load_source("digits")
    order = np.random.default_rng(0).permutation(len(digits))[:500]
    images = np.stack([digits[i][0] for i in order])
    labels = np.array([digits.labels[i] for i in order])
    path = tmp_path / "digits.npz"
    parts = {"train": slice(400), "test": slice(400, 500)}
    np.savez(path, **{f"{x}_{s}": v[at] for s, at in parts.items() for x, v in (("X", images), ("y", labels))})
    return path


@pytest.fixture
def recorded(featx_json: Any) -> Callable[..., Any]:
    """Call a command and return its document."""

    def call(*args: object) -> Any:
        code, found = featx_json(*args)
        assert code == 0, found
        return found

    return call


RUNS = {
    "pixels": ("fit", "--pixels"),
    "pixels, other statistics": ("fit", "--pixels", "--mean", "0.3", "--std", "0.2", "--size", "12"),
    "pixels, pooled": ("fit", "-b", "pixels", "-l", "pixels:avg4"),
    "features": ("fit", "-b", "lenet5", "--weights", "random:3", "-l", "pool2", "--dtype", "float16"),
    "views": ("fit", "-b", "lenet5", "--weights", "random:3", "-l", "pool2", "--flip"),
    "normalised": ("fit", "--pixels", "--normalize", "l2"),
    "lda": ("fit", "--pixels", "--head", "lda"),
    "ridge": ("fit", "-b", "lenet5", "--weights", "random:3", "-l", "pool2", "--head", "ridge"),
    "network": ("train", "-b", "lenet5", "--mode", "scratch", *TRAIN),
    "flat head": ("train", "-b", "lenet5", "--mode", "scratch", "--head", "flat-mlp:8:dropout=0.2", *TRAIN),
    "frozen": ("train", "-b", "lenet5", "--weights", "random:1", "--mode", "frozen", *TRAIN),
}


@pytest.mark.parametrize("name", list(RUNS))
def test_predictions_are_those_that_were_scored(recorded: Any, parted: Path, name: str) -> None:
    command, *options = RUNS[name]
    run = recorded(command, parted, *options)
    found = recorded("predict", run["run"], parted, "--split", "test")
    assert found["accuracy"] == run["accuracy"]["test"]
    assert (found["labelled"], len(found["predictions"]), found["skipped"]) == (100, 100, [])
    shares = {p["probabilities"][0] is None for p in found["predictions"]}
    assert shares == {name == "ridge"}
    smaller = recorded("predict", run["run"], parted, "--split", "test", "--batch-size", "7", "--workers", "2")
    assert [p["classes"] for p in smaller["predictions"]] == [p["classes"] for p in found["predictions"]]


def test_rows_of_a_run_without_splits(recorded: Any, home: Path) -> None:
    run = recorded("fit", "digits", "--pixels", "--seed", "4")
    test = partition(load_splits("digits"), seed=4).test
    predictor = open_predictor(Runs(home).open(run["run"]), Memo(home))
    found = list(predict(predictor, test.source.subset(test.rows), top=10))
    assert np.mean([p.label == p.classes[0] for p in found]) == run["accuracy"]["test"]
    assert all(list(p.probabilities) == sorted(p.probabilities, reverse=True) for p in found)
    assert [sum(p.probabilities) for p in found] == pytest.approx([1] * len(found))
    # The log loss of the record says that the probabilities are the run's too.
    shares = [dict(zip(p.classes, p.probabilities, strict=True))[str(p.label)] for p in found]
    assert -np.log(shares).mean() == pytest.approx(run["loss"]["test"], rel=1e-6)


def test_class_that_was_never_seen_has_no_share(recorded: Any, home: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8), np.uint8)
    labels = np.arange(30) % 2 * 2
    data = {"X_train": images, "y_train": labels, "X_test": images[:3], "y_test": np.array([0, 1, 2])}
    np.savez(tmp_path / "x.npz", **data)
    run = recorded("fit", tmp_path / "x.npz", "--pixels")
    found = recorded("predict", run["run"], tmp_path / "x.npz", "--split", "test", "--top", "3")
    assert found["accuracy"] == run["accuracy"]["test"]
    assert all(p["classes"][2] == "1" and p["probabilities"][2] == 0 for p in found["predictions"])


def test_image_files_folders_and_archives(
    recorded: Any, featx: Any, pets: Path, pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = recorded("fit", pets, "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg")["run"]
    cat, dog = pets / "cat" / "0.png", pets / "dog" / "1.png"
    found = recorded("predict", run, cat, dog, pets, pack(pets))
    ids = [p["id"] for p in found["predictions"]]
    assert ids[:2] == [str(cat), str(dog)]
    assert ids[2:12] == ids[12:]
    assert found["labelled"] == 20
    result = featx("predict", run, cat, "--top", "5")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines()[0].split() == ["image", "class", "probability", "class_2", "probability_2"]
    assert "accuracy" not in result.stdout
    wrong = featx("predict", run, tmp_path / "nosuch.png")
    assert wrong.exit_code == 2
    assert "nosuch.png" in wrong.stderr


def test_csv_is_nothing_but_the_table(recorded: Any, featx: Any, pets: Path) -> None:
    run = recorded("fit", pets, "--pixels", "--size", "8")["run"]
    (pets / "dog" / "broken.png").write_bytes(b"no image")
    result = featx("predict", run, pets, "--format", "csv", "--top", "2", "--on-error", "skip")
    assert result.exit_code == 3
    lines = list(csv.DictReader(io.StringIO(result.stdout)))
    assert len(lines) == 10
    assert set(lines[0]) == {"image", "class", "probability", "class_2", "probability_2", "label"}
    assert {line["label"] for line in lines} == {"cat", "dog"}
    assert "skipped dog/broken.png" in result.stderr
    assert "accuracy" in result.stderr
    assert featx("predict", run, pets, "--format", "csv", "--json").exit_code == 2


def test_broken_images_are_an_error_or_skipped(featx: Any, featx_json: Any, recorded: Any, pets: Path) -> None:
    run = recorded("fit", pets, "--pixels", "--size", "8")["run"]
    (pets / "dog" / "broken.png").write_bytes(b"no image")
    result = featx("predict", run, pets)
    assert result.exit_code == 1
    assert "dog/broken.png" in result.stderr
    code, found = featx_json("predict", run, pets, "--on-error", "skip")
    assert code == 3
    assert [image["id"] for image in found["skipped"]] == ["dog/broken.png"]
    assert len(found["predictions"]) == found["labelled"] == 10


def test_labels_that_the_run_does_not_know_are_told_apart(featx: Any, recorded: Any, pets: Path) -> None:
    run = recorded("fit", pets, "--pixels", "--size", "8")["run"]
    (pets / "dog").rename(pets / "wolf")
    result = featx("predict", run, pets)
    assert result.exit_code == 0
    assert "6 images with a label" in result.stdout
    assert "4 images have a label that the run does not know" in result.stderr


def test_pixels_need_no_torch(recorded: Any, home: Path, tmp_path: Path, shell: Any) -> None:
    run = recorded("fit", "digits", "--pixels", "--limit", "100")["run"]
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "x.png")
    code = "import sys; sys.argv = ['featx', *sys.argv[1:]]\nfrom featx.cli.main import main\ntry: main()\n"
    code += "finally: print(*(m for m in ('torch', 'sklearn', 'h5py') if m in sys.modules), file=sys.stderr)"
    done: subprocess.CompletedProcess[str] = shell("-c", code, "predict", run, str(tmp_path / "x.png"), "--quiet")
    assert done.returncode == 0, done.stderr
    assert done.stderr.split() == []
    assert "x.png" in done.stdout


def test_json_is_one_document(recorded: Any, parted: Path, shell: Any) -> None:
    run = recorded("fit", parted, "--pixels")["run"]
    done = shell(*PROGRAM, "predict", run, str(parted), "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["predictions"]) == 500


def test_runs_that_cannot_predict(featx: Any, recorded: Any, parted: Path, home: Path) -> None:
    run = recorded("fit", parted, "--pixels")["run"]
    folder = Runs(home).open(run).path
    record = json.loads((folder / RECORD_FILE).read_text())

    def error(code: int) -> str:
        result = featx("predict", run, parted)
        assert result.exit_code == code, result.output
        return str(result.stderr)

    (folder / RECORD_FILE).write_text(json.dumps({**record, "model_classes": [0, 1]}))
    assert "does not match its record" in error(4)
    (folder / RECORD_FILE).write_text(json.dumps({**record, "weights_sha256": "0" * 64}))
    assert "no longer those" in error(1)
    (folder / RECORD_FILE).write_text(json.dumps({k: v for k, v in record.items() if k != "layer"}))
    assert "is damaged" in error(4)
    (folder / RECORD_FILE).write_text(json.dumps(record | {"kind": "demo"}))
    assert "has no model" in error(2)
    (folder / RECORD_FILE).write_text(json.dumps(record | {"head": "knn"}))
    assert "keeps no model" in error(2)
    (folder / RECORD_FILE).write_text(json.dumps(record))
    (folder / MODEL_FILE).write_bytes(b"damaged")
    assert "is damaged" in error(4)
    (folder / MODEL_FILE).unlink()
    assert "has no model.safetensors" in error(1)
