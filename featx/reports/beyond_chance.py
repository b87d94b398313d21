"""Which of a table's differences are beyond chance: every pair of rows of the same test images, tested together.

What is tested, and what Holm's correction counts, is every pair, so that it holds for whichever is looked at, that of
the best row too, which the same images chose. What a p-value covers is said with it:

- *test images*, where runs kept their predictions: would the difference come out so on other images, of these models?
  Accuracy and top-5 of single runs by McNemar's exact test (1947); means over seeds, log loss and Brier score by
  Fisher's randomisation of signs (1935), row by row; balanced accuracy and macro F1, which are not means over rows, by
  their stratified bootstrap's standard error.
- *seeds*, of rows of the same two seeds and more: would it come out so with other seeds, on these images? Student's
  paired t (1908).

Where both can be told, the larger p-value counts: neither chance alone explains the difference.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.core.bootstrap import DRAWS, Ends, Floats, Resampled
from featx.core.statistics import exact_mcnemar, holm, sign_flips, summary
from featx.reports.comparable import comparable
from featx.reports.differences import ALPHA
from featx.reports.kept_rows import Kept, kept_rows, with_counts
from featx.reports.row_scores import MEANS, SHARES
from featx.reports.rows import is_number, part_of

if TYPE_CHECKING:
    from featx.core.run_folder import Run

Row = Mapping[str, Any]

SEED = 0
"""Of the draws: a report of the same runs is the same."""

LOWER_IS_BETTER = ("loss", "brier")

IMAGES, SEEDS = "test images", "seeds"


@dataclass(frozen=True)
class Pair:
    """Two rows, the better one first, and how sure their difference is.

    Parameters
    ----------
    first, second : int
        Positions in the table.
    value : float
        The first's score less the second's.
    p : float
        Two-sided; the larger of those of `covers`.
    test : str
        What gave it.
    covers : tuple of str
        What could have come out otherwise: test images, seeds, or both.
    over_images, over_seeds : (float, float) or None
        95 % intervals of the difference, each of that alone, not adjusted for how many pairs there are.
    p_holm : float
        The p-value, adjusted by Holm for all pairs of the table.
    """

    first: int
    second: int
    value: float
    p: float
    test: str
    covers: tuple[str, ...]
    over_images: Ends | None = None
    over_seeds: Ends | None = None
    p_holm: float = math.nan

    @property
    def is_clear(self) -> bool:
        """Whether the difference is beyond chance, among all of the table."""
        return self.p_holm < ALPHA


@dataclass(frozen=True)
class Compared:
    """The differences of a table.

    Parameters
    ----------
    score : str
        By its name in records.
    pairs : tuple of Pair
        Those that can be tested, by the ranks of both rows; the largest set of test images first.
    apart : int
        Pairs of rows that were scored on other test images, and are not compared.
    untold : tuple of str
        Why other pairs have no p-value, a line for each reason.
    p_holm : mapping of frozenset of int to float
        The adjusted p-value of every pair that was tested, those that are not among `pairs` too, by both rows.
    """

    score: str
    pairs: tuple[Pair, ...]
    apart: int
    untold: tuple[str, ...]
    p_holm: Mapping[frozenset[int], float] = field(default_factory=dict)


def compared(
    rows: Sequence[Row],
    runs: Mapping[str, Run],
    score: str = "accuracy",
    *,
    draws: int = DRAWS,
    best: int | None = None,
    sets: int | None = None,
) -> Compared:
    """Compare every two rows of a table that were scored on the same test images.

    Parameters
    ----------
    rows : sequence of mapping
        As `featx.reports.rows.rows_of` or `featx.reports.over_seeds.over_seeds` give them.
    runs : mapping of str to Run
        By id, those that may have predictions.
    score : str
        One of `featx.reports.row_scores.ROW_SCORES`.
    draws : int
        Of the bootstrap over test images; 0 for no intervals, nor tests of balanced accuracy and macro F1.
    best : int, optional
        Return, of each set of test images, the pairs among so many of the best rows; all are tested, and counted.
    sets : int, optional
        Return those of so many sets of test images, the largest; all are tested, and counted.
    """
    groups = [_ranked(rows, group, score) for group in comparable(rows)]
    groups.sort(key=len, reverse=True)
    pairs: list[Pair] = []
    untold: list[str] = []
    shown: set[tuple[int, int]] = set()
    for at, group in enumerate(groups):
        if len(group) < 2:
            continue
        is_shown = sets is None or at < sets
        kept = kept_rows([rows[i] for i in group], runs, score)
        untold += kept.reasons
        pairs += _pairs(rows, group, kept, score, draws if is_shown else 0, best)
        shown |= {(i, j) for i in group[:best] for j in group[:best] if is_shown}
    adjusted = [float(p) for p in holm([pair.p for pair in pairs])] if pairs else []
    found = [replace(pair, p_holm=p) for pair, p in zip(pairs, adjusted, strict=True)]
    among = [pair for pair in found if (pair.first, pair.second) in shown]
    scored = sum(map(len, groups))
    apart = math.comb(scored, 2) - sum(math.comb(len(group), 2) for group in groups)
    every = {frozenset((pair.first, pair.second)): pair.p_holm for pair in found}
    return Compared(score, tuple(among), apart, tuple(with_counts(untold)), every)


def score_of(row: Row, score: str) -> float | None:
    """Return a row's score of its test images; None where it has none that could be one."""
    found = part_of(row, score, "test")
    high = sys.float_info.max if score in LOWER_IS_BETTER else 1
    return float(found) if is_number(found) and 0 <= found <= high else None


def _ranked(rows: Sequence[Row], group: Sequence[int], score: str) -> list[int]:
    sign = 1 if score in LOWER_IS_BETTER else -1
    known = {i: found for i in group if (found := score_of(rows[i], score)) is not None}
    return sorted(known, key=lambda i: sign * known[i])


def _pairs(
    rows: Sequence[Row], group: Sequence[int], kept: Kept, score: str, draws: int, best: int | None
) -> Iterator[Pair]:
    """Give the pairs of one set of test images, by ranks, that anything tells of."""
    images = _Images(kept, score, draws, best)
    values = [score_of(rows[i], score) or 0.0 for i in group]
    for a, b in itertools.combinations(range(len(group)), 2):
        told = images.test(a, b, values[a] - values[b])
        seeds = _over_seeds(kept.by_seed[a], kept.by_seed[b])
        told += [(SEEDS, "Student's t", seeds[0])] if seeds else []
        if told:
            covers, tests, p = zip(*told, strict=True)
            yield Pair(
                group[a],
                group[b],
                values[a] - values[b],
                max(p),
                ", ".join(tests),
                covers,
                images.interval(a, b),
                seeds[1] if seeds else None,
            )


class _Images:
    """What the images of one set tell of pairs of its rows, which are named by their ranks.

    Parameters
    ----------
    kept : Kept
        What the rows say of each image.
    score, draws, best
        As `compared` takes them.
    """

    def __init__(self, kept: Kept, score: str, draws: int, best: int | None) -> None:
        self._kept, self._score = kept, score
        known = [k for k, found in enumerate(kept.scores) if found is not None]
        # What is no mean over rows has no test without draws.
        drawn = known if score not in MEANS else [k for k in known if best is None or k < best]
        self._place = {k: at for at, k in enumerate(known)}
        self._drawn_place = {k: at for at, k in enumerate(drawn)}
        self._p = _over_images(kept, known, score) if score in MEANS and len(known) > 1 else None
        self._drawn: Resampled | None = None
        if kept.labels is not None and draws and len(drawn) > 1:
            self._drawn = Resampled([kept.known(k) for k in drawn], kept.labels, draws=draws, seed=SEED)

    def test(self, a: int, b: int, value: float) -> list[tuple[str, str, float]]:
        """Return what a test covers, its name and its p-value; nothing where the images of either are not known."""
        if a not in self._place or b not in self._place:
            return []
        if self._p is not None:
            exact = self._score in SHARES and self._kept.n_runs[a] == self._kept.n_runs[b] == 1
            name = "exact McNemar" if exact else "sign flips"
            return [(IMAGES, name, float(self._p[self._place[a], self._place[b]]))]
        if self._drawn is None:
            return []
        error = self._drawn.standard_error(self._drawn_place[a], self._drawn_place[b])
        return [(IMAGES, "bootstrap standard error", _two_sided(value, error))]

    def interval(self, a: int, b: int) -> Ends | None:
        """Return the bootstrap's interval of a difference; None where it was not drawn."""
        if self._drawn is None or a not in self._drawn_place or b not in self._drawn_place:
            return None
        return self._drawn.difference(self._drawn_place[a], self._drawn_place[b])


def _over_images(kept: Kept, with_rows: Sequence[int], score: str) -> Floats:
    """Return p-values of every two rows whose scores are means over images, shape (rows, rows)."""
    columns = np.hstack([np.asarray(kept.known(k).columns, np.float64) for k in with_rows])  # (n, rows)
    sums, products = columns.sum(axis=0), columns.T @ columns
    total = sums[:, None] - sums
    squares = np.diag(products)[:, None] + np.diag(products) - 2 * products
    n_runs = np.array([kept.n_runs[k] for k in with_rows])
    if score not in SHARES:
        return sign_flips(total, squares, np.full_like(squares, len(columns)))
    found = sign_flips(total, squares, squares, 1 / np.maximum(n_runs[:, None], n_runs))
    single = (n_runs[:, None] == 1) & (n_runs == 1)
    # Of single runs, squares are the images that one alone gets right, and total is by how many more.
    exact = exact_mcnemar(np.rint((squares + total) / 2), np.rint((squares - total) / 2))
    return np.where(single, exact, found)


def _over_seeds(one: Mapping[str, float], two: Mapping[str, float]) -> tuple[float, Ends] | None:
    """Return the p-value of Student's paired t and the interval; None of one seed, or where all differ by the same."""
    if len(one) < 2 or one.keys() != two.keys():
        return None
    from scipy import special  # heavy

    found = summary([one[seed] - two[seed] for seed in one])
    # Equal differences, of few images, would be called certain.
    if not found["std"]:
        return None
    t = found["mean"] / (found["std"] / len(one) ** 0.5)
    return float(2 * special.stdtr(len(one) - 1, -abs(t))), (found["interval"][0], found["interval"][1])


def _two_sided(value: float, error: float) -> float:
    return math.erfc(abs(value) / error / math.sqrt(2)) if error else 1.0
