"""A recipe's rows on an executor's workers: those that need nothing of each other run at the same time."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featx.core.concatenation import parts_of_all
from featx.core.executors.agreement import refuse_others
from featx.core.executors.executor import Executor, crowd_of
from featx.core.hashing import digest_of
from featx.errors import FeatxError, StoreError, either
from featx.extraction.compute import Networks
from featx.extraction.extract import keys_of
from featx.recipes.engine import DONE, Engine, Prepared, Record, stands_on
from featx.recipes.experiment import Experiment
from featx.recipes.row_task import RowTask, agreed, check_worker, forget, run_row
from featx.training.config import TrainConfig
from featx.training.direction import augmentation_of

Cell = tuple[Experiment, int]
"""A row with one seed."""

Needed = set[tuple[str, str | None]]
"""Features that the store lacks: images and network, by their digest, and the key's; None is a layer nobody named."""


@dataclass(frozen=True)
class RowDone:
    """A row that came to its end.

    Parameters
    ----------
    experiment, seed : Experiment, int
        The row.
    record : dict or None
        Of its run; None where it failed.
    found : bool
        Whether it was done before.
    error : FeatxError or None
        Why it failed.
    """

    experiment: Experiment
    seed: int
    record: Record | None
    found: bool = False
    error: FeatxError | None = None


def run_rows(engine: Engine, experiments: Sequence[Experiment], executor: Executor) -> Generator[RowDone, None, None]:
    """Run every row with every seed on workers, as `Engine.run` does here; give each as it ends.

    A row waits for those that it stands on, and for one under way that computes features it would compute too: so
    what is computed and what is reused is the same as in one process.

    Raises
    ------
    WorkerError
        A worker has other versions, images or weights, or there is none left.
    StoreError
        The home cannot be written.
    """
    rows = _Rows(engine, experiments)
    try:
        rows.look()
        yield from rows.ended()
        if not rows.todo:
            return
        refuse_others(executor, check_worker, agreed())
        rows.crowd = crowd_of(executor)
        with closing(executor.run(run_row, rows.calls())) as coming:
            for done in coming:
                rows.take(done.index, done.value)
                yield from rows.ended()
        yield from rows.ended()
    finally:
        executor.tell_all(forget, rows.run)


class _Rows:
    """Rows that are to be run, those under way, and what came of the others."""

    def __init__(self, engine: Engine, experiments: Sequence[Experiment]) -> None:
        self._engine, self.crowd = engine, ""
        self._shown = [(experiment, seed) for experiment in experiments for seed in experiment.seeds]
        self.todo: list[Cell] = []
        for cell in self._shown:
            self._plan(cell)
        self.run = secrets.token_hex(8)
        self._handed: list[Cell] = []
        self._running: dict[Cell, Needed] = {}
        self._failed: dict[Cell, FeatxError] = {}
        self._made = set[str]()
        self._ended: list[RowDone] = []

    def _plan(self, cell: Cell) -> None:
        """Note a row, behind those that it stands on; such with another seed than the recipe's are run too."""
        for base in self._bases(cell):
            self._plan(base)
        if cell not in self.todo:
            self.todo.append(cell)

    def _bases(self, cell: Cell) -> list[Cell]:
        experiment, seed = cell
        return [(self._engine.row(text), seed) for text in stands_on(experiment).values()]

    def look(self) -> None:
        """Take the rows that are done already."""
        for cell in list(self.todo):
            self._guarded(cell, self._find)

    def ended(self) -> Iterator[RowDone]:
        """Give what ended since this was asked last, of the rows that were asked for."""
        ended, self._ended = self._ended, []
        yield from (one for one in ended if (one.experiment, one.seed) in self._shown)

    def calls(self) -> Iterator[tuple[RowTask] | None]:
        """Give the next row that may begin, None where none may before another one has ended."""
        while self.todo:
            task = self._next()
            if task is not None:
                yield (task,)
            elif self._running:
                yield None

    def take(self, index: int, receipt: Any) -> None:
        """Note what came of a row."""
        cell = self._handed[index]
        needed = self._running.pop(cell)
        self._made |= {of for of, key in needed if key is None}
        for line in receipt.said:
            self._engine.opened.say(line)
        for kind, text in receipt.warnings:
            warnings.warn(text, kind, stacklevel=2)
        if receipt.error is None:
            self._ended.append(RowDone(*cell, self._engine.runs.open(receipt.run).read()))
        else:
            self._fail(cell, receipt.error)

    def _next(self) -> RowTask | None:
        busy: Needed = set().union(*self._running.values())
        for cell in list(self.todo):
            found: RowTask | None = self._guarded(cell, lambda cell: self._task(cell, busy))
            if found is not None:
                return found
        return None

    def _task(self, cell: Cell, busy: Needed) -> RowTask | None:
        """Return a row's task if it may begin; if not, what it will compute is kept from those behind it."""
        bases = self._bases(cell)
        for base in bases:
            if base in self._failed:
                raise self._failed[base]
        if any(base in self.todo or base in self._running for base in bases):
            return None
        experiment, seed = cell
        prepared = self._engine.prepared(experiment, seed)
        needed = self._needed(experiment, prepared)
        if _meet(needed, busy):
            busy |= needed
            return None
        self.todo.remove(cell)
        self._handed.append(cell)
        self._running[cell] = needed
        return RowTask(
            experiment=experiment,
            seed=seed,
            rows=tuple(self._engine.rows),
            identity=prepared.identity,
            home=str(self._engine.home.absolute()),
            folder=str(Path.cwd()),
            command=tuple(self._engine.command),
            agreed=agreed(prepared.network.name),
            crowd=self.crowd,
            run=self.run,
            on_command_line=bool(either("yes", "")),
        )

    def _find(self, cell: Cell) -> None:
        if self._engine.state(*cell).status == DONE:
            self._ended.append(RowDone(*cell, self._engine.run(*cell), found=True))
            self.todo.remove(cell)

    def _guarded(self, cell: Cell, action: Any) -> Any:
        """Do something with a row, which fails alone."""
        try:
            return action(cell)
        except StoreError:
            raise
        except FeatxError as exc:
            self.todo.remove(cell)
            self._fail(cell, exc)
            return None

    def _fail(self, cell: Cell, error: FeatxError) -> None:
        self._failed[cell] = error
        self._ended.append(RowDone(*cell, None, error=error))

    def _needed(self, experiment: Experiment, it: Prepared) -> Needed:
        """Return the features that a row would compute."""
        sources = it.rows.sources()
        images = {split: source.fingerprint() for split, source in sources.items()}
        of = digest_of([images, it.network.name, it.network.weights_sha256, it.network.preprocess.as_dict()])
        if isinstance(it.how, TrainConfig):
            how = replace(it.how, augment=augmentation_of(it.how, it.rows.train.source).kind)
            return {(of, None)} if how.sees_the_same and of not in self._made else set()
        store, layers = self._engine.store, parts_of_all(it.layers)
        keys = keys_of(sources, Networks(it.network), layers, store, experiment.extraction)
        return {(of, key.digest) for key in keys.values() if not store.is_complete(key)}


def _meet(some: Needed, others: Needed) -> bool:
    """Tell whether two rows would compute the same features."""
    return any(of == other and (key == name or None in (key, name)) for of, key in some for other, name in others)
