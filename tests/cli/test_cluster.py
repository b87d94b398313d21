"""``--cluster`` of fit and run, on a Dask cluster of real processes: the records of one process, whatever happens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clusters import Cluster, dask_cluster

from featx.core.executors.dask_cluster import DaskCluster
from featx.core.executors.executor import Calls, Done
from featx.core.run_folder import Runs
from featx.probes import fit_task

pytestmark = pytest.mark.usefixtures("one_thread")

LENET = ("fit", "digits", "-b", "lenet5", "--weights", "random:0", "--limit", "200", "--device", "cpu")
TIMES = ("id", "run", "path", "created", "command", "hardware", "images_per_second", "weights_file")
RUN_ID = re.compile(r"[0-9]{8}-[0-9]{6}-[a-z]+-[0-9a-f]{4}")

RECIPE = """
[recipe]
name = "mine"
title = "LeNet on digits"
[defaults]
source = "digits"
backbone = "lenet5"
weights = "random:0"
per_class = 12
[train]
epochs = 1
[[row]]
name = "one layer"
layer = "pool2"
[[row]]
name = "best layer"
best_of = ["pool1", "pool2"]
[[row]]
name = "on it"
backbone = "row:tuned"
layer = "pool2"
[[row]]
name = "tuned"
mode = "finetune"
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A scheduler and two workers, in a working folder of their own."""
    with dask_cluster(tmp_path_factory.mktemp("cluster"), workers=2) as found:
        yield found


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write the recipe above into an empty working folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = folder / "mine.toml"
    path.write_text(RECIPE)
    return path


def interrupt(patch: pytest.MonkeyPatch) -> None:
    """Let Ctrl-C come when the first call ended, but not at an extraction's."""

    def run(self: DaskCluster, function: Callable[..., Any], calls: Calls) -> Iterator[Done[Any]]:
        for done in whole(self, function, calls):
            yield done
            if function.__name__ != "extract_shard":
                raise KeyboardInterrupt

    whole = DaskCluster.run
    patch.setattr(DaskCluster, "run", run)


def timeless(value: Any) -> Any:
    """Return a record without what says when, where and how fast."""
    if isinstance(value, dict):
        return {name: timeless(part) for name, part in value.items() if name not in TIMES and "seconds" not in name}
    if isinstance(value, str):
        return RUN_ID.sub("ID", value)
    return [timeless(part) for part in value] if isinstance(value, list) else value


def records(home: Path) -> list[dict[str, Any]]:
    return [run.read() for run in Runs(home).list()]


@pytest.mark.parametrize(
    "how",
    [
        ("-l", "fc2", "-l", "pool1:avg+pool2:avg", "--calibrate", "temperature"),
        ("-l", "fc3", "--sweep", "clip"),
        ("-l", "fc1", "-l", "fc2", "--shots", "2", "--draws", "3"),
        ("-l", "fc1", "--head", "knn", "--seeds", "0,1"),
    ],
)
def test_fits_on_workers_are_those_of_one_process(
    cluster: Cluster, featx: Any, tmp_path: Path, how: tuple[str, ...]
) -> None:
    for home, where in (("here", ()), ("there", ("--cluster", cluster.address))):
        result = featx(*LENET, *how, *where, "--home", tmp_path / home)
        assert result.exit_code == 0, result.output
    here, there = (records(tmp_path / home) for home in ("here", "there"))
    assert [timeless(record) for record in here] == [timeless(record) for record in there]
    assert there[0]["hardware"]["executor"] == f"2 workers of {cluster.address}, on one machine"
    assert there[0]["hardware"]["threads"] == 1
    assert "a time measured on one is not that of the same work alone" in result.stdout


def test_raw_pixels_are_fitted_on_a_worker(cluster: Cluster, featx_json: Any) -> None:
    code, document = featx_json("fit", "digits", "--pixels", "--limit", "200", "--cluster", cluster.address)
    assert (code, document["converged"]) == (0, True)


def test_a_fit_fails_on_a_worker_as_it_fails_here(cluster: Cluster, featx: Any, home: Path) -> None:
    command = (*LENET, "-l", "fc1", "-l", "fc2", "--shots", "50")
    here, there = featx(*command), featx(*command, "--cluster", cluster.address)
    assert here.exit_code == there.exit_code == 1
    assert "expected at least 50 for --shots 50" in here.stderr
    assert there.stderr.splitlines()[-2:] == here.stderr.splitlines()[-2:]
    assert not Runs(home).all()


@pytest.mark.usefixtures("recipe")
@pytest.mark.parametrize(
    ("agreed", "command"),
    [("probes.fit_task", (*LENET, "-l", "fc1")), ("recipes.row_spread", ("run", "mine.toml"))],
)
def test_workers_of_another_version_are_refused_by_name(
    cluster: Cluster, featx: Any, monkeypatch: pytest.MonkeyPatch, agreed: str, command: tuple[str, ...]
) -> None:
    monkeypatch.setattr(f"featx.{agreed}.agreed", lambda *name: (("torch", "0.0"),))
    result = featx(*command, "--cluster", cluster.address)
    assert result.exit_code == 1
    assert re.search(r"error: worker tcp://\S+ has torch \d\S+, expected 0.0 as here", result.stderr)


def test_an_interrupted_fit_leaves_no_run(
    cluster: Cluster, featx: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(monkeypatch)
    result = featx(*LENET, "-l", "fc*", "--cluster", cluster.address)
    assert result.exit_code == 130
    assert not Runs(home).all()


def test_a_recipe_on_workers_gives_the_table_of_one_process(
    cluster: Cluster, featx_json: Any, tmp_path: Path, recipe: Path
) -> None:
    tables = {}
    for home, where in (("here", ()), ("there", ("--cluster", cluster.address))):
        code, found = featx_json("run", recipe.name, *where, "--home", tmp_path / home)
        assert code == 0, found
        tables[home] = [{name: row[name] for name in ("how", "accuracy", "layer", "interval")} for row in found["rows"]]
    assert tables["here"] == tables["there"]
    assert found["executor"] == f"2 workers of {cluster.address}, on one machine"
    here, there = ({one["identity"]: timeless(one) for one in records(tmp_path / home)} for home in tables)
    assert len(here) == 4
    assert here == there


def test_an_interrupted_recipe_goes_on_where_it_stopped(
    cluster: Cluster, featx: Any, home: Path, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch)
        assert featx("run", recipe, "--cluster", cluster.address).exit_code == 130
    before = Runs(home).list()
    assert 1 <= len(before) < 4
    result = featx("run", recipe, "--cluster", cluster.address)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("done before") >= len(before)
    assert len(Runs(home).list()) == 4


def test_the_plan_says_how_many_workers_there_are(cluster: Cluster, featx: Any, recipe: Path) -> None:
    result = featx("run", recipe, "--cluster", cluster.address, "--plan")
    assert f"shared out among 2 workers of {cluster.address}, on one machine" in result.stdout


def test_a_lost_workers_fits_are_made_by_others(
    cluster: Cluster, featx: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = (*LENET, "-l", "fc1", "-l", "fc2", "--shots", "2", "--draws", "8")

    def run(self: DaskCluster, function: Callable[..., Any], calls: Calls) -> Iterator[Done[Any]]:
        for done in whole(self, function, calls):
            if function is fit_task.fit_stored:
                cluster.workers[0].kill()
            yield done

    whole = DaskCluster.run
    assert featx(*draws, "--home", tmp_path / "here").exit_code == 0
    monkeypatch.setattr(DaskCluster, "run", run)
    result = featx(*draws, "--cluster", cluster.address, "--home", tmp_path / "there")
    assert result.exit_code == 0, result.output
    assert "workers went away meanwhile: tcp://" in result.stderr
    here, there = ([timeless(one) for one in records(tmp_path / home)] for home in ("here", "there"))
    assert here == there
