"""Runs side by side: as rows, as text for a terminal, as Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

FIELDS = (
    "run",
    "kind",
    "created",
    "source",
    "images",
    "seed",
    "backbone",
    "weights",
    "layer",
    "views",
    "mode",
    "head",
    "C",
    "k",
    "sweep",
    "shots",
    "epochs",
    "columns",
    "bytes",
    "parameters",
    "accuracy",
    "loss",
    "seconds",
)
"""What a row takes from a run's record; None where the record has nothing."""

SHARED = ("source", "backbone", "weights", "images", "seed")
"""Said once above the text when it is the same for every run, and in every row where it is not."""

USUAL_HEADS = ("softmax", "linear")
"""Of a fit and of a training; text names others only."""

TEXT_WIDTH = 80
MODEL_WIDTH = 14
"""Characters a line of text has, and the least that its `model` column gets."""

HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
MARKDOWN = {c: "\\" + c for c in "\\`*_[]|~"}


class Recorded(Protocol):
    """A run, as far as a report needs it."""

    @property
    def id(self) -> str:
        """The run's name."""

    def read(self) -> Mapping[str, Any]:
        """Return the record."""


def rows_of(runs: Iterable[Recorded]) -> list[dict[str, Any]]:
    """Return one row a run, in the order given, with the keys of `FIELDS`."""
    rows = []
    for run in runs:
        record = run.read()
        rows.append({name: record.get(name) for name in FIELDS} | {"run": record.get("run") or run.id})
    return rows


def to_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as lines of at most 80 characters; what all runs share is said once, above them."""
    shared = _shared(rows) if len(rows) > 1 else ()
    varied = [name for name in SHARED if name not in shared]
    heads = ["run", "model", "train", "val", "test", "seconds"]
    table = [
        [
            _line(row.get("run")),
            _model(row, varied),
            *(_decimal(_part(row, "accuracy", split)) for split in ("train", "val", "test")),
            _seconds(_total_seconds(row)),
        ]
        for row in rows
    ]
    said = "same for all: " + ", ".join(f"{name}={_line(rows[0][name])}" for name in shared)
    above = [*textwrap.wrap(said, TEXT_WIDTH, break_long_words=True), ""] if shared else []
    return "\n".join([*above, *_columns(heads, table)]) + "\n"


def to_markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a Markdown table with every column that any run fills."""
    cells = {name: [read(row) for row in rows] for name, read in _MARKDOWN_COLUMNS.items()}
    filled = {name: column for name, column in cells.items() if any(column)}
    numeric = set(filled) - _WORDS
    lines = [
        list(filled),
        ["---:" if name in numeric else "---" for name in filled],
        *([_escape(cell) for cell in line] for line in zip(*filled.values(), strict=True)),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _shared(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    first = rows[0]
    return [n for n in SHARED if first.get(n) is not None and all(r.get(n) == first[n] for r in rows)]


def _model(row: Mapping[str, Any], varied: Sequence[str]) -> str:
    # What tells this run from the others, in words.
    words = [_line(row.get(name)) for name in ("source", "backbone") if name in varied]
    words += [_line(row.get(name) or "") for name in ("layer", "views", "mode")]
    words += [_line(row["head"])] if row.get("head") not in (None, *USUAL_HEADS) else []
    named = ["weights", "images", "seed"]
    words += [f"{name}={_line(row[name])}" for name in named if name in varied and row.get(name) is not None]
    words += [
        f"{name}={_line(row[name])}" for name in ("C", "k", "sweep", "shots", "epochs") if row.get(name) is not None
    ]
    return " ".join(word for word in words if word)


def _columns(heads: Sequence[str], table: Sequence[Sequence[str]]) -> list[str]:
    # `model` (column 1) is wrapped into what the others leave of a line; numbers stand to the right.
    widths = [max(len(line[i]) for line in [heads, *table]) for i in range(len(heads))]
    taken = sum(widths) - widths[1] + 2 * (len(widths) - 1)
    widths[1] = min(widths[1], max(TEXT_WIDTH - taken, MODEL_WIDTH))
    lines = []
    for line in [heads, *table]:
        wrapped = textwrap.wrap(line[1], widths[1]) or [""]
        cells = [line[0].ljust(widths[0]), wrapped[0].ljust(widths[1])]
        cells += [cell.rjust(width) for cell, width in zip(line[2:], widths[2:], strict=True)]
        lines.append("  ".join(cells).rstrip())
        lines += [" " * (widths[0] + 2) + more for more in wrapped[1:]]
    return lines


def _part(row: Mapping[str, Any], name: str, part: str) -> Any:
    group = row.get(name)
    return group.get(part) if isinstance(group, Mapping) else None


def _total_seconds(row: Mapping[str, Any]) -> Any:
    return _part(row, "seconds", "total")


def _decimal(value: Any) -> str:
    return f"{value:.4f}" if _is_number(value) else ""


def _seconds(value: Any) -> str:
    return (f"{value:.2f}" if value < 100 else f"{value:.0f}") if _is_number(value) else ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _line(value: Any) -> str:
    # A record may hold a stranger's file names: one line, control characters spelled out.
    text = "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _escape(cell: str) -> str:
    return "".join(HTML.get(c) or MARKDOWN.get(c) or c for c in cell)


def _field(name: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: _line(row.get(name))


def _score(name: str, split: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: _decimal(_part(row, name, split))


def _parameters(which: str) -> Callable[[Mapping[str, Any]], str]:
    return lambda row: _line(_part(row, "parameters", which))


_WORDS = {"run", "source", "backbone", "weights", "layer", "views", "mode", "head", "sweep"}
_MARKDOWN_COLUMNS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    **{name: _field(name) for name in ("run", "source", "images", "seed", "backbone", "weights", "layer")},
    **{name: _field(name) for name in ("views", "mode", "head", "C", "k", "sweep", "shots")},
    **{name: _field(name) for name in ("epochs", "columns", "bytes")},
    "parameters": _parameters("total"),
    "trainable": _parameters("trainable"),
    "train accuracy": _score("accuracy", "train"),
    "val accuracy": _score("accuracy", "val"),
    "test accuracy": _score("accuracy", "test"),
    "test loss": _score("loss", "test"),
    "seconds": lambda row: _seconds(_total_seconds(row)),
}
