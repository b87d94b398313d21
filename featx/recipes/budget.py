"""What of a comparison fits into the time that there is: which rows, how many seeds, how many epochs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

SHARES = (1.0, 0.75, 0.5)
"""Epochs give way down to half of what a row should have: a network that hardly learnt would mislead."""

Done = Collection[tuple[str, int]]
"""Rows, by name, and the seeds with which they are finished."""


@dataclass(frozen=True)
class Priced:
    """A row and what it takes.

    Parameters
    ----------
    name : str
        The row's.
    once : float
        Seconds with the first seed alone: features that the next seeds find in the store.
    each : float
        Seconds a seed, epochs apart.
    epoch : float
        Seconds an epoch; 0 for a fit.
    epochs : int
        As many as it should have; 0 for a fit.
    is_settled : bool
        Whether a seed has been run or begun with these epochs, so that the others have to have as many.
    ahead : float
        Seconds that a training which was begun need not take again.
    """

    name: str
    once: float = 0.0
    each: float = 0.0
    epoch: float = 0.0
    epochs: int = 0
    is_settled: bool = False
    ahead: float = 0.0

    def cut(self, share: float) -> int:
        """Return the epochs that are left of it with a share of them."""
        return self.epochs if self.is_settled or not self.epochs else max(1, round(share * self.epochs))

    def seconds(self, seeds: Sequence[int], done: Done = (), share: float = 1.0) -> float:
        """Return the seconds that the seeds take that are not done."""
        todo = sum((self.name, seed) not in done for seed in seeds)
        begins = self.once if todo == len(seeds) else 0.0
        whole = todo * (self.each + self.cut(share) * self.epoch) + (begins if todo else 0.0)
        return max(0.0, whole - self.ahead) if todo else 0.0

    def one(self, *, is_first: bool, epochs: int) -> float:
        """Return the seconds of one run with so many epochs."""
        return max(0.0, self.each + epochs * self.epoch + (self.once if is_first else 0.0) - self.ahead)

    def planned(self, epochs: int) -> Priced:
        """Return the same row with so many epochs."""
        return replace(self, epochs=epochs)

    def slower(self, factor: float) -> Priced:
        """Return the same row on a machine that takes `factor` times as long."""
        once, each, epoch = factor * self.once, factor * self.each, factor * self.epoch
        return replace(self, once=once, each=each, epoch=epoch, ahead=factor * self.ahead)


@dataclass(frozen=True)
class Budget:
    """What is run.

    Parameters
    ----------
    seeds : tuple of int
        Of every row.
    epochs : dict of str to int
        By row, of those that are kept.
    left_out : dict of str to float
        Rows that do not fit, and the seconds that one seed of each would take.
    seconds : float
        That it is estimated to take.
    """

    seeds: tuple[int, ...]
    epochs: Mapping[str, int]
    left_out: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


def within(rows: Sequence[Priced], seeds: Sequence[int], seconds: float | None, done: Done = ()) -> Budget:
    """Choose what fits: first seeds give way, then rows, the last ones first, and epochs only where a row else would.

    Parameters
    ----------
    rows : sequence of Priced
        The most important first.
    seeds : sequence of int
        As many as were asked for, at least one.
    seconds : float or None
        That there are; None for no end.
    done : collection of (str, int)
        What costs nothing any more; a row that has some of it is never left out.
    """
    if seconds is None:
        return _budget(rows, rows, seeds, done, 1.0)
    kept = _affordable(rows, seeds[:1], seconds, done)
    for count, share in _levels(len(seeds)):
        if sum(row.seconds(seeds[:count], done, share) for row in kept) <= seconds:
            return _budget(rows, kept, seeds[:count], done, share)
    return _budget(rows, kept, seeds[:1], done, SHARES[-1])


def _levels(seeds: int) -> list[tuple[int, float]]:
    """Return how many seeds, and which share of the epochs, from all of it to the least."""
    return [*((count, 1.0) for count in range(seeds, 0, -1)), *((1, share) for share in SHARES[1:])]


def _affordable(rows: Sequence[Priced], seeds: Sequence[int], seconds: float, done: Done) -> list[Priced]:
    """Return the rows that one seed fits of, with the least epochs; of one that is begun, whatever it takes."""
    begun = {name for name, _ in done}
    kept, left = [], seconds
    for row in rows:
        cost = row.seconds(seeds, done, SHARES[-1])
        if row.name in begun or cost <= left:
            kept.append(row)
            left -= cost
    return kept


def _budget(rows: Sequence[Priced], kept: Sequence[Priced], seeds: Sequence[int], done: Done, share: float) -> Budget:
    names = {row.name for row in kept}
    return Budget(
        tuple(seeds),
        {row.name: row.cut(share) for row in kept},
        {row.name: row.seconds(seeds[:1]) for row in rows if row.name not in names},
        sum(row.seconds(seeds, done, share) for row in kept),
    )


def changes_of(before: Budget, after: Budget) -> list[str]:
    """Say what gave way."""
    said = []
    if len(after.seeds) < len(before.seeds):
        said.append(f"{len(after.seeds)} instead of {len(before.seeds)} seeds")
    for name, epochs in before.epochs.items():
        if name not in after.epochs:
            said.append(f"{name} left out")
        elif after.epochs[name] < epochs:
            said.append(f"{name} has {after.epochs[name]} instead of {epochs} epochs")
    return said
