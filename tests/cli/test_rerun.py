"""``featx rerun``: a run repeated from its record alone, and what is said where it comes out otherwise."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from own_networks import OWN
from PIL import Image
from runs_once import RunsOnce
from safetensors.numpy import load_file, save_file

from featx.core.run_folder import MODEL_FILE, RECORD_FILE

pytestmark = pytest.mark.usefixtures("one_thread")

LENET = ("-b", "lenet5", "--weights", "random:1")
TRAIN = ("--epochs", "2", "--device", "cpu")
KINDS: dict[str, tuple[str, ...]] = {
    "fit": ("fit", "--pixels", "--standardize", "--C", "0.1"),
    "rows": ("fit", "--pixels", "--per-class", "9", "--seed", "5"),
    "sweep": ("fit", "--pixels", "--sweep", "clip"),
    "several layers": ("fit", *LENET, "-l", "pool*:avg"),
    "few-shot": ("fit", *LENET, "-l", "pool2", "--shots", "3", "--draws", "2"),
    "nearest neighbours": ("fit", "--pixels", "--head", "knn"),
    "LDA": ("fit", *LENET, "-l", "pool2", "--head", "lda", "--size", "28"),
    "views": ("fit", *LENET, "-l", "pool2:avg", "--flip", "--scales", "1,1.5", "--dtype", "float16"),
    "own": ("fit", "-b", "own.py:plain", "-l", "base:avg2", "--size", "12"),
    "frozen": ("train", *LENET, "--mode", "frozen", *TRAIN),
    "frozen, kept whole": ("train", *LENET, "--mode", "frozen", "--keep-weights", *TRAIN),
    "fine-tuned": ("train", *LENET, "--mode", "finetune", "--head", "mlp:8:dropout=0.5", *TRAIN),
    "scratch": ("train", "-b", "lenet5", "--mode", "scratch", "--seed", "3", "--schedule", "step", *TRAIN),
    "augmented": ("train", *LENET, "--mode", "frozen", "--augment", "trivial", "--mixup", "0.2", *TRAIN),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunsOnce:
    """Each kind of run, made once."""
    commands = {kind: (command, "digits", *options, *limit_of(options)) for kind, (command, *options) in KINDS.items()}
    return RunsOnce(tmp_path_factory.mktemp("shared"), commands)


@pytest.fixture
def known(made: RunsOnce, home: Path) -> Callable[[str], Any]:
    """Return the document of one of `KINDS`, whose folder is copied into this test's home."""
    return partial(made.into, home)


def limit_of(options: Sequence[str]) -> tuple[str, ...]:
    return () if "--per-class" in options else ("--limit", "120")


@pytest.fixture
def ran(featx_json: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Call a command that makes a run and return its document."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(OWN)

    def call(command: str, *options: str, source: str = "digits") -> Any:
        code, found = featx_json(command, source, *options, *limit_of(options))
        assert code == 0, found
        return found

    return call


@pytest.mark.parametrize("kind", list(KINDS))
def test_every_kind_of_run_comes_out_equal(
    known: Any, featx_json: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    first = known(kind)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)  # nothing depends on where it was
    code, found = featx_json("rerun", first["run"], "--recompute")
    assert (code, found["equal"], found["differences"]) == (0, True, [])
    assert (found["of"], found["accuracy"]) == (first["run"], first["accuracy"])
    assert found["run"] != first["run"]
    assert found["reused"] in (0, None)


def test_runs_that_stand_on_other_runs(ran: Any, known: Any, featx_json: Any) -> None:
    base = known("scratch")["run"]
    for options in (
        ("train", "-b", f"run:{base}", "--mode", "finetune", "--init-head", base, *TRAIN),
        ("fit", "-b", f"run:{base}", "-l", "pool2:avg"),
        ("fit", "-b", "lenet5", "--weights", f"run:{base}", "-l", "pool2:avg"),
        ("fit", "-b", f"run:{base}", "--weights", "random:7", "-l", "pool2:avg"),
    ):
        code, found = featx_json("rerun", ran(*options)["run"])
        assert (code, found["differences"]) == (0, []), options


def test_a_rerun_can_be_rerun(known: Any, featx_json: Any) -> None:
    _, second = featx_json("rerun", known("fit")["run"])
    code, third = featx_json("rerun", second["run"])
    assert (code, third["equal"]) == (0, True)


def test_a_training_that_was_killed_and_gone_on_with(home: Path, featx_json: Any, tmp_path: Path) -> None:
    words = ["digits", "-b", "lenet5", "--mode", "scratch", *TRAIN, "--limit", "400"]
    words += ["--checkpoint-minutes", "0", "--resume"]
    command = [sys.executable, "-m", "featx.cli.main", "train", *words, "--batch-size", "16"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "FEATX_HOME": str(home)})
    while process.poll() is None and not list(home.glob("runs/*/checkpoint.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    code, run = featx_json("train", *words, "--batch-size", "16")
    assert (code, len(list((home / "runs").iterdir()))) == (0, 1)
    code, found = featx_json("rerun", run["run"])
    assert (code, found["equal"]) == (0, True)


def test_a_source_by_its_relative_path_is_found_from_anywhere(
    featx_json: Any, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(pets.parent)
    _, first = featx_json("fit", "pets", "-b", "pixels", "-l", "pixels:avg2", "--size", "8")
    code, found = featx_json("rerun", first["run"])
    assert (code, found["differences"]) == (0, [])
    monkeypatch.chdir("/")
    code, found = featx_json("rerun", first["run"])
    assert (code, found["equal"]) == (0, True)
    assert [one["name"] for one in found["differences"]] == ["source"]


def test_changed_images_are_named(featx_json: Any, pets: Path) -> None:
    _, first = featx_json("fit", pets, "-b", "pixels", "-l", "pixels:avg2", "--size", "8")
    for path in (pets / "cat").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(path))).save(path)
    code, found = featx_json("rerun", first["run"])
    assert (code, found["equal"]) == (7, False)
    kinds = {one["kind"] for one in found["differences"]}
    assert kinds == {"result", "rows"}
    assert all(one["by"] > 0 for one in found["differences"] if one["name"].endswith("tensors"))


def test_changed_weights_are_named(
    ran: Any, known: Any, featx_json: Any, featx: Any, tmp_path: Path, home: Path
) -> None:
    base = known("scratch")["run"]
    weights = tmp_path / "weights.safetensors"
    tensors = load_file(home / "runs" / base / MODEL_FILE)
    save_file(tensors, weights)
    run = ran("fit", "-b", "lenet5", "--weights", str(weights), "-l", "pool2")["run"]
    save_file({name: value * 1.25 for name, value in tensors.items()}, weights)
    code, found = featx_json("rerun", run)
    assert (code, found["equal"]) == (7, False)
    assert "weights_sha256" in {one["name"] for one in found["differences"] if one["kind"] == "file"}
    text = featx("rerun", run)
    assert text.exit_code == 7
    assert "differs in " in text.stdout
    assert "another network: weights_sha256" in text.stdout


def test_another_version_is_named_though_nothing_differs(known: Any, featx: Any, home: Path) -> None:
    run = known("fit")["run"]
    versions = json.loads((home / "runs" / run / RECORD_FILE).read_text())["versions"]
    _change(home, run, versions=versions | {"torch": "1.0"})
    found = featx("rerun", run)
    assert found.exit_code == 0
    assert "equal, bit for bit" in found.stdout
    assert "equal in spite of another version: torch: 1.0, now " in found.stdout


def test_an_absent_device_is_replaced_and_said(known: Any, featx: Any, home: Path) -> None:
    run = known("scratch")["run"]
    _change(home, run, device="cuda:7")
    found = featx("rerun", run)
    assert found.exit_code == 0
    assert "instead" in found.stderr
    assert "another machine or device: device: cuda:7, now " in found.stdout


@pytest.mark.parametrize(("field", "kind"), [("asked", "scratch"), ("cutmix", "scratch"), ("tol", "fit")])
def test_what_an_older_record_lacks_is_named(known: Any, featx_json: Any, home: Path, field: str, kind: str) -> None:
    run = known(kind)["run"]
    path = home / "runs" / run / RECORD_FILE
    record = json.loads(path.read_text())
    del record[field]
    path.write_text(json.dumps(record))
    code, said = featx_json("rerun", run)
    assert code == 2
    assert f"no field {field!r}" in said["error"]


def test_a_fit_of_an_older_featx_needs_no_new_field(known: Any, featx_json: Any, home: Path) -> None:
    run = known("several layers")["run"]
    path = home / "runs" / run / RECORD_FILE
    record = json.loads(path.read_text())
    del record["asked"], record["identity"]
    path.write_text(json.dumps(record))
    code, found = featx_json("rerun", run)
    assert (code, found["differences"]) == (0, [])


def test_damage_is_told_in_one_line(known: Any, featx_json: Any, home: Path) -> None:
    run = known("fit")["run"]
    for fields in ({"splits": 3}, {"extraction": None}, {"asked": {"source": "digits"}}, {"C": "much"}):
        _change(home, run, **fields)
        code, said = featx_json("rerun", run)
        assert code in (2, 4), said
        assert "bug" not in said["hint"]


def test_code_that_a_foreign_record_names_is_not_run(ran: Any, featx_json: Any, home: Path, tmp_path: Path) -> None:
    run = ran(*KINDS["own"])["run"]
    foreign = tmp_path / "foreign"
    (home / "runs" / run).rename(foreign)
    (tmp_path / "own.py").write_text("raise SystemExit('was run')")
    code, said = featx_json("rerun", str(foreign))
    assert (code, "may not name code" in said["error"]) == (2, True)


def test_options_in_hints_are_said_to_be_those_of_the_first_command(
    featx_json: Any, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["featx", "fit", str(pets)])
    _, first = featx_json("fit", pets, "-b", "pixels", "-l", "pixels:avg2", "--size", "8")
    (pets / "cat" / "0.png").write_text("no image")
    code, said = featx_json("rerun", first["run"])
    assert code == 1
    assert "--on-error skip" in said["hint"]
    assert said["hint"].startswith(f"in the run's own command, `featx fit {pets}`: ")
    pets.rename(pets.with_name("pets2"))
    _, said = featx_json("rerun", first["run"])
    assert said["hint"].startswith("in the run's own command, `")


LIVING = """
import sys, time
from pathlib import Path
from featx.recipes.rerun import passing_store
with passing_store(Path(sys.argv[1])) as store:
    (store.home / "features").mkdir()
    print(store.home, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize(
    "upkeep", [("rerun",), ("cache", "gc", "--max-size", "1TB"), ("runs", "gc", "--max-size", "1TB")]
)
def test_the_store_of_a_killed_rerun_is_removed_and_that_of_a_living_one_stays(
    known: Any, featx_json: Any, home: Path, upkeep: tuple[str, ...]
) -> None:
    words = ("rerun", known("fit")["run"], "--recompute") if upkeep == ("rerun",) else upkeep
    with subprocess.Popen([sys.executable, "-c", LIVING, str(home)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        store = Path(process.stdout.readline().strip())
        assert featx_json(*words)[0] == 0
        assert store.parent == home
        assert (store / "features").is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert store.is_dir()
    assert featx_json(*words)[0] == 0
    assert not store.exists()
    assert not list(home.glob(".*"))


def _change(home: Path, run: str, **fields: Any) -> None:
    path = home / "runs" / run / RECORD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
