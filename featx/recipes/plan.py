"""What a recipe has left to do, and how long that may take."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from featx.recipes.engine import DONE, Engine, State
from featx.recipes.experiment import Experiment
from featx.reports.rows import is_number, part_of


@dataclass(frozen=True)
class Planned:
    """A row with one seed.

    Parameters
    ----------
    experiment : Experiment
        The row.
    seed : int
        Of its run.
    state : State
        How far it is.
    seconds : float, optional
        What it took where it is done; else what the row took with other seeds, None where nobody knows.
    """

    experiment: Experiment
    seed: int
    state: State
    seconds: float | None

    @property
    def is_done(self) -> bool:
        """Whether there is nothing to run."""
        return self.state.status == DONE


def plan(engine: Engine, experiments: Iterable[Experiment]) -> list[Planned]:
    """Return every row with every seed, in the order in which they are run.

    Raises
    ------
    FeatxError
        Images or a network cannot be had.
    """
    return [planned for experiment in experiments for planned in _of_row(engine, experiment)]


def _of_row(engine: Engine, experiment: Experiment) -> list[Planned]:
    states = {seed: engine.state(experiment, seed) for seed in experiment.seeds}
    done = {seed: state for seed, state in states.items() if state.status == DONE}
    took = {seed: part_of(engine.record(state), "seconds", "total") for seed, state in done.items()}
    known = [float(seconds) for seconds in took.values() if is_number(seconds)]
    mean = sum(known) / len(known) if known else None
    return [Planned(experiment, seed, state, took.get(seed, mean)) for seed, state in states.items()]


def seconds_left(planned: Iterable[Planned]) -> float | None:
    """Return how long what is left may take; None where of any row nobody knows."""
    left = [one.seconds for one in planned if not one.is_done]
    known = [seconds for seconds in left if seconds is not None]
    return sum(known) if len(known) == len(left) else None
