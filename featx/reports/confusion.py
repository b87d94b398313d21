"""A run's confusion matrix, and how much of each class it finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featx.errors import OptionError
from featx.reports.rows import TEXT_WIDTH, Recorded, line_text, wrapped
from featx.reports.tables import Cells, table_width, text_heads

PARTS = ("test", "val", "train")
"""Of which a record may hold a matrix; the first that it has is shown."""

NUMBERED = 3
"""Longest class names, in characters, that head the matrix's columns; longer ones are numbered."""

NAMED = 10
"""Longest ones by which a class is told what it is taken for."""

MISTAKEN = 2
"""So many classes, the most frequent, stand beside one that is taken for them."""


@dataclass(frozen=True)
class Confusion:
    """Rows by their class and by what a run took them for.

    Parameters
    ----------
    run, part : str
        Whose, and of which rows: ``test``, ``val`` or ``train``.
    classes : tuple of str
        Names.
    counts : tuple of tuple of int
        (k, k), true class down, predicted class across.
    note : str
        What else is to be known of it.
    """

    run: str
    part: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    note: str = ""

    @property
    def rows(self) -> list[int]:
        """How many rows each class has."""
        return [sum(line) for line in self.counts]

    @property
    def right(self) -> list[int]:
        """How many of them were predicted right."""
        return [line[i] for i, line in enumerate(self.counts)]

    @property
    def recall(self) -> list[float | None]:
        """Share of each class's rows that was predicted right; None for a class without rows."""
        return [right / n if n else None for right, n in zip(self.right, self.rows, strict=True)]

    @property
    def precision(self) -> list[float | None]:
        """Share of the rows taken for each class that are of it; None for a class that nothing was taken for."""
        taken = [sum(column) for column in zip(*self.counts, strict=True)]
        return [right / n if n else None for right, n in zip(self.right, taken, strict=True)]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` says."""
        recall = [found for found in self.recall if found is not None]
        return {
            "run": self.run,
            "part": self.part,
            "classes": self.classes,
            "confusion": self.counts,
            "rows": self.rows,
            "recall": self.recall,
            "precision": self.precision,
            "mean_recall": sum(recall) / len(recall) if recall else None,
            "note": self.note,
        }

    def by_class(self) -> Cells:
        """Return a table with a line a class: rows, recall, precision, and what it is most often taken for."""
        numbered = max(map(len, self.classes), default=0) > NAMED
        heads = [*["#"] * numbered, "class", "rows", "recall", "precision", "most often taken for"]
        found = zip(self.classes, self.rows, self.recall, self.precision, strict=True)
        lines = [
            [*[str(i)] * numbered, line_text(name), f"{n:,}", _share(recall), _share(precision)]
            for i, (name, n, recall, precision) in enumerate(found)
        ]
        for i, line in enumerate(lines):
            line.append(self._mistaken(i, numbered=numbered))
        return heads, lines, [*[False] * numbered, True, False, False, False, True]

    def matrix(self) -> Cells:
        """Return the matrix as a table; long names are numbered across, as their lines are."""
        numbered = max(map(len, self.classes), default=0) > NUMBERED
        across = [str(i) if numbered else line_text(name) for i, name in enumerate(self.classes)]
        down = [[*[str(i)] * numbered, line_text(name)] for i, name in enumerate(self.classes)]
        lines = [[*head, *map(str, counts)] for head, counts in zip(down, self.counts, strict=True)]
        words = [*[False] * numbered, True, *[False] * len(self.classes)]
        return [*["#"] * numbered, "class", *across], lines, words

    def _mistaken(self, i: int, *, numbered: bool) -> str:
        wrong = [(n, -j) for j, n in enumerate(self.counts[i]) if j != i and n]
        worst = [(-j, n) for n, j in sorted(wrong, reverse=True)[:MISTAKEN]]
        names = [f"#{j}" if numbered else line_text(self.classes[j]) for j, _ in worst]
        return ", ".join(f"{name} ({n:,})" for name, (_, n) in zip(names, worst, strict=True))


def confusion_of(run: Recorded) -> Confusion:
    """Return the confusion matrix of a run's test rows, else of those that validated, else of those it learnt from.

    Raises
    ------
    OptionError
        Its record has none.
    """
    record = run.read()
    classes, matrices = record.get("classes"), record.get("confusion")
    if isinstance(classes, list) and isinstance(matrices, Mapping):
        for part in PARTS:
            if _is_matrix(matrices.get(part), len(classes)):
                counts = tuple(tuple(line) for line in matrices[part])
                return Confusion(run.id, part, tuple(map(str, classes)), counts, _note(record))
    raise OptionError(f"run {run.id} has no confusion matrix", "runs of `featx fit` and `featx train` have one")


def _note(record: Mapping[str, Any]) -> str:
    if record.get("shots") is None:
        return ""
    return f"from the first of {record.get('draws')} draws; the run's accuracy is the mean over all"


def _is_matrix(found: Any, k: int) -> bool:
    lines = found if isinstance(found, list) and len(found) == k else []
    return bool(lines) and all(
        isinstance(line, list) and len(line) == k and all(type(n) is int and n >= 0 for n in line) for line in lines
    )


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def fits(table: Cells) -> bool:
    """Tell whether a table's lines are no longer than a report's."""
    heads, lines, words = table
    return table_width(text_heads(heads, words), lines) <= TEXT_WIDTH


def said_of(found: Confusion) -> str:
    """Return what is shown above the tables."""
    total, right = sum(found.rows), sum(found.right)
    said = f"run {line_text(found.run)}, {found.part} rows: {right:,} of {total:,} right"
    said += f" ({right / total:.4f})" if total else ""
    return "\n".join(wrapped(said + (f"; {line_text(found.note)}" if found.note else "")))
