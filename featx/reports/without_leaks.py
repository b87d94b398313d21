"""Scores of a table with and without the test images that leaked, on the same predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featx.core.bootstrap import DRAWS, Ends, Floats, Resampled, RowScore
from featx.errors import StoreError
from featx.reports.beyond_chance import SEED, score_of
from featx.reports.comparable import comparable
from featx.reports.kept_rows import Kept, kept_rows, with_counts
from featx.reports.leak_list import LeakList
from featx.reports.mistakes import predicted_lines
from featx.reports.predictions import TABLE_FILE
from featx.reports.row_scores import MEANS
from featx.reports.rows import part_of

if TYPE_CHECKING:
    from featx.core.run_folder import Run

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Without:
    """A score of a row with and without leaked test images.

    Parameters
    ----------
    row : int
        Position in the table.
    score : str
        By its name in records.
    images, leaked : int
        Test images, and how many of them leaked.
    on_all, on_others : float
        The score of all test images, and of those that did not leak.
    interval : (float, float) or None
        95 % bootstrap interval of `difference`, paired and stratified; None where no draw changes it.
    """

    row: int
    score: str
    images: int
    leaked: int
    on_all: float
    on_others: float
    interval: Ends | None

    @property
    def difference(self) -> float:
        """The score of all less that without leaked ones: what these add."""
        return self.on_all - self.on_others


def without_leaks(
    rows: Sequence[Row], runs: Mapping[str, Run], leaks: LeakList, *, draws: int = DRAWS
) -> tuple[list[Without], list[str]]:
    """Return each row's scores with and without leaked test images, and of those that have none, why.

    Scores are those that are means over images: accuracy, top-5 accuracy, log loss and Brier score, where the runs kept
    them. A test image leaked if it hangs together with an image that is not among the test images; whether a run has
    learnt from that one is not asked, so that runs with and without it (`--exclude`) are scored on the same images.

    Parameters
    ----------
    rows : sequence of mapping
        As `featx.reports.rows.rows_of` or `featx.reports.over_seeds.over_seeds` give them.
    runs : mapping of str to Run
        By id, those that may have predictions.
    leaks : LeakList
        Which images are there twice.
    draws : int
        Of the bootstrap.
    """
    found: list[Without] = []
    reasons: list[str] = []
    for group in comparable(rows):
        leaked: NDArray[np.bool_] | None = None
        order: str | None = None
        for score in MEANS:  # accuracy, which every row has, first
            some = [i for i in group if score_of(rows[i], score) is not None]
            kept = kept_rows([rows[i] for i in some], runs, score)
            known = [(i, one) for i, one in zip(some, kept.scores, strict=True) if one is not None]
            why = kept.reasons
            if kept.order is not None and kept.order != order:  # runs list the images in orders of their own
                order, (leaked, reason) = kept.order, _leaked(runs[kept.order], kept, leaks)
                why = why + [reason] * len(known) if reason else why
            if leaked is not None and known:
                found += _scored(score, rows, known, kept, leaked, draws)
            reasons += why if score == "accuracy" else []
    found.sort(key=lambda one: (one.row, MEANS.index(one.score)))
    return found, with_counts(reasons)


def _leaked(run: Run, kept: Kept, leaks: LeakList) -> tuple[NDArray[np.bool_] | None, str]:
    """Mark the images that leaked, in a run's order; or say why that is not known, or leaves nothing to compare."""
    n = len(kept.labels) if kept.labels is not None else 0
    try:
        ids = [line.id for line in predicted_lines(run)]
    except StoreError as exc:
        return None, exc.message
    if len(ids) != n:
        return None, f"{TABLE_FILE} has {len(ids):,} images, and the predictions are of {n:,}"
    leaked = leaks.leaked(str(part_of(run.read(), "splits", "test")), ids)
    if leaked.any() and not leaked.all():
        return leaked, ""
    return None, "all of their test images leaked" if leaked.any() else "none of their test images leaked, by this list"


def _scored(
    score: str,
    rows: Sequence[Row],
    known: Sequence[tuple[int, RowScore]],
    kept: Kept,
    leaked: NDArray[np.bool_],
    draws: int,
) -> list[Without]:
    """Return one score of several rows with and without what leaked, all of the same draws."""
    others = (~leaked).astype(np.float64)[:, None]
    pairs = [part for _, one in known for part in (one, restricted(one, others))]
    drawn = Resampled(pairs, kept.labels if kept.labels is not None else [], draws=draws, seed=SEED)
    found = []
    for k, (i, _) in enumerate(known):
        on_all, on_others = score_of(rows[i], score), float(drawn.values[2 * k + 1])
        interval = drawn.difference(2 * k, 2 * k + 1)
        found.append(Without(i, score, len(leaked), int(leaked.sum()), on_all or 0.0, on_others, interval))
    return found


def restricted(score: RowScore, some: Floats) -> RowScore:
    """Return a mean over all rows as one over those that are marked with 1, (n, 1)."""
    columns = np.asarray(score.columns, np.float64) * some

    def combine(sums: Floats) -> Floats:
        ratio: Floats = sums[:, 0] / np.maximum(sums[:, 1], np.finfo(np.float64).tiny)
        return ratio

    return RowScore(np.hstack([columns, some]), combine, score.low, score.high)
