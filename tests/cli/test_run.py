"""``featx run``: a recipe's rows, planned, run, interrupted, gone on with, and reported."""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import command
import pytest
from heavy import loaded_after

from featx.core.run_folder import MODEL_FILE, Runs
from featx.errors import FeatureError
from featx.training.step import Step

pytestmark = pytest.mark.usefixtures("one_thread")

RECIPE = """
[recipe]
name = "mine"
title = "LeNet on digits"
draw = ["curves", "layers"]
columns = ["test loss", "s/epoch", "trainable"]
[defaults]
source = "digits"
backbone = "lenet5"
weights = "random:0"
per_class = 12
seeds = [0, 1]
[train]
epochs = 1
[[row]]
name = "pixels"
backbone = "pixels"
[[row]]
name = "best layer"
best_of = ["pool1", "pool2"]
[[row]]
name = "tuned"
mode = "finetune"
[[row]]
name = "on it"
backbone = "row:tuned"
layer = "pool2"
"""

SEEDS = """
[recipe]
name = "seeds"
[defaults]
source = "digits"
backbone = "pixels"
per_class = 12
[[row]]
name = "one"
[[row]]
name = "two"
seeds = [0, 1]
C = 0.5
[[row]]
name = "another"
seeds = [2]
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the recipe above into an empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "mine.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="session")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Run the recipe above once for all tests: return its home, and what was printed."""
    folder = tmp_path_factory.mktemp("ran")
    (folder / "mine.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FEATX_HOME", str(folder / "home"))
        result = command.featx("run", "mine.toml")
    assert result.exit_code == 0, result.output
    assert {path.name for path in folder.iterdir()} == {"mine.toml", "home"}, "nothing is written where nobody asked"
    return folder / "home", result.stdout


@pytest.fixture
def filled(ran: tuple[Path, str], home: Path, mine: Path) -> Path:
    """Return a home, the test's own, where the recipe was run."""
    shutil.copytree(ran[0], home)
    return home


def keep(home: Path, wanted: Callable[[dict[str, Any]], bool]) -> None:
    """Remove the runs whose records are not wanted."""
    for run in Runs(home).list():
        if not wanted(run.read()):
            shutil.rmtree(run.path)


def test_a_table_an_answer_and_a_report_and_again_at_once(featx_json: Any, filled: Path, ran: tuple[Path, str]) -> None:
    runs = [run.id for run in Runs(filled).list()]
    assert len(runs) == 8
    for said in ("pixels, seed 0: test accuracy", "on it, seed 1: test accuracy", "95 % interval", "report ", *runs):
        assert said in ran[1]
    code, document = featx_json("run", "mine.toml")
    assert code == 0
    assert [run.id for run in Runs(filled).list()] == runs, "nothing was run again"
    assert {"recipe", "rows", "answer", "report"} <= set(document)
    rows = {row["how"]: row for row in document["rows"]}
    assert list(rows) == ["pixels", "best layer", "tuned", "on it"]
    assert sorted(run for row in rows.values() for run in row["runs"]) == sorted(runs)
    for row in rows.values():
        assert {"how", "layer", "seeds", "accuracy", "interval", "seconds", "runs"} <= set(row)
        assert 0 <= row["accuracy"] <= 1
        assert row["seconds"] > 0
    assert rows["tuned"]["seeds"] == [0, 1]
    assert rows["tuned"]["layer"] is None
    assert set(rows["best layer"]["layer"].split(", ")) <= {"pool1", "pool2"}, "one a seed"
    assert len(document["answer"]) == 2
    assert document["failed"] == []
    report = Path(document["report"])
    assert report == filled / "reports" / "mine.html"
    assert "LeNet on digits" in report.read_text(encoding="utf-8")
    assert [Path(path).name for path in document["pictures"]] == [
        "mine-curves.svg",
        "mine-layers-1.svg",
        "mine-layers-2.svg",
    ]
    assert all(Path(path).read_bytes().startswith(b"<?xml") for path in document["pictures"])


def test_each_cell_of_the_table_is_filled(ran: tuple[Path, str]) -> None:
    tables = [part.splitlines() for part in ran[1].split("\n\n") if part.startswith("row ")]
    assert [line.split()[0] for line in tables[0]] == ["row", "pixels", "best", "tuned", "on"]
    for lines in tables:
        heads = re.split(r"  +", lines[0])
        for line in lines[1:]:
            assert len(re.split(r"  +", line)) == len(heads), line
    assert {head for lines in tables for head in re.split(r"  +", lines[0])} >= {"test loss", "s/epoch", "trainable"}


def test_a_plan_without_any_run_has_all_to_do(featx_json: Any, home: Path, mine: Path) -> None:
    _, before = featx_json("run", "mine.toml", "--plan")
    assert not Runs(home).list()
    assert [(line["how"], line["seed"]) for line in before["plan"]] == [
        (name, seed) for name in ("pixels", "best layer", "tuned", "on it") for seed in (0, 1)
    ]
    assert {line["state"] for line in before["plan"]} == {"to do"}
    assert before["seconds"] is None


def test_a_plan_shows_what_is_done_what_is_left_and_how_long(featx_json: Any, featx: Any, filled: Path) -> None:
    keep(filled, lambda record: record["seed"] == 0)
    _, after = featx_json("run", "mine.toml", "--plan")
    states = {(line["how"], line["seed"]): line for line in after["plan"]}
    assert [line["state"] for line in after["plan"]] == ["done", "to do"] * 4
    assert states["tuned", 1]["seconds"] == states["tuned", 0]["seconds"], "as long as with the other seed"
    took = [line["seconds"] for line in after["plan"] if line["state"] == "done"]
    assert after["seconds"] == pytest.approx(sum(took))
    assert "4 of 8 runs done, 4 to run" in featx("run", "mine.toml", "--plan").stdout


def test_interrupted_it_says_what_is_kept_and_goes_on(featx: Any, filled: Path) -> None:
    keep(filled, lambda record: record["seed"] == 0 and record["kind"] == "fit" and "run:" not in record["weights"])
    changes = ("--set", "checkpoint_minutes=0", "--set", "epochs=2", "--set", "seeds=0")
    update, steps = Step.update, [0]

    def cut(self: Step) -> None:
        update(self)
        steps[0] += 1
        if steps[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "update", cut)
        result = featx("run", "mine.toml", *changes)
    assert result.exit_code == 130, result.output
    assert "2 finished runs are kept; the same command goes on" in result.stderr
    (begun,) = {run.id for run in Runs(filled).all()} - {run.id for run in Runs(filled).list()}
    assert "started" in featx("run", "mine.toml", *changes, "--plan").stdout
    assert featx("run", "mine.toml", *changes).exit_code == 0
    runs = [run.id for run in Runs(filled).list()]
    assert begun in runs
    assert len(runs) == len(Runs(filled).all()) == 4


def test_a_network_that_was_removed_is_trained_again_for_the_rows_that_stand_on_it(
    featx_json: Any, filled: Path
) -> None:
    (gone,) = [run for run in Runs(filled).list() if (record := run.read())["kind"] == "train" and record["seed"] == 0]
    (gone.path / MODEL_FILE).unlink()
    _, planned = featx_json("run", "mine.toml", "--plan")
    assert [line["seed"] for line in planned["plan"] if line["state"] == "to do"] == [0, 0]
    code, document = featx_json("run", "mine.toml")
    assert code == 0
    rows = {row["how"]: row for row in document["rows"]}
    assert gone.id not in rows["tuned"]["runs"]
    # The fit, of the same weights, is found, and both of its seeds count, though its record names the run that is gone.
    shutil.rmtree(gone.path)
    code, document = featx_json("run", "mine.toml")
    assert code == 0
    assert {row["how"]: row["seeds"] for row in document["rows"]} == {name: [0, 1] for name in rows}
    assert "not-comparable" not in {check["code"] for check in document["checks"]}


def test_rows_may_have_seeds_of_their_own(featx_json: Any, mine: Path) -> None:
    mine.write_text(SEEDS)
    code, document = featx_json("run", "mine.toml")
    assert code == 0
    assert [row["seeds"] for row in document["rows"]] == [[0], [0, 1], [2]]


def test_a_row_that_fails_leaves_the_others_to_run(
    featx_json: Any, home: Path, mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.training import train

    def diverge(*args: object, **how: object) -> None:
        raise FeatureError("the loss is NaN", "give a smaller --lr")

    monkeypatch.setattr(train, "train", diverge)
    code, document = featx_json("run", "mine.toml", "--set", "seeds=0")
    assert code == 1
    assert [row["how"] for row in document["rows"]] == ["pixels", "best layer"]
    assert {(one["how"], one["seed"]) for one in document["failed"]} == {
        ("tuned", 0), ("on it", 0),
    }  # fmt: skip
    assert {one["error"] for one in document["failed"]} == {"the loss is NaN"}


def test_where_every_row_fails_that_is_the_error(featx: Any, mine: Path) -> None:
    result = featx("run", "mine.toml", "--set", "row.pixels.limit=3", "--set", "limit=3")
    assert result.exit_code == 1
    assert "every row failed" in result.stderr or "leaves no rows" in result.stderr


def test_the_report_is_written_where_it_is_asked_for(featx: Any, home: Path, mine: Path) -> None:
    only = '[recipe]\nname = "one"\n[[row]]\nbackbone = "pixels"\nsource = "digits"\nper_class = 12\n'
    mine.with_name("one.toml").write_text(only)
    assert featx("run", "one.toml", "-o", "here.html").exit_code == 0
    assert mine.with_name("here.html").stat().st_size > 1000
    assert not (home / "reports").exists()
    assert featx("run", "one.toml", "-o", "no/here.html").exit_code == 1
    refused = featx("run", "one.toml", "-o", "one.toml")
    assert refused.exit_code == 2
    assert "expected a name ending in .html" in refused.stderr
    assert mine.with_name("one.toml").read_text() == only


def test_the_list_names_all_that_come_with_featx(featx_json: Any) -> None:
    code, document = featx_json("run", "--list")
    assert code == 0
    assert [one["name"] for one in document["recipes"]] == ["compare", "layer-map", "s0", "s1", "s2", "s3", "s4"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((), "no recipe was given"),
        (("s5",), "there is no recipe 's5'"),
        (("s2",), "recipe s2 names no source; it needs CIFAR-10"),
        (("--list", "s2"), "--list shows all recipes"),
        (("s2", "--set", "source=digits", "--set", "sise=3"), "has no key 'sise'"),
        (("s2", "--set", "source=digits", "--set", "backbone=resnet81"), "resnet81"),
        (("s2", "--set", "source=digits", "--set", "weights=random:x"), "random:x"),
        (("s2", "--set", "source"), "expected key=value"),
    ],
)
def test_what_is_wrong_is_refused_in_one_line(featx: Any, home: Path, args: tuple[str, ...], said: str) -> None:
    result = featx("run", *args)
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert not home.exists()


NETWORK = ("backbone=lenet5", "weights=random:0", "limit=60", "source=digits", "train.epochs=1")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("s2", ("layer=pool2", "row.two hidden layers on the frozen base.head=mlp:8:dropout=0.5")),
        ("s4", (
            "row.softmax on the fine-tuned ResNet-18, last convolutional layer.layer=pool2",
            "row.softmax on the fine-tuned ResNet-18, intermediate layer.layer=pool1",
            "row.softmax on the pretrained ResNet-18, last convolutional layer.layer=pool2",
            "best_of=[pool1, pool2]",
        )),
        ("layer-map", ("best_of=[pool1:avg, pool2:avg]",)),
    ],
)  # fmt: skip
def test_a_small_run_of_each_experiment_fills_its_table(
    featx_json: Any, tmp_path: Path, name: str, changes: tuple[str, ...]
) -> None:
    given = [change for change in (*NETWORK, *changes) if name != "layer-map" or not change.startswith("train.")]
    words = [word for change in given for word in ("--set", change)]
    code, document = featx_json("run", name, *words, "--set", "size=32")
    assert code == 0
    assert document["failed"] == []
    counts = {"s2": 3, "s4": 9, "layer-map": 2}
    assert len(document["rows"]) == counts[name]
    for row in document["rows"]:
        assert all(row[field] is not None for field in ("how", "accuracy", "interval", "seconds", "trainable", "loss"))
    assert len(document["answer"]) == 2


def test_what_is_mistyped_is_refused_before_anything_slow_is_loaded(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    calls = [
        ["run", "--list"],
        ["run", "s5"],
        ["run", "s2"],
        ["run", "s2", "--set", "source=digits", "--set", "sise=3"],
        ["run", "s2", "--set", "source=digits", "--set", "backbone=resnet81"],
        ["run", "s2", "--set", "source=digits", "--set", "weights=no.pth"],
    ]
    code = "from featx.cli.main import cli\n"
    code += f"for args in {calls}:\n    try: cli.main(args, prog_name='featx')\n    except SystemExit: pass\n"
    modules = loaded_after(code)
    assert "featx.recipes.builtin_recipes" in modules
    assert not {"torch", "torchvision", "sklearn", "matplotlib"} & modules
