"""Runs a comparison within its time: priced by a trial, planned, run run by run, planned anew where it is slower."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from featx.core.hashing import digest_of
from featx.core.packages import version
from featx.core.run_folder import jsonable
from featx.core.specs import Progress
from featx.recipes.budget import Budget, Priced, changes_of, within
from featx.recipes.compare import Row
from featx.recipes.engine import DONE, Engine
from featx.recipes.experiment import Experiment
from featx.recipes.pace import TooSlowError, judged
from featx.recipes.spent import Spent
from featx.recipes.trial import price
from featx.training.config import TrainConfig

Record = dict[str, Any]

TOLERANCE = 1.05
"""What is left is planned anew where it would take so many times the seconds that there are."""

TELLING_SECONDS = 1.0
"""A run that was estimated at less tells nothing of how quick the machine is."""


class Watch(Protocol):
    """Told how a comparison goes."""

    def says(self, line: str) -> None:
        """Tell what changed."""

    def begins(self, row: Row, seed: int) -> Progress:
        """Tell that a run begins, and return what is told of its images."""

    def ends(self, row: Row, records: Sequence[Mapping[str, Any]]) -> None:
        """Tell the records that a row has."""


class Comparison:
    """Rows, and the time that there is for them.

    Parameters
    ----------
    engine : Engine
        Runs them.
    rows : sequence of Row
        The most important first.
    seconds : float or None
        That there are; None for no end.
    watch : Watch
        Told how it goes.

    Attributes
    ----------
    records : dict of str to dict of int to dict
        By row's name and seed, those that are done.
    budget : Budget
        What is run.
    prices : dict of str to Priced
        By row's name, what it takes.
    """

    def __init__(self, engine: Engine, rows: Sequence[Row], seconds: float | None, watch: Watch) -> None:
        self.engine, self.rows, self.seconds, self.watch = engine, list(rows), seconds, watch
        self.asked = list(rows[0].experiment.seeds)
        self.records: dict[str, dict[int, Record]] = {row.experiment.name: {} for row in rows}
        self.prices: dict[str, Priced] = {}
        self.budget = Budget(tuple(self.asked), {})
        self._spent = Spent(engine.opened.memo)
        self._key: dict[str, Any] = {}
        self._patient: set[str] = set()

    @property
    def spent(self) -> float:
        """Seconds since this began, those of earlier processes included."""
        return self._spent.seconds

    @property
    def left(self) -> float | None:
        """Seconds that there are still."""
        return None if self.seconds is None else max(0.0, self.seconds - self.spent)

    @property
    def done(self) -> set[tuple[str, int]]:
        """Rows and seeds that are finished."""
        return {(name, seed) for name, found in self.records.items() for seed in found}

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to run."""
        return self._next() is None

    def plan(self) -> bool:
        """Take what was planned before, or try the rows and plan; return whether it was planned before."""
        about = self._about()
        self._spent.go_on(about)
        with self._spent.written():
            return self._take_or_make(self.engine.opened.memo.get("compare", about))

    def _take_or_make(self, known: Mapping[str, Any] | None) -> bool:
        if known is not None:
            self._take(known)
            if not self.is_over:
                self._price()  # as the memo knows
                self._plan_anew("an earlier start took of the time")
            return True
        self._collect([row.experiment for row in self.rows], self.asked)
        self._price()
        self._plan()
        return False

    def run(self) -> None:
        """Run what is left of the plan; what a row is found to take may change the plan."""
        with self._spent.written():
            while (todo := self._next() or self._more()) is not None:
                self._remember()
                self._run_one(*todo)
            self._remember()

    def _next(self) -> tuple[Row, int] | None:
        """Return what is run next: each row with the first seed, the most important first, then with the others."""
        kept = [row for row in self.rows if row.experiment.name in self.budget.epochs]
        todo = ((row, seed) for seed in self.budget.seeds for row in kept)
        return next((pair for pair in todo if pair[1] not in self.records[pair[0].experiment.name]), None)

    def _run_one(self, row: Row, seed: int) -> None:
        experiment, name = self._cut(row.experiment), row.experiment.name
        expected = self.prices[name].one(is_first=not self.records[name], epochs=self.budget.epochs[name])
        began = time.monotonic()
        progress = self._judged(experiment, self.watch.begins(row, seed))
        try:
            record = self.engine.run(experiment, seed, progress)
        except TooSlowError as exc:
            self._patient.add(name)  # judged once: what is left of it is then run to its end
            self._slower(row, exc.epoch / max(self.prices[name].epoch, 1e-9))
            self._plan_anew(f"{name} takes {exc.epoch:.0f} s an epoch")
            return
        took = time.monotonic() - began
        self.records[name][seed] = record
        self.prices[name] = replace(self.prices[name], is_settled=True, ahead=0.0)
        self.watch.ends(row, list(self.records[name].values()))
        if expected >= TELLING_SECONDS:
            self._slower(row, took / expected)
        self._plan_anew(f"{name} took {took:.0f} s, {expected:.0f} s were estimated")

    def _slower(self, row: Row, factor: float) -> None:
        """Correct the price of a row, and of those like it that were not run yet."""
        alike = [other for other in self.rows if _trains(other) == _trains(row)]
        for other in alike:
            name = other.experiment.name
            if other is row or not self.records[name]:
                self.prices[name] = self.prices[name].slower(factor)

    def _judged(self, experiment: Experiment, progress: Progress) -> Progress:
        """Return a progress that ends a training which would take more than the time that there is."""
        if self.seconds is None or experiment.name in self._patient or not isinstance(experiment.how, TrainConfig):
            return progress
        return judged(progress, experiment.how.epochs, lambda: TOLERANCE * (self.left or 0.0))

    def _cut(self, experiment: Experiment) -> Experiment:
        """Return a row with the epochs that there is time for."""
        if not isinstance(experiment.how, TrainConfig):
            return experiment
        return replace(experiment, how=replace(experiment.how, epochs=self.budget.epochs[experiment.name]))

    def _collect(self, experiments: Sequence[Experiment], seeds: Sequence[int]) -> None:
        """Look for what is done already."""
        for experiment in experiments:
            for seed in seeds:
                state = self.engine.state(experiment, seed)
                if state.status == DONE:
                    self.records[experiment.name][seed] = self.engine.record(state)

    def _price(self) -> None:
        """Try what is not done; what is done costs nothing."""
        opened, done = self.engine.opened, self.done
        for row in self.rows:
            experiment = row.experiment
            name = experiment.name
            if all((name, seed) in done for seed in self.asked):
                epochs = experiment.how.epochs if isinstance(experiment.how, TrainConfig) else 0
                self.prices[name] = Priced(name, epochs=self.budget.epochs.get(name, epochs), is_settled=True)
                continue
            parts = opened.rows(experiment.source, experiment.rows, self.asked[0], experiment.extraction.on_error)
            # From scratch takes as long with other weights.
            how = experiment.network
            if isinstance(experiment.how, TrainConfig) and experiment.how.mode == "scratch":
                how = replace(how, weights="random:0")
            network = opened.network(experiment.backbone, how, parts.train.source.channels)
            found = price(experiment, parts, network, opened.memo, self.watch.says)
            epochs = self.budget.epochs.get(name, found.epochs)
            ahead = self._epochs_begun(row) * found.epoch
            is_settled = bool(self.records[name]) or ahead > 0
            self.prices[name] = replace(found, epochs=epochs, is_settled=is_settled, ahead=ahead)

    def _epochs_begun(self, row: Row) -> int:
        """Return the epochs that need not be run again of a training that an earlier process began."""
        if not isinstance(row.experiment.how, TrainConfig):
            return 0
        experiment = self._cut(row.experiment) if row.experiment.name in self.budget.epochs else row.experiment
        return sum(self.engine.epochs_of(self.engine.state(experiment, seed)) for seed in self.asked)

    def _plan(self) -> None:
        prices = [self.prices[row.experiment.name] for row in self.rows]
        self.budget = within(prices, self.asked, self.left, self.done)
        self._remember()

    def _plan_anew(self, why: str) -> None:
        """Plan what is left again, where it would take too long."""
        if self.left is None:
            return
        kept = [self.prices[row.experiment.name] for row in self.rows if row.experiment.name in self.budget.epochs]
        kept = [one.planned(self.budget.epochs[one.name]) for one in kept]
        seeds, before = self.budget.seeds, self.budget
        if sum(one.seconds(seeds, self.done) for one in kept) <= TOLERANCE * self.left:
            return
        found = within(kept, seeds, self.left, self.done)
        self.budget = replace(found, left_out={**before.left_out, **found.left_out})
        changes = changes_of(before, self.budget)
        if changes:
            self.watch.says(f"{why}: {'; '.join(changes)}")

    def _more(self) -> tuple[Row, int] | None:
        """Return what there is time for after all, where the rest was quicker than the trial said; None for nothing."""
        if self.left is None or not self.prices:
            return None
        prices = [self._settled(row) for row in self.rows]
        found = within(prices, self.asked, self.left, self.done)
        more = [name for name in found.epochs if name not in self.budget.epochs]
        if not more and len(found.seeds) <= len(self.budget.seeds):
            return None
        self.budget = found
        todo = self._next()
        if todo is not None:
            said = [*more, *([f"{len(found.seeds)} seeds"] if len(found.seeds) > 1 else [])]
            self.watch.says(f"{self.left:.0f} s are left: {', '.join(said)} after all")
        return todo

    def _settled(self, row: Row) -> Priced:
        """Return a row's price with the epochs that its finished runs had."""
        name = row.experiment.name
        one = self.prices[name]
        return one.planned(self.budget.epochs[name]) if self.records[name] and name in self.budget.epochs else one

    def _about(self) -> dict[str, Any]:
        """Return everything that a plan depends on."""
        if self._key:
            return self._key
        first = self.rows[0].experiment
        parts = self.engine.opened.rows(first.source, first.rows, self.asked[0], first.extraction.on_error)
        images = {name: [part.source.fingerprint(), len(part)] for name, part in parts.parts().items()}
        channels = parts.train.source.channels
        networks = [
            self.engine.opened.network(row.experiment.backbone, row.experiment.network, channels).weights_sha256
            for row in self.rows
            if not _from_scratch(row)
        ]
        rows = [jsonable(row.experiment) for row in self.rows]
        about = {"rows": rows, "images": images, "networks": networks, "seconds": self.seconds}
        self._key = {"of": digest_of(jsonable(about)), "featx": version("featx")}
        return self._key

    def _remember(self) -> None:
        """Remember the plan: the same command goes on with it."""
        value = {
            "seeds": list(self.budget.seeds),
            "epochs": dict(self.budget.epochs),
            "left_out": dict(self.budget.left_out),
            "seconds": self.budget.seconds,
        }
        self.engine.opened.memo.put("compare", self._about(), value)

    def _take(self, known: Mapping[str, Any]) -> None:
        """Go on with a plan that was made before."""
        self.budget = Budget(tuple(known["seeds"]), known["epochs"], known["left_out"], known["seconds"])
        kept = [self._cut(row.experiment) for row in self.rows if row.experiment.name in self.budget.epochs]
        self._collect(kept, self.asked)


def _trains(row: Row) -> bool:
    return isinstance(row.experiment.how, TrainConfig)


def _from_scratch(row: Row) -> bool:
    how = row.experiment.how
    return isinstance(how, TrainConfig) and how.mode == "scratch"
