"""The interval of every score of a table over its test images, beside those over seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featx.core.bootstrap import DRAWS, Ends, Resampled, RowScore
from featx.reports.beyond_chance import SEED, score_of
from featx.reports.columns import OVER_IMAGES
from featx.reports.comparable import comparable
from featx.reports.kept_rows import kept_rows, with_counts
from featx.reports.row_scores import ROW_SCORES

if TYPE_CHECKING:
    from featx.core.run_folder import Run

Row = Mapping[str, Any]


def over_images(
    rows: Sequence[Row], runs: Mapping[str, Run], *, draws: int = DRAWS
) -> tuple[list[dict[str, Any]], list[str]]:
    """Return rows with the intervals of their test scores over the test images, and why some have none.

    The intervals are the stratified bootstrap's of `featx.core.bootstrap`, 95 %, by the scores' names under
    ``over_images``. They tell how other test images would be scored by the same models: of several seeds, by their
    mean. What other seeds would give is not in them.

    Parameters
    ----------
    rows : sequence of mapping
        As `featx.reports.rows.rows_of` or `featx.reports.over_seeds.over_seeds` give them.
    runs : mapping of str to Run
        By id, those that may have predictions.
    draws : int
        Of the bootstrap.
    """
    found: list[dict[str, Any]] = [dict(row) for row in rows]
    reasons: list[str] = []
    for group in comparable(rows):
        scores: list[tuple[int, str, RowScore]] = []
        labels = None
        for name in ROW_SCORES:
            some = [i for i in group if score_of(rows[i], name) is not None]
            kept = kept_rows([rows[i] for i in some], runs, name)
            labels = kept.labels if labels is None else labels
            scores += [(i, name, score) for i, score in zip(some, kept.scores, strict=True) if score is not None]
            reasons += kept.reasons if name == "accuracy" else []
        if labels is not None:
            resampled = Resampled([score for *_, score in scores], labels, draws=draws, seed=SEED)
            for at, (i, name, _) in enumerate(scores):
                ends: Ends | None = resampled.interval(at)
                if ends is not None:
                    found[i].setdefault(OVER_IMAGES, {})[name] = list(ends)
    return found, with_counts(reasons)
