"""Images that are the same, as `featx audit -o findings.csv` pairs them, and which test rows leaked by that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.audit.duplicates import components
from featx.audit.findings import LEAK_KINDS
from featx.core.csv_lists import read_list

HINT = "`featx audit SOURCE -o findings.csv` writes one"

Image = tuple[str, str]
"""Split and id, as a CSV spells them."""


@dataclass(frozen=True)
class LeakList:
    """Which images are there twice.

    Parameters
    ----------
    path : str
        Of the CSV, as it was given.
    pairs : tuple of (Image, Image)
        Images that are the same.
    """

    path: str
    pairs: tuple[tuple[Image, Image], ...]

    def leaked(self, split: str, ids: Sequence[str]) -> NDArray[np.bool_]:
        """Mark the test rows that hang together, by pairs, with an image that is none of them, bool (n,).

        Parameters
        ----------
        split : str
            Of the test rows.
        ids : sequence of str
            The test rows' ids.
        """
        tested = {(split, name): row for row, name in enumerate(ids)}
        numbers = dict(tested)
        for pair in self.pairs:
            for image in pair:
                numbers.setdefault(image, len(numbers))
        groups = components(len(numbers), [(numbers[a], numbers[b]) for a, b in self.pairs])
        outside = np.unique(groups[len(tested) :])
        return np.isin(groups[: len(tested)], outside)


def read_leaks(path: str) -> LeakList:
    """Read the pairs of a findings CSV; its other lines, such as doubtful labels, are no pairs.

    Raises
    ------
    OptionError
        It cannot be read, or lacks the columns that name pairs.
    """
    lines = read_list(path, "--leaks", ["split", "id", "kind", "other_split", "other_id"], HINT)
    pairs = [
        ((line["split"], line["id"]), (line["other_split"], line["other_id"]))
        for line in lines
        if line["kind"] in LEAK_KINDS and line["id"] and line["other_id"]
    ]
    return LeakList(path, tuple(pairs))
