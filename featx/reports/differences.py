"""How much more of the test images one row of a report gets right than another, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featx.errors import FeatxError
from featx.reports.rows import is_number, part_of

if TYPE_CHECKING:
    from featx.core.run_folder import Run

Row = Mapping[str, Any]
Ends = tuple[float, float]

ALPHA = 0.05
"""A difference is beyond chance where its adjusted p-value is below."""

Z = 1.959963984540054
"""Of a 95 % interval of the normal distribution."""


@dataclass(frozen=True)
class Difference:
    """Difference of two test accuracies.

    Parameters
    ----------
    value : float
        First less second, -1 to 1.
    interval : (float, float) or None
        Its 95 % interval; None where nothing tells it.
    how : str
        Where the interval is from, in words.
    p_holm : float or None
        Its p-value among all pairs of a table, adjusted by Holm; None where it was not looked at among others.
    """

    value: float
    interval: Ends | None
    how: str
    p_holm: float | None = None

    @property
    def is_clear(self) -> bool:
        """Whether the interval is known and holds no 0, nor the p-value, where there is one, leaves it to chance."""
        apart = self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)
        return apart and (self.p_holm is None or self.p_holm < ALPHA)


def accuracy_of(row: Row) -> float | None:
    """Return a row's test accuracy; None where it has none that could be one, since anyone may write a record."""
    found = part_of(row, "accuracy", "test")
    return float(found) if is_number(found) and 0 <= found <= 1 else None


def interval_of(row: Row) -> tuple[Ends | None, str]:
    """Return the 95 % interval of a row's test accuracy, and where it is from: its seeds, else its test images."""
    over_seeds, n = part_of(row, "accuracy_interval", "test"), _n_test(row)
    accuracy = accuracy_of(row)
    if isinstance(over_seeds, (list, tuple)) and over_seeds[1] > over_seeds[0]:
        return (max(0.0, over_seeds[0]), min(1.0, over_seeds[1])), f"Student's t over {len(_seeds(row))} seeds"
    if accuracy is None or not n:
        return None, "no interval"
    from featx.core.statistics import wilson_interval  # scipy

    return wilson_interval(accuracy, n), f"Wilson, {n:,} test images"


def difference(first: Row, second: Row, runs: Mapping[str, Run] | None = None) -> Difference:
    """Compare two rows that have test accuracies and were scored on the same images.

    Paired over the seeds that both have, of two and more (Student's t); of one, paired over the images, where `runs`
    hold the predictions (Agresti and Min, "Simple improved confidence intervals for comparing matched proportions",
    2005); else from the rows' own intervals (Newcombe, "Interval estimation for the difference between independent
    proportions", 1998), which are independent no more than the images are, and hence too wide rather than too narrow.
    """
    value = (accuracy_of(first) or 0.0) - (accuracy_of(second) or 0.0)
    return (
        _over_seeds(first, second)
        or _over_images(first, second, value, runs or {})
        or _of_intervals(first, second, value)
    )


def _over_seeds(first: Row, second: Row) -> Difference | None:
    one, two = _seeds(first), _seeds(second)
    if len(one) < 2 or one.keys() != two.keys():
        return None
    from featx.core.statistics import summary  # scipy

    found = summary([one[seed] - two[seed] for seed in one])
    # Equal differences, of few images, would be called certain.
    if not found["std"]:
        return None
    low, high = found["interval"]
    return Difference(found["mean"], (max(-1.0, low), min(1.0, high)), f"paired over {len(one)} seeds, Student's t")


def _seeds(row: Row) -> dict[str, float]:
    scores = row.get("test_by_seed")
    found = scores if isinstance(scores, Mapping) else {}
    return {seed: float(value) for seed, value in found.items() if is_number(value)}


def _over_images(first: Row, second: Row, value: float, runs: Mapping[str, Run]) -> Difference | None:
    pair = [runs.get(_only_run(row)) for row in (first, second)]
    if pair[0] is None or pair[1] is None:
        return None
    from featx.reports.predictions import rights  # numpy

    with suppress(FeatxError, KeyError, ValueError, TypeError):
        one, two = rights(pair[0], pair[1])
        paired = _matched(int((one & ~two).sum()), int((two & ~one).sum()), len(one))
        # Predictions of the first of several draws, or of another record, tell nothing of these accuracies.
        return paired if paired and abs(paired.value - value) < 0.5 / len(one) else None
    return None


def _only_run(row: Row) -> str:
    names: Any = row.get("runs") or [row.get("run")]
    return str(names[0]) if isinstance(names, Sequence) and len(names) == 1 else ""


def _matched(b: int, c: int, n: int) -> Difference | None:
    if not n:
        return None
    middle = (b - c) / (n + 2)
    half = Z * math.sqrt(max(0.0, b + c + 1 - (b - c) ** 2 / (n + 2))) / (n + 2)
    interval = (max(-1.0, middle - half), min(1.0, middle + half))
    return Difference((b - c) / n, interval, f"paired over {n:,} test images")


def _of_intervals(first: Row, second: Row, value: float) -> Difference:
    (one, _), (two, _) = interval_of(first), interval_of(second)
    if one is None or two is None:
        return Difference(value, None, "no interval")
    a, b = accuracy_of(first) or 0.0, accuracy_of(second) or 0.0
    low, high = math.hypot(a - one[0], two[1] - b), math.hypot(one[1] - a, b - two[0])
    return Difference(value, (max(-1.0, value - low), min(1.0, value + high)), "from both intervals, not paired")


def _n_test(row: Row) -> int:
    n = part_of(row, "rows", "test")
    return int(n) if is_number(n) and 0 < n < 1e12 else 0
