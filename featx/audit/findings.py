"""What an audit found, whatever its kind: which images, how sure, and what can be done; as lines of a CSV too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from featx.audit.duplicates import Components
from featx.core.csv_cells import csv_line

COLUMNS = ("split", "id", "kind", "score", "other_split", "other_id", "remedy")
"""Of the CSV; ``split`` and ``id`` are what `--exclude` reads, the other image is the one that is kept."""

EXACT, SAME_PIXELS, NEAR = LEAK_KINDS = ("exact", "same pixels", "near")
"""Of pairs: the same bytes, the same pixels in another encoding, the same shot."""

KEPT_FIRST = ("test", "val")
"""Of two images that are the same, the one in the split named first here is kept: scores stay comparable."""


@dataclass(frozen=True)
class Finding:
    """One thing that somebody should look at.

    Parameters
    ----------
    kind : str
        ``exact``, ``same pixels``, ``near``, ``label``, or what is odd about an image.
    ids, splits : tuple of str
        The image that would be left out, then the others that it is about.
    score : float
        How sure this is, or how far out; of one kind only are scores comparable.
    remedy : str
        What can be done.
    """

    kind: str
    ids: tuple[str, ...]
    splits: tuple[str, ...]
    score: float
    remedy: str

    def csv_line(self) -> str:
        """Return it as a line of the CSV."""
        other = (self.splits[1], self.ids[1]) if len(self.ids) > 1 else (None, None)
        return csv_line((self.splits[0], self.ids[0], self.kind, round(self.score, 6), *other, self.remedy))


@dataclass(frozen=True)
class Leak:
    """Two images that are the same, or of the same shot.

    Parameters
    ----------
    a, b : str
        Their ids.
    split_a, split_b : str
        Their splits.
    kind : str
        ``exact`` (the same bytes), ``same pixels`` (decoded) or ``near``.
    score : float
        1 for the same content; else how well details and lightness agree once aligned, 0 to 1.
    mirrored : bool
        Whether one is the mirror image of the other.
    row_a, row_b : int
        Row numbers, all splits one below the other.
    """

    a: str
    b: str
    split_a: str
    split_b: str
    kind: str
    score: float
    mirrored: bool
    row_a: int
    row_b: int

    @property
    def crosses(self) -> bool:
        """Whether the two are in different splits."""
        return self.split_a != self.split_b

    def as_dict(self) -> dict[str, str | float | bool]:
        """Return it as JSON shows it."""
        names = ("a", "split_a", "b", "split_b", "kind", "score", "mirrored")
        return {name: getattr(self, name) for name in names}

    def finding(self) -> Finding:
        """Return it with what can be done: the image outside the test set is left out."""
        ids, splits = (self.a, self.b), (self.split_a, self.split_b)
        if _keeps(self.split_a) >= _keeps(self.split_b):  # of equal ones the later goes
            ids, splits = ids[::-1], splits[::-1]
        remedy = f"leave the {splits[0]} image out" if self.crosses else "leave one of the two out"
        return Finding(self.kind, ids, splits, self.score, remedy)


def _keeps(split: str) -> int:
    return len(KEPT_FIRST) - KEPT_FIRST.index(split) if split in KEPT_FIRST else 0


def as_csv(findings: Sequence[Finding]) -> str:
    """Return findings as a CSV: each image that could be left out once, under its surest finding.

    It has a line more for each further image that only this line ties to it: a training image may be the same as two
    test images, and `featx report --leaks` must know of both.
    """
    named = [tuple(zip(finding.splits, finding.ids, strict=True)) for finding in findings]
    numbers = {image: number for number, image in enumerate(dict.fromkeys(chain.from_iterable(named)))}
    tied = Components(len(numbers))
    lines = [csv_line(COLUMNS)]
    said = set[tuple[str, str]]()
    for finding, images in zip(findings, named, strict=True):
        first, *others = (numbers[image] for image in images)
        ties = [other for other in others if tied.top(other) != tied.top(first)]
        if images[0] not in said or ties:
            said.add(images[0])
            lines.append(finding.csv_line())
        for other in ties:
            tied.join(first, other)
    return "".join(lines)
