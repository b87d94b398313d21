"""What a search for near-duplicates is told."""

from __future__ import annotations

from dataclasses import dataclass

from featx.core.validation import check_count, check_range


@dataclass(frozen=True)
class LeaksConfig:
    """How images of the same shot are searched for.

    Parameters
    ----------
    neighbours : int
        Nearest neighbours of each image, by its features and by its spectrum, whose pixels are compared with its own.
    threshold : float
        Score from which on two images are taken for the same shot, 0 to 1.
    most : int
        Pairs whose pixels are compared, the most similar first.
    exact_rows : int
        Images up to which all are compared with one another to find the nearest; of more, only those in similar cells
        (`featx.audit.cells`).

    Raises
    ------
    OptionError
        For other values.
    """

    neighbours: int = 3
    threshold: float = 0.85
    most: int = 500_000
    exact_rows: int = 200_000

    def __post_init__(self) -> None:
        check_count("neighbours", self.neighbours)
        check_range("threshold", self.threshold, 1, inclusive=True)
        check_count("most", self.most)
        check_count("exact_rows", self.exact_rows)
