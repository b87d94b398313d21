"""The columns that a table of runs may have: what each shows, and which of them a table needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featx.data.missing_classes import missing_lines, missing_of
from featx.errors import OptionError, suggest
from featx.reports.rows import (
    FIELDS,
    OPTIONS,
    decimal,
    is_number,
    line_text,
    mark_of,
    options_of,
    part_of,
    seconds_text,
    varied_options,
)

Row = Mapping[str, Any]


class Column:
    """One column of the tables.

    Parameters
    ----------
    read : callable
        Gives a row's value; None where it has none.
    show : callable
        Writes it for people; not used where `read` gave None.
    words : bool
        Whether the values are words, which stand to the left.
    """

    def __init__(self, read: Callable[[Row], Any], show: Callable[[Any], str] = line_text, words: bool = False) -> None:
        self.read, self._show, self.words = read, show, words

    def text(self, row: Row) -> str:
        """Return a row's cell."""
        value = self.read(row)
        return "" if value is None else self._show(value)


class Score(Column):
    """A score of one part; of several seeds, with the half width of its interval."""

    def __init__(self, name: str, part: str) -> None:
        super().__init__(lambda row: part_of(row, name, part))
        self._name, self._part = name, part

    def text(self, row: Row) -> str:
        """Return a row's cell."""
        shown = decimal(self.read(row), part_of(row, f"{self._name}_interval", self._part))
        return shown and shown + mark_of(row, self._part)


class Interval(Column):
    """The 95 % interval of a score over several seeds, its lower end and its upper one."""

    def __init__(self, name: str, part: str) -> None:
        super().__init__(lambda row: part_of(row, f"{name}_interval", part), _ends)


class OverImages(Column):
    """The 95 % interval of a test score over other test images: its lower end and its upper one."""

    def __init__(self, name: str) -> None:
        super().__init__(lambda row: part_of(row, OVER_IMAGES, name), _ends)


class Lack(Column):
    """The classes that some part of the rows has no images of."""

    def __init__(self) -> None:
        super().__init__(lambda row: "; ".join(missing_lines(missing_of(row), named=None)) or None, words=True)

    def text(self, row: Row) -> str:
        """Return a row's cell, which names the first of many."""
        return line_text("; ".join(missing_lines(missing_of(row))))


def _field(name: str, *, words: bool = False) -> Column:
    return Column(lambda row: row.get(name), words=words)


def _option(name: str, *, words: bool = False) -> Column:
    return Column(lambda row: options_of(row).get(name), words=words)


def _of(name: str, part: str, show: Callable[[Any], str] = line_text) -> Column:
    return Column(lambda row: part_of(row, name, part), show)


def _ends(interval: Any) -> str:
    low, high = interval
    return f"{decimal(low)} to {decimal(high)}"


def _count(value: Any) -> str:
    return f"{value:,.0f}" if is_number(value) else ""


def _megabytes(value: Any) -> str:
    return f"{value / 1e6:.2f}" if is_number(value) else ""


def _milliseconds(value: Any) -> str:
    return f"{value:.4f}" if is_number(value) else ""


_WORDS = (
    *("run", "source", "seed", "backbone", "weights", "layer", "views", "mode", "unfreeze_from", "head", "init_head"),
    *("sweep", "precision", "optimizer", "schedule", "augment", "class_weight", "penalty", "normalize"),
)
_NAMES = (
    *("run", "source", "images", "seed", "backbone", "weights", "layer", "views", "mode", "unfreeze_from", "head"),
    *("init_head", "C", "k", "sweep", "shots"),
)
PARTS = ("train", "val", "test")
OTHER_SCORES = {"top5": "top-5", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}
OF_PROBABILITIES = {"brier": "Brier score", "ece": "ECE", "rms_calibration_error": "debiased calibration error"}
SCORES = {"accuracy": "accuracy", "loss": "loss", **OTHER_SCORES, **OF_PROBABILITIES}
"""Their columns, which a part's name begins, by what records call them."""
UNCALIBRATED = {f"uncalibrated_{name}": f"uncalibrated {SCORES[name]}" for name in ("loss", *OF_PROBABILITIES)}
"""Those that a calibrated run had before."""

MEASURED: dict[str, Column] = {
    "train accuracy": Score("accuracy", "train"),
    "val accuracy": Score("accuracy", "val"),
    "test accuracy": Score("accuracy", "test"),
    "test loss": Score("loss", "test"),
    "seconds": _of("seconds", "total", seconds_text),
    "ms/image": _of("inference", "ms_per_image", _milliseconds),
    "images/s": _of("inference", "images_per_second", _count),
    "s/epoch": Column(lambda row: row.get("seconds_per_epoch"), seconds_text),
}
"""What is measured of each run, and is in the table even if it is the same for all."""

OVER_IMAGES = "over_images"
"""What rows call the intervals of their test scores over the test images; see `featx.reports.over_images`."""

COLUMNS: dict[str, Column] = {
    **{name: _field(name, words=name in _WORDS) for name in _NAMES},
    "epochs": _field("epochs"),
    **MEASURED,
    **{name: _option(name, words=name in _WORDS) for name in OPTIONS},
    "columns": _field("columns"),
    "bytes": _field("bytes"),
    "parameters": _of("parameters", "total", _count),
    "trainable": _of("parameters", "trainable", _count),
    "frozen": _of("parameters", "frozen", _count),
    "MB": _of("parameter_bytes", "total", _megabytes),
    "trainable MB": _of("parameter_bytes", "trainable", _megabytes),
    "frozen MB": _of("parameter_bytes", "frozen", _megabytes),
    "processor": _field("processor", words=True),
    "missing": Lack(),
}
"""By their heads, in order; a table has those that any of its rows fills, and of options those that differ."""

_ASKED_FOR = {**OTHER_SCORES, **OF_PROBABILITIES, **UNCALIBRATED}

ON_REQUEST: dict[str, Column] = {
    "kind": _field("kind", words=True),
    "created": _field("created", words=True),
    "val loss": Score("loss", "val"),
    "train loss": Score("loss", "train"),
    **{f"{part} {shown}": Score(name, part) for name, shown in _ASKED_FOR.items() for part in PARTS},
    **{f"{part} {shown} interval": Interval(name, part) for name, shown in SCORES.items() for part in PARTS},
}
"""Columns that a table has where they are asked for."""

BY_ROW = ("accuracy", "loss", "top5", "balanced_accuracy", "macro_f1", "brier")
"""The scores that test rows can be resampled for: those of `featx.reports.row_scores.ROW_SCORES`."""

BY_IMAGES = {f"test {SCORES[name]} over images": OverImages(name) for name in BY_ROW}
"""Columns that a table has where its rows have such intervals."""


BALANCED, UNEVEN = "test balanced accuracy", 0.02
"""Shown unasked where it is so far from accuracy."""


def filled(rows: Sequence[Row]) -> dict[str, Column]:
    """Return the columns that any of the rows fills; of options, those that differ.

    Balanced accuracy is one of them where it tells something else than accuracy: where classes differ in their rows
    and in how well they are found.
    """
    varied = varied_options(rows)
    left_out = {*OPTIONS} - {*varied}
    new = {name: _other(name, rows) for name in varied if name not in COLUMNS}
    images = {name: BY_IMAGES[name] for name in images_columns(rows)}
    every: dict[str, Column] = {}
    for name, column in COLUMNS.items():
        every |= new if name == "columns" else {}  # after the other options
        every[name] = column
        every |= {BALANCED: ON_REQUEST[BALANCED]} if name == "test accuracy" and any(map(_is_uneven, rows)) else {}
        every |= images if name == "test loss" else {}
    return {n: column for n, column in every.items() if n not in left_out and any(column.text(row) for row in rows)}


def images_columns(rows: Sequence[Row]) -> list[str]:
    """Return the columns of intervals over test images that any of the rows fills."""
    return [name for name, column in BY_IMAGES.items() if any(column.text(row) for row in rows)]


def _is_uneven(row: Row) -> bool:
    plain, balanced = (part_of(row, name, "test") for name in ("accuracy", "balanced_accuracy"))
    return is_number(plain) and is_number(balanced) and abs(plain - balanced) > UNEVEN


def with_intervals(columns: Mapping[str, Column], rows: Sequence[Row]) -> dict[str, Column]:
    """Return columns with those of the scores' intervals behind them, where any of the rows has one.

    A table for people shows them in the score's own cell; programs need them apart.
    """
    found: dict[str, Column] = {}
    for name, column in columns.items():
        found[name] = column
        interval = ON_REQUEST.get(f"{name} interval")
        if interval and f"{name} interval" not in columns and any(interval.text(row) for row in rows):
            found[f"{name} interval"] = interval
    return found


def chosen(names: Sequence[str], rows: Sequence[Row]) -> dict[str, Column]:
    """Return the columns of these names, in their order; blanks may be written as ``_`` or ``-``.

    Raises
    ------
    OptionError
        There is no such column; names the nearest.
    """
    every = available(rows)
    meant = {_spelt(name): name for name in every}
    found: dict[str, Column] = {}
    for name in names:
        known = meant.get(_spelt(name))
        if known is None:
            hint = suggest(name, every) or f"columns are {', '.join(every)}"
            raise OptionError(f"no column {name!r:.80}", hint)
        found[known] = every[known]
    return found


def available(rows: Sequence[Row]) -> dict[str, Column]:
    """Return every column that can be asked for: those of all runs, and one for each option that these were told."""
    told = dict.fromkeys(name for row in rows for name in options_of(row))
    return {**COLUMNS, **ON_REQUEST, **BY_IMAGES, **{n: _other(n, rows) for n in told if n not in (*COLUMNS, *FIELDS)}}


def _other(name: str, rows: Sequence[Row]) -> Column:
    return _option(name, words=any(isinstance(options_of(row).get(name), str) for row in rows))


def _spelt(name: str) -> str:
    return "".join(" " if c in "_-" else c for c in name.strip().casefold())
