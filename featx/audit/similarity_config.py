"""What a comparison of representations is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from featx.core.validation import check_count
from featx.errors import OptionError


@dataclass(frozen=True)
class SimilarityConfig:
    """How representations are compared by distances and by neighbours; CKA takes all rows, and has no options.

    Parameters
    ----------
    sample : int
        Rows, drawn by the seed, whose distances and neighbours are compared, of 4 to `MOST`; all where there are
        fewer.
    neighbours : int
        Nearest neighbours of a row, at most two fewer than the sample's rows.

    Raises
    ------
    OptionError
        For other values.
    """

    sample: int = 1000
    neighbours: int = 10

    LEAST: ClassVar = 4
    MOST: ClassVar = 5000

    def __post_init__(self) -> None:
        check_count("sample", self.sample, self.LEAST)
        check_count("neighbours", self.neighbours)
        if self.sample > self.MOST:
            raise OptionError(
                f"a sample of {self.sample} rows, expected at most {self.MOST}: distances of all pairs are held",
                f"for example --sample {self.MOST}",
            )
