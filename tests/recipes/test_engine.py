"""Rows are run once: what is finished is found by its content, what was begun goes on, rows stand on others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import document
from interruptions import interrupted_training

from featx.core.run_folder import RECORD_FILE, Runs
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec
from featx.data.split_options import SplitOptions
from featx.errors import FeatureError, FeatxError, OptionError, WeightsError
from featx.probes.config import FitConfig
from featx.recipes.engine import DONE, STARTED, TO_DO, Engine, State
from featx.recipes.experiment import Experiment
from featx.recipes.summary import summaries
from featx.training.config import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = SplitOptions(per_class=12)
PIXELS = Experiment("pixels", "digits", "pixels", FitConfig(C=0.1), rows=ROWS)
NET = Experiment("fit", "digits", "lenet5", FitConfig(), (LayerSpec("pool2"),), BackboneConfig("random:0"), rows=ROWS)
SCRATCH = Experiment("scratch", "digits", "lenet5", TrainConfig("scratch", epochs=1), rows=ROWS, seeds=(0, 1))
ON_IT = Experiment("on it", "digits", "row:scratch", FitConfig(), (LayerSpec("pool2"),), rows=ROWS, seeds=(0, 1))


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Return a home for all tests to look at, and the run of `NET` in it."""
    folder = tmp_path_factory.mktemp("fitted")
    return folder, str(engine(folder).run(NET, 0)["id"])


def engine(home: Path, *rows: Experiment) -> Engine:
    """Return one as a new process has it."""
    return Engine(home, ["featx", "run", "x"], lambda line: None, rows)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home that commands have as well."""
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize("row", [PIXELS, NET, SCRATCH], ids=lambda row: row.name)
def test_a_row_is_run_once_and_found_by_the_next_process(home: Path, row: Experiment) -> None:
    first = engine(home)
    assert first.state(row, 0) == State(TO_DO)
    record = first.run(row, 0)
    assert record["seed"] == 0
    assert first.state(row, 0) == engine(home).state(row, 0) == State(DONE, record["id"])
    assert engine(home).run(row, 0) == record
    assert first.state(row, 1) == State(TO_DO)
    assert [run.id for run in Runs(home).list()] == [record["id"]]


@pytest.mark.parametrize(
    "other",
    [
        replace(NET, how=FitConfig(C=0.5)),
        replace(NET, layers=(LayerSpec("pool1"),)),
        replace(NET, network=BackboneConfig("random:1")),
        replace(NET, network=BackboneConfig("random:0", size=28, resize="pad")),
        replace(NET, rows=SplitOptions(per_class=13)),
        replace(NET, extraction=ExtractConfig(dtype="float16")),
        replace(NET, source="pets"),
    ],
    ids=["C", "layer", "weights", "size", "rows", "dtype", "source"],
)
def test_what_changes_a_number_is_another_run(fitted: tuple[Path, str], pets: Path, other: Experiment) -> None:
    other = (
        replace(other, source=str(pets), network=BackboneConfig("random:0", size=32))
        if other.source == "pets"
        else other
    )
    assert engine(fitted[0]).state(NET, 0).status == DONE
    assert engine(fitted[0]).state(other, 0) == State(TO_DO)


@pytest.mark.parametrize(
    "same",
    [
        replace(NET, name="called otherwise"),
        replace(NET, extraction=ExtractConfig(batch_size=7, workers=1, device="cpu")),
        replace(NET, how=FitConfig(draws=3, l1_ratio=0.1)),
    ],
    ids=["name", "machine", "idle options"],
)
def test_what_changes_none_is_the_same_run(fitted: tuple[Path, str], same: Experiment) -> None:
    home, done = fitted
    assert engine(home).state(same, 0) == State(DONE, done)


@pytest.mark.parametrize("how", [FitConfig(), TrainConfig("scratch", epochs=1)], ids=["fit", "training"])
def test_images_are_the_same_however_their_folder_is_called(
    home: Path, pets: Path, monkeypatch: pytest.MonkeyPatch, how: Any
) -> None:
    backbone = "pixels" if isinstance(how, FitConfig) else "lenet5"
    row = Experiment("a", str(pets), backbone, how)
    done = engine(home).run(row, 0)
    monkeypatch.chdir(pets.parent)
    moved = pets.rename(pets.with_name("moved"))
    for name in ("moved", "./moved/", str(moved)):
        again = replace(row, source=name)
        assert engine(home).state(again, 0) == State(DONE, done["id"]), name
        assert engine(home).run(again, 0)["id"] == done["id"]


def test_images_that_changed_are_another_run(home: Path, pets: Path, png: Any) -> None:
    row = Experiment("a", str(pets), "pixels", FitConfig())
    engine(home).run(row, 0)
    (pets / "cat" / "0.png").write_bytes(png(99))
    assert engine(home).state(row, 0).status == TO_DO


def test_runs_of_the_commands_count_as_well(home: Path) -> None:
    fitted = document("fit", "digits", "--pixels", "--C", "0.1", "--per-class", "12")
    trained = document("train", "digits", "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--per-class", "12")
    assert engine(home).state(PIXELS, 0) == State(DONE, fitted["run"])
    assert engine(home).state(SCRATCH, 0) == State(DONE, trained["run"])


def test_a_training_that_was_interrupted_goes_on(home: Path) -> None:
    row = Experiment("a", "digits", "lenet5", TrainConfig("scratch", epochs=2, checkpoint_minutes=0), rows=ROWS)
    command = ("--mode", "scratch", "--epochs", "2", "--per-class", "12", "--checkpoint-minutes", "0")
    begun = interrupted_training("train", "digits", "-b", "lenet5", *command)
    assert engine(home).state(row, 0) == State(STARTED, begun)
    assert engine(home).run(row, 0)["id"] == begun


def test_a_row_stands_on_the_network_that_another_trained_with_the_same_seed(home: Path) -> None:
    made = engine(home, SCRATCH, ON_IT)
    assert made.state(ON_IT, 1) == State(TO_DO)
    record = made.run(ON_IT, 1)
    trained = made.state(SCRATCH, 1)
    assert trained.status == DONE, "it was run first"
    assert record["weights"] == f"run:{trained.run}"
    assert made.state(SCRATCH, 0) == State(TO_DO)
    again = engine(home, SCRATCH, ON_IT)
    assert again.run(ON_IT, 1)["id"] == record["id"]
    assert len(Runs(home).list()) == 2


def test_a_training_that_finished_untimed_is_timed_where_that_is_asked_for(home: Path) -> None:
    record = engine(home).run(SCRATCH, 0)
    assert record["inference"] is None
    timed = engine(home).run(replace(SCRATCH, bench=True), 0)
    assert timed["inference"]["ms_per_image"] > 0
    assert timed["inference"]["batch_size"] == TrainConfig.batch_size
    assert timed | {"inference": None} == record
    assert engine(home).run(replace(SCRATCH, bench=True), 0) == timed, "once"
    assert len(Runs(home).list()) == 1


def test_the_network_of_another_processor_is_not_timed_here(home: Path) -> None:
    run = Runs(home).open(engine(home).run(SCRATCH, 0)["id"])
    run.write(run.read() | {"processor": "Z80"})
    heard: list[str] = []
    record = Engine(home, ["featx"], heard.append).run(replace(SCRATCH, bench=True), 0)
    assert record["inference"] is None
    assert "Z80" in heard[-1]


def test_a_head_may_begin_as_a_row_trained_it(home: Path) -> None:
    frozen = Experiment("head", "digits", "lenet5", TrainConfig("frozen", epochs=1), (), NET.network, rows=ROWS)
    tuned = replace(frozen, name="tuned", how=TrainConfig("finetune", epochs=1, init_head="row:head"))
    made = engine(home, frozen, tuned)
    record = made.run(tuned, 0)
    assert record["init_head"] == made.state(frozen, 0).run


def test_of_several_layers_validation_chooses_and_all_are_recorded(home: Path) -> None:
    row = replace(NET, layers=(LayerSpec("pool1"), LayerSpec("pool2")))
    record = engine(home).run(row, 0)
    assert [line["layer"] for line in record["layers"]] == ["pool1", "pool2"]
    assert engine(home).run(row, 0)["id"] == record["id"]


def test_a_training_may_be_timed(home: Path) -> None:
    record = engine(home).run(replace(SCRATCH, bench=True), 0)
    assert record["inference"]["ms_per_image"] > 0


def test_images_are_opened_once_for_all_rows(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from featx.recipes import opened

    calls: list[str] = []
    real = opened.open_splits
    monkeypatch.setattr(opened, "open_splits", lambda *args: calls.append(args[0]) or real(*args))
    made = engine(home)
    for row in (PIXELS, replace(PIXELS, how=FitConfig(C=0.5), rows=SplitOptions(limit=100))):
        for seed in (0, 1):
            made.run(row, seed)
    assert calls == ["digits"]


def test_without_any_run_a_state_needs_no_images(home: Path) -> None:
    assert engine(home).state(replace(PIXELS, source="no/such/folder"), 0) == State(TO_DO)


def test_a_damaged_record_is_no_finished_run(home: Path) -> None:
    record = engine(home).run(PIXELS, 0)
    (Path(record["path"]) / RECORD_FILE).write_text("{")
    assert engine(home).state(PIXELS, 0) == State(TO_DO)


def test_rows_that_cannot_be_had_are_refused_beforehand(home: Path) -> None:
    made = engine(home, SCRATCH)
    for row, error in (
        (replace(NET, backbone="lenet6"), OptionError),
        (replace(NET, network=BackboneConfig("no.pth")), WeightsError),
        (replace(SCRATCH, network=BackboneConfig("no.pth")), OptionError),
        (replace(ON_IT, backbone="row:scrach"), OptionError),
    ):
        with pytest.raises(error):
            made.check(row)
    made.check(ON_IT)


def test_a_row_that_failed_is_not_tried_again_for_those_that_stand_on_it(home: Path, monkeypatch: Any) -> None:
    from featx.training import train

    tries: list[int] = []

    def diverge(*args: object, **how: object) -> None:
        tries.append(0)
        raise FeatureError("the loss is NaN")

    monkeypatch.setattr(train, "train", diverge)
    made = engine(home, SCRATCH, ON_IT)
    for row in (SCRATCH, ON_IT):
        with pytest.raises(FeatxError, match="NaN"):
            made.run(row, 0)
    assert len(tries) == 1


def test_a_summary_is_over_the_seeds(home: Path) -> None:
    made = engine(home)
    records = [made.run(SCRATCH, seed) for seed in SCRATCH.seeds]
    (row,) = summaries([SCRATCH, ON_IT], {"scratch": records})
    assert [record["weights"] for record in records] == ["random:0", "random:1"], "drawn from the seed"
    scores = [record["accuracy"]["test"] for record in records]
    assert row["how"] == "scratch"
    assert row["layer"] is None
    assert row["seeds"] == [0, 1]
    assert row["accuracy"] == pytest.approx(sum(scores) / 2)
    low, high = row["interval"]
    assert (low + high) / 2 == pytest.approx(row["accuracy"])
    assert row["runs"] == [record["id"] for record in records]
    assert row["seconds"] == pytest.approx(sum(record["seconds"]["total"] for record in records) / 2)
