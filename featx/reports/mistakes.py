"""The test images that a run got wrong, from the predictions that lie in its folder; no source is needed."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from featx.core import atomic
from featx.core.csv_cells import csv_line
from featx.core.run_folder import Run
from featx.errors import StoreError
from featx.reports.predictions import MAX_BYTES, TABLE_FILE, TABLE_HEADS


@dataclass(frozen=True)
class Mistake:
    """One test image that was taken for another class.

    Parameters
    ----------
    id : str
        Of the image, and
    label, predicted : str
        its class and the one that it was taken for, as the run's predictions.csv spells them.
    probability : float or None
        That the model gave to the latter; None where its head gives none.
    """

    id: str
    label: str
    predicted: str
    probability: float | None


@dataclass(frozen=True)
class Mistakes:
    """What a run got wrong.

    Parameters
    ----------
    run : str
        Its id.
    images : int
        How many test images there were.
    wrong : tuple of Mistake
        The most confident first; those without a probability in the order of the images.
    """

    run: str
    images: int
    wrong: tuple[Mistake, ...]


def mistakes_of(run: Run) -> Mistakes:
    """Return the test images that a run got wrong; raises what `predicted_lines` does."""
    lines = predicted_lines(run)
    wrong = sorted((line for line in lines if line.label != line.predicted), key=_confidence, reverse=True)
    return Mistakes(run.id, len(lines), tuple(wrong))


def predicted_lines(run: Run) -> list[Mistake]:
    """Return what a run said of each test image, right or wrong, in the order of its predictions.

    Raises
    ------
    StoreError
        It kept no predictions, or they are damaged.
    """
    path = run.path / TABLE_FILE
    if not path.is_file():
        raise StoreError(
            f"run {run.id} has no {TABLE_FILE}",
            "run its command again: earlier featx versions wrote none, and a run without test images has none",
        )
    text = atomic.read_bytes(path, MAX_BYTES).decode("utf-8", "backslashreplace")
    try:
        return list(_predictions(text))
    except (ValueError, csv.Error) as exc:
        hint = f"remove the folder {run.path} and run its command again"
        raise StoreError(f"{path} is damaged: {exc}", hint) from exc


def mistakes_csv(wrong: Sequence[Mistake]) -> str:
    """Return a line an image, under the heads of predictions.csv; no cell is a formula to a spreadsheet."""
    lines = [csv_line([one.id, one.label, one.predicted, one.probability]) for one in wrong]
    return "".join([csv_line(TABLE_HEADS), *lines])


def _predictions(text: str) -> Iterator[Mistake]:
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    if next(lines, None) != list(TABLE_HEADS):
        raise ValueError(f"expected the columns {', '.join(TABLE_HEADS)}")
    for number, cells in enumerate(lines, 2):
        if len(cells) != len(TABLE_HEADS):
            raise ValueError(f"row {number} has {len(cells)} cells, expected {len(TABLE_HEADS)}")
        name, label, predicted, share = cells
        yield Mistake(name, label, predicted, _probability(share, number))


def _probability(cell: str, number: int) -> float | None:
    if not cell:
        return None
    value = float(cell)
    if not 0 <= value <= 1:
        raise ValueError(f"row {number} has the probability {cell}, expected 0 to 1")
    return value


def _confidence(one: Mistake) -> float:
    return -math.inf if one.probability is None else one.probability
