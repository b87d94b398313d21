"""What the rows of a table, of the same test images, say of each image, from the predictions that their runs kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from featx.core.bootstrap import RowScore
from featx.errors import FeatxError, OptionError
from featx.reports.predictions import PREDICTIONS_FILE, Predictions, load_predictions, scored_rows
from featx.reports.row_scores import ROW_SCORES, mean_of
from featx.reports.rows import is_number, part_of, runs_in

if TYPE_CHECKING:
    from featx.core.run_folder import Run

Row = Mapping[str, Any]

NONE_KEPT = "a run kept no predictions that can be read: run its command again"
OTHER_IMAGES = "its predictions, or those of some seed, are of other images than the best row's"
NO_SCORE = "its predictions do not tell this score: earlier featx did not keep it"
READ_UNASKED = 256 << 20
"""Bytes of predictions that a report reads for its checks; more are read where differences are asked for."""
OTHER_RECORD = "its predictions are not those that its score is of, as of several draws"


@dataclass(frozen=True)
class Kept:
    """What rows of a table say of the same images.

    Parameters
    ----------
    labels : ndarray of int64, shape (n,), or None
        The images' classes; None where no row kept anything.
    scores : list of RowScore or None
        By row; of several seeds, their mean.
    n_runs : list of int
        By row, how many runs it is of.
    by_seed : list of dict of str to float
        By row, the score of each seed, as far as it is known.
    reasons : list of str
        Of each row without a score here, why.
    order : str or None
        The id of the run in whose order the images are.
    """

    labels: npt.NDArray[Any] | None
    scores: list[RowScore | None]
    n_runs: list[int]
    by_seed: list[dict[str, float]]
    reasons: list[str]
    order: str | None = None

    def known(self, k: int) -> RowScore:
        """Return a row's score, which it must have."""
        found = self.scores[k]
        if found is None:
            raise ValueError(f"row {k} has no score by image")
        return found


def kept_rows(rows: Sequence[Row], runs: Mapping[str, Run], score: str) -> Kept:
    """Return what rows of the same test images say of them; the images of the first that kept any are the others'.

    Parameters
    ----------
    rows : sequence of mapping
        As `featx.reports.comparable.comparable` puts them together.
    runs : mapping of str to Run
        By id.
    score : str
        One of `featx.reports.row_scores.ROW_SCORES`.
    """
    like: Predictions | None = None
    kept = Kept(None, [], [], [], [])
    labels = order = None
    for row in rows:
        names = runs_in(row)
        found: RowScore | None = None
        by_seed = _by_seed(row) if score == "accuracy" else {}
        try:
            if like is None:
                like, order = load_predictions(runs[names[0]]), names[0]
            said = [scored_rows(runs[name], like) for name in names]
            values = [ROW_SCORES[score](one) for one in said]
            found = _together(row, score, values)
            if found is None:
                kept.reasons.append(NO_SCORE if None in values else OTHER_RECORD)
            else:
                labels = said[0].labels
                by_seed = by_seed or _scores_by_seed(row, [value for value in values if value is not None])
        except OptionError:
            kept.reasons.append(OTHER_IMAGES)
        except (FeatxError, KeyError):
            kept.reasons.append(NONE_KEPT)
        kept.scores.append(found)
        kept.n_runs.append(len(names))
        kept.by_seed.append(by_seed)
    return Kept(labels, kept.scores, kept.n_runs, kept.by_seed, kept.reasons, order)


def _together(row: Row, score: str, values: Sequence[RowScore | None]) -> RowScore | None:
    """Return the mean of what several runs say; None where one says nothing, or it is not what the table says."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    found = mean_of(known)
    n = found.columns.shape[0]
    told = part_of(row, score, "test")
    if not is_number(told):
        return None
    away = abs(found.of(np.full(n, 1 / n)) - told)
    return found if away < 0.5 / n / len(known) + 1e-5 * abs(told) else None


def _scores_by_seed(row: Row, values: Sequence[RowScore]) -> dict[str, float]:
    seeds = [*(row.get("test_by_seed") or {})]
    n = values[0].columns.shape[0]
    scores = [value.of(np.full(n, 1 / n)) for value in values]
    return dict(zip(seeds, scores, strict=True)) if len(seeds) == len(scores) else {}


def _by_seed(row: Row) -> dict[str, float]:
    scores = row.get("test_by_seed")
    found = scores if isinstance(scores, Mapping) else {}
    return {str(seed): float(value) for seed, value in found.items() if is_number(value)}


def with_counts(reasons: Iterable[str]) -> list[str]:
    """Return each reason once, with of how many rows it is true."""
    return [f"{reason} ({n} rows)" for reason, n in Counter(reasons).items()]


def predictions_bytes(runs: Iterable[Run]) -> int:
    """Return how large the predictions of runs are."""
    files = [run.path / PREDICTIONS_FILE for run in runs]
    return sum(file.stat().st_size for file in files if file.is_file())
