"""Which rows run side by side, and which wait: what is computed and reused is as in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from featx.core.executors.executor import Calls, Done, Numbered
from featx.core.executors.here import Here
from featx.core.specs import BackboneConfig, LayerSpec
from featx.data.split_options import SplitOptions
from featx.errors import WorkerError
from featx.probes.config import FitConfig
from featx.recipes.engine import Engine
from featx.recipes.experiment import Experiment
from featx.recipes.row_spread import RowDone, run_rows
from featx.training.config import TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")

NETWORK = BackboneConfig(weights="random:0")
FEW = SplitOptions(per_class=12)


class Many(Here):
    """As many workers as there are rows, each of which runs in this process; notes which rows wait for it together."""

    in_process = False

    def __init__(self) -> None:
        super().__init__()
        self.together: list[list[str]] = []

    def run(self, function: Callable[..., Any], calls: Calls) -> Iterator[Done[Any]]:
        todo, begun = Numbered(calls), list[tuple[int, tuple[Any, ...]]]()
        while True:
            begun += todo.take(99)
            if not begun:
                return
            self.together.append([f"{call[0].experiment.name} {call[0].seed}" for _, call in begun])
            index, call = begun.pop(0)
            yield Done(index, function(*call), "me")


def fit(name: str, *layers: str, **how: Any) -> Experiment:
    specs = tuple(map(LayerSpec.parse, layers))
    return Experiment(
        name, "digits", how.pop("backbone", "lenet5"), FitConfig(tol=1.0), specs, network=NETWORK, rows=FEW, **how
    )


def run(home: Path, *rows: Experiment) -> tuple[list[RowDone], list[list[str]]]:
    executor = Many()
    return list(run_rows(Engine(home, ["featx", "run"], lambda line: None, rows), rows, executor)), executor.together


def test_rows_that_lack_the_same_features_run_one_after_the_other(tmp_path: Path) -> None:
    rows = (fit("a", "fc1"), fit("b", "fc2"), fit("c", "fc1", "fc3"), fit("d", "fc3"))
    done, together = run(tmp_path, *rows)
    assert together == [["a 0", "b 0"], ["b 0", "c 0"], ["c 0"], ["d 0"]]
    found = {one.experiment.name: one.record for one in done}
    assert {name: (record or {})["computed"] for name, record in found.items()} == {"a": 120, "b": 120, "c": 0, "d": 0}


def test_seeds_of_stored_features_run_side_by_side(tmp_path: Path) -> None:
    whole = SplitOptions()
    row = Experiment("pixels", "digits", "pixels", FitConfig(tol=10.0), rows=whole, seeds=(0, 1, 2))
    done, together = run(tmp_path, row)
    assert together == [["pixels 0"], ["pixels 1", "pixels 2"], ["pixels 2"]]
    assert [(one.record or {})["computed"] for one in done] == [1797, 0, 0]


def test_a_row_waits_for_the_one_it_stands_on_and_fails_with_it(tmp_path: Path) -> None:
    diverging = TrainConfig(mode="finetune", epochs=1, lr=1e30, checkpoint_minutes=0)
    rows = (
        fit("on it", "fc2", backbone="row:tuned"),
        Experiment("tuned", "digits", "lenet5", diverging, network=NETWORK, rows=FEW),
        fit("alone", "fc1"),
    )
    done, together = run(tmp_path, *rows)
    assert together[0] == ["tuned 0", "alone 0"]
    errors = {one.experiment.name: str(one.error) for one in done if one.error}
    assert set(errors) == {"on it", "tuned"}
    assert errors["on it"] == errors["tuned"]
    assert next(one for one in done if one.experiment.name == "alone").record


def test_what_is_done_is_found_and_no_worker_is_asked(tmp_path: Path) -> None:
    first, _ = run(tmp_path, fit("a", "fc1"))
    again, together = run(tmp_path, fit("a", "fc1"))
    assert (again[0].found, together) == (True, [])
    assert again[0].record == first[0].record


def test_a_worker_that_finds_other_images_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Engine.prepared

    def elsewhere(self: Engine, experiment: Experiment, seed: int) -> Any:
        found = prepared(self, experiment, seed)
        here.append(found)
        if len(here) > 1:  # the worker's turn
            found.identity["rows"] = "others"
        return found

    here: list[Any] = []
    monkeypatch.setattr(Engine, "prepared", elsewhere)
    with pytest.raises(WorkerError, match="would run another 'a': its rows differ"):
        run(tmp_path, fit("a", "fc1"))
