"""Runs are listed with their sizes and removed; a run on a frozen base keeps what it learnt."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import document, featx, folder_of
from interruptions import interrupted_training
from safetensors.numpy import load_file

from featx.cache.memo import Memo
from featx.core.paths import home_folder
from featx.core.run_folder import MODEL_FILE, RECORD_FILE, Run, Runs
from featx.core.run_locks import held
from featx.models.backbones import resolve

pytestmark = pytest.mark.usefixtures("one_thread")

HOW = ("--limit", "60", "--epochs", "1", "--augment", "none", "--device", "cpu")
TUNE = ("train", "digits", "--mode", "finetune", "--batch-size", "16", *HOW)
FROZEN = ("train", "digits", "-b", "lenet5", "--weights", "random:3", "--mode", "frozen", *HOW)


def recorded(kind: str = "fit", age: float = 0, **record: Any) -> str:
    """Make up a run of about a kilobyte."""
    run = Runs().new(kind, ["featx", kind])
    run.write_bytes(MODEL_FILE, bytes(1000))
    run.write({"source": "digits", "backbone": "lenet5", **record})
    at = time.time() - age
    os.utime(run.path / RECORD_FILE, (at, at))
    return run.id


def ids(found: list[dict[str, Any]]) -> list[str]:
    return [entry["run"] for entry in found]


# ---- a frozen run keeps its head ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("head", "own"), [("linear", "fc3."), ("mlp:8", "fc3."), ("flat-mlp:8", "head.")])
def test_a_frozen_run_keeps_its_head_and_predicts_as_one_that_keeps_all(head: str, own: str) -> None:
    small = document(*FROZEN, "--head", head)["run"]
    whole = document(*FROZEN, "--head", head, "--keep-weights")["run"]
    tensors, every = (load_file(folder_of(run) / MODEL_FILE) for run in (small, whole))
    assert tensors.keys() == {name for name in every if name.startswith(own)}
    assert len(every) > len(tensors)
    record = Runs().open(small).read()
    assert (record["kept"], record["weights"]) == ("head", "random:3")
    assert record["weights_sha256"] == resolve("lenet5", weights="random:3", channels=1).weights_sha256
    shares = [document("predict", run, "digits", "--limit", "20")["predictions"] for run in (small, whole)]
    assert shares[0] == shares[1]
    memo = Memo(home_folder())
    one, other = (resolve(f"run:{run}", memo=memo) for run in (small, whole))
    assert one.weights_sha256 == other.weights_sha256
    assert one.module().state_dict().keys() == other.module().state_dict().keys()


def test_frozen_runs_that_kept_everything_still_open() -> None:
    """As earlier versions wrote them: all tensors, and no word of what is kept."""
    run = document(*FROZEN, "--keep-weights")["run"]
    before = document("predict", run, "digits", "--limit", "20")["predictions"]
    path = folder_of(run) / RECORD_FILE
    record = json.loads(path.read_text())
    path.write_text(json.dumps({name: value for name, value in record.items() if name not in ("kept", "held")}))
    assert document("predict", run, "digits", "--limit", "20")["predictions"] == before


def test_a_base_that_is_no_longer_what_it_was_is_refused_by_its_hash(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    file = tmp_path / "base.safetensors"
    save_file(resolve("lenet5", weights="random:3", channels=1).module().state_dict(), file)
    run = document("train", "digits", "-b", "lenet5", "--weights", file, "--mode", "frozen", *HOW)["run"]
    right = document("predict", run, "digits", "--limit", "20")["predictions"]
    moved = file.rename(tmp_path / "moved.safetensors")
    assert document("predict", run, "digits", "--limit", "20", "--weights", moved)["predictions"] == right
    save_file(resolve("lenet5", weights="random:4", channels=1).module().state_dict(), file)
    said = document("predict", run, "digits", code=1)["error"]
    assert Runs().open(run).read()["weights_sha256"] in said
    said = document("extract", "digits", "-b", f"run:{run}", "-l", "pool2", "--limit", "5", code=1)["error"]
    assert run in said


def test_a_head_on_a_head_and_what_stands_on_it(tmp_path: Path) -> None:
    first = document(*FROZEN)["run"]
    second = document("train", "digits", "-b", f"run:{first}", "--mode", "frozen", "--head", "mlp:4", *HOW)["run"]
    third = document("fit", "digits", "--limit", "60", "-b", f"run:{second}", "-l", "fc3.0")["run"]
    assert document("predict", third, "digits", "--limit", "5")["predictions"]
    assert document("runs", "info", first)["needed_by"] == [second]
    assert document("runs", "info", second)["needed_by"] == [third]
    assert document("runs", "info", third)["base"] == second


def test_records_that_stand_on_themselves_are_damaged() -> None:
    run = document(*FROZEN)["run"]
    path = folder_of(run) / RECORD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"weights": f"run:{run}"}))
    assert document("predict", run, "digits", code=4)["kind"] == "CorruptStoreError"


# ---- ls, info, rm, gc -----------------------------------------------------------------------------------------------


def test_ls_shows_every_run_with_its_size_finished_or_not() -> None:
    whole = recorded("fit", accuracy={"test": 0.5})
    begun = Runs().new("train", [])
    begun.write_bytes("last-1-0.safetensors", bytes(5000))
    broken = recorded("demo")
    (folder_of(broken) / RECORD_FILE).write_text("{")
    found = document("runs", "ls")
    states = {entry["run"]: (entry["kind"], entry["state"], entry["accuracy"]) for entry in found["runs"]}
    assert states == {
        whole: ("fit", "whole", 0.5),
        begun.id: ("train", "part", None),
        broken: ("demo", "damaged", None),
    }
    sizes = {entry["run"]: entry["bytes"] for entry in found["runs"]}
    on_disk = {run: sum(p.stat().st_size for p in folder_of(run).rglob("*") if p.is_file()) for run in sizes}
    assert sizes == on_disk
    assert found["bytes"] == sum(sizes.values()) > 7000
    text = featx("runs", "ls")
    assert text.exit_code == 0
    assert "3 runs" in text.stdout
    assert whole in text.stdout


def test_ls_of_an_empty_home_makes_nothing() -> None:
    assert document("runs", "ls")["runs"] == []
    assert not home_folder().exists()


def test_info_tells_what_a_run_keeps_and_what_it_stands_on() -> None:
    run = document(*FROZEN)["run"]
    found = document("runs", "info", run[:-2])
    assert found["files"][MODEL_FILE] == (folder_of(run) / MODEL_FILE).stat().st_size
    assert (found["weights"], found["kept"], found["backbone"]) == ("random:3", "head", "lenet5")
    assert f"files.{MODEL_FILE}: " in featx("runs", "info", run).stdout
    assert document("runs", "info", "zzz", code=2)["error"].startswith("no run 'zzz'")


def test_rm_removes_and_a_dry_run_does_not() -> None:
    first, second, third = (recorded() for _ in range(3))
    dry = document("runs", "rm", first, "--dry-run")
    assert (ids(dry["removed"]), dry["dry_run"], dry["bytes"] > 1000) == ([first], True, True)
    assert folder_of(first).exists()
    said = document("runs", "rm", first, code=2)
    assert "--yes" in said["hint"]
    assert ids(document("runs", "rm", first, second, "--yes")["removed"]) == [first, second]
    assert [run.id for run in Runs().all()] == [third]
    document("runs", "rm", code=2)
    document("runs", "rm", third, "--all", code=2)
    document("runs", "rm", "--all", "--yes")
    assert os.listdir(home_folder() / "runs") == []


def test_an_ambiguous_beginning_lists_the_runs() -> None:
    found = sorted(recorded() for _ in range(3))
    said = document("runs", "rm", "20", "--yes", code=2)["error"]
    assert all(run in said for run in found)
    assert len(Runs().all()) == 3


def test_a_run_that_others_need_is_not_removed_without_force() -> None:
    base = recorded("train")
    fit = recorded("fit", weights=f"run:{base}")
    tuned = recorded("train", weights=f"run:{base}", kept="network")
    said = document("runs", "rm", base, "--yes", code=2)["error"]
    assert fit in said
    assert tuned not in said
    assert ids(document("runs", "rm", base, fit, "--yes")["removed"]) == [base, fit]
    base = recorded("train")
    recorded("train", weights=f"run:{base}", kept="head")
    document("runs", "rm", base, "--yes", code=2)
    assert ids(document("runs", "rm", base, "--yes", "--force")["removed"]) == [base]


def interrupted(*args: object) -> str:
    """Begin a training, interrupt it, and return the run's id; it counts as old."""
    run = interrupted_training(*TUNE, *args)
    os.utime(folder_of(run), (0, 0))
    return run


@pytest.mark.parametrize("named", ["backbone", "weights", "file"])
def test_what_an_unfinished_training_goes_on_with_is_not_removed(named: str) -> None:
    base, other = (document(*FROZEN, "--seed", seed, "--keep-weights")["run"] for seed in (0, 1))
    how: dict[str, tuple[object, ...]] = {
        "backbone": ("-b", f"run:{base}"),
        "weights": ("-b", "lenet5", "--weights", f"run:{base}"),
        "file": ("-b", "lenet5", "--weights", folder_of(base) / MODEL_FILE),
    }
    begun = interrupted(*how[named])
    assert document("runs", "info", base)["needed_by"] == [begun]
    assert document("runs", "info", begun)["base"] == base
    assert begun in document("runs", "rm", base, "--yes", code=2)["error"]
    for run in (base, other):
        os.utime(folder_of(run) / RECORD_FILE, (0, 0))
    os.utime(folder_of(begun))
    done = document("runs", "gc", "--older-than", "1d", "--yes")
    assert (done["needed"], ids(done["removed"])) == ([base], [other])
    assert featx(*TUNE, *how[named], "--resume=strict").exit_code == 0


def test_the_head_that_an_unfinished_training_begins_with_is_not_removed() -> None:
    lenet = ("-b", "lenet5", "--weights", "random:3")
    fit = document("fit", "digits", "--limit", "60", *lenet, "-l", "relu4")["run"]
    begun = interrupted(*lenet, "--init-head", fit[:-1])
    assert begun in document("runs", "rm", fit, "--yes", code=2)["error"]
    assert ids(document("runs", "rm", fit, begun, "--yes")["removed"]) == [fit, begun]


def test_a_home_is_the_same_however_it_is_spelt(tmp_path: Path) -> None:
    base = document("train", "digits", "-b", "lenet5", "--mode", "scratch", *HOW)["run"]
    link, alias = tmp_path / "link", tmp_path / "alias.safetensors"
    link.symlink_to(home_folder())
    alias.symlink_to(folder_of(base) / MODEL_FILE)
    fit = ("fit", "digits", "--limit", "60", "-l", "pool2")
    for given in (
        ("-b", "lenet5", "--weights", folder_of(base) / MODEL_FILE),
        ("-b", "lenet5", "--weights", alias),
        ("-b", f"run:{link / 'runs' / base}"),
    ):
        run = document(*fit, *given)["run"]
        for home in (home_folder(), link):
            said = document("runs", "rm", base, "--dry-run", "--home", home, code=2)["error"]
            assert run in said
        document("runs", "rm", run, "--yes")


def test_an_id_that_is_not_there_says_what_makes_a_run_of_that_kind() -> None:
    no_run = ("-b", "run:nosuch", "-l", "pool2")
    assert document("fit", "digits", *no_run, code=2)["hint"] == "`featx train` makes one"
    recorded("fit")
    assert document("fit", "digits", *no_run, code=2)["hint"] == "`featx train` makes one"
    made = recorded("train")
    recorded("fit")
    assert made in document("fit", "digits", *no_run, code=2)["hint"]


def test_what_a_process_works_on_stays() -> None:
    run = Runs().new("train", [])
    run.write_bytes("last-1-0.safetensors", bytes(10))
    os.utime(run.path, (0, 0))
    with held(run) as mine:
        assert mine
        assert document("runs", "rm", run.id, "--yes", code=1)["in_use"] == [run.id]
        assert document("runs", "gc", "--max-size", "0", "--yes")["in_use"] == [run.id]
    os.utime(run.path, (0, 0))
    assert ids(document("runs", "gc", "--max-size", "0", "--yes")["removed"]) == [run.id]


def test_gc_takes_the_oldest_first_and_leaves_what_others_need() -> None:
    base = recorded("train", age=40 * 86_400)
    old = recorded(age=30 * 86_400)
    fit = recorded(age=86_400, weights=f"run:{base}")
    new = recorded()
    dry = document("runs", "gc", "--older-than", "20d", "--dry-run")
    assert (ids(dry["removed"]), dry["needed"]) == ([old], [base])
    assert len(Runs().all()) == 4
    done = document("runs", "gc", "--older-than", "20d", "--yes")
    assert ids(done["removed"]) == [old]
    assert set(done["stay"]) == {base, fit, new}
    size = sum(entry["bytes"] for entry in document("runs", "ls")["runs"] if entry["run"] == new)
    done = document("runs", "gc", "--max-size", str(size + 10), "--yes")
    assert set(ids(done["removed"])) >= {fit}
    assert new in done["stay"]
    document("runs", "gc", code=2)


def test_cache_gc_tells_of_runs() -> None:
    run = recorded()
    found = document("cache", "gc", "--max-size", "1GB", "--yes")["runs"]
    assert found == {"count": 1, "bytes": document("runs", "ls")["bytes"]}
    assert "1 run" in featx("cache", "gc", "--max-size", "1GB", "--yes").stdout
    assert Runs().open(run)


def test_links_among_the_runs_are_left_alone(tmp_path: Path) -> None:
    real = recorded()
    elsewhere = folder_of(real).rename(tmp_path / "kept")
    folder_of(real).symlink_to(elsewhere)
    document("runs", "rm", "--all", "--yes")
    assert (elsewhere / MODEL_FILE).exists()


def test_a_link_inside_a_run_is_removed_and_not_followed(tmp_path: Path) -> None:
    run, outside = recorded(), tmp_path / "outside"
    outside.mkdir()
    np.save(outside / "x.npy", np.zeros(3))
    (folder_of(run) / "link").symlink_to(outside)
    document("runs", "rm", run, "--yes")
    assert (outside / "x.npy").exists()


def test_a_fit_at_work_holds_its_folder() -> None:
    from featx.core.run_locks import in_use
    from featx.runs.record import new_run

    with new_run(home_folder(), "fit", []) as run:
        os.utime(run.path, (0, 0))
        assert in_use(Run(run.path))
        run.write({})
    assert not in_use(Run(run.path))
    assert os.listdir(run.path) == [RECORD_FILE]
