"""Runs side by side: as rows, and as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from featx.core.backbone_names import RUN
from featx.data.missing_classes import missing_lines, missing_of
from featx.errors import first_few, printable
from featx.reports.comparable import scored_on
from featx.reports.identity import drawn_by_seed, leaves, recipe_of
from featx.reports.tables import GAP, Head, table_lines, table_width

OPTIONS = (
    "size",
    *("precision", "batch_size", "optimizer", "lr", "schedule", "augment", "accumulate", "head_lr_factor", "momentum"),
    *("weight_decay", "warmup_epochs", "clip", "label_smoothing", "class_weight", "mixup", "cutmix", "patience"),
    *("penalty", "l1_ratio", "standardize", "normalize", "fit_intercept", "tol", "calibrate"),
)
"""What a run was told, beside what names it; shown where it differs between runs of a kind."""

KNOWN = (*OPTIONS, "init_head")
"""Told apart whatever the network; others are often the network's own, such as means and deviations."""

KIND = ("kind", "head", "sweep")
NETWORK = ("backbone", "weights")
"""What decides which options a run has, and what they are by default."""

OF_DATA = ("labels", "fingerprints", "classes")
"""Of which some records tell nothing: those of earlier featx, or of images that a seed drew."""

FIELDS = (
    "run",
    "kind",
    "created",
    "source",
    "images",
    "rows",
    "seed",
    "backbone",
    "weights",
    "layer",
    "views",
    "mode",
    "unfreeze_from",
    "head",
    "init_head",
    "C",
    "k",
    "sweep",
    "shots",
    "epochs",
    "columns",
    "bytes",
    "computed",
    "reused",
    "parameters",
    "parameter_bytes",
    "accuracy",
    "loss",
    "top5",
    "balanced_accuracy",
    "macro_f1",
    *("brier", "ece", "rms_calibration_error"),
    *("uncalibrated_loss", "uncalibrated_brier", "uncalibrated_ece", "uncalibrated_rms_calibration_error"),
    "seconds",
    "seconds_per_epoch",
    "inference",
    "processor",
    "missing_classes",
    *OPTIONS,
    "weights_file",
    "recipe",
    "drawn_by_seed",
    "scored_on",
)
"""What a row takes from a run's record; None where the record has nothing.

``uncalibrated_...``: scores of a calibrated run before that. ``recipe`` and ``drawn_by_seed``: see
`featx.reports.identity`; ``scored_on``: see `featx.reports.comparable`.
"""

WORD = 60
"""Longest name in a sentence, in characters."""

PATHS = ("source", "weights", "init_head")
"""Fields that may be paths: whose folders are nobody's business, and too long for a table."""

SHARED = ("source", "backbone", "weights", "images", "seed")
"""Said once above the text when it is the same for every run, and in every row where it is not."""

USUAL_HEADS = ("softmax", "linear")
"""Of a fit and of a training; text names others only."""

TEXT_WIDTH = 80
MODEL_WIDTH = 28
"""Characters a line of text has, and the least that its `model` column is of use with."""

HEADS = (
    Head("run"),
    Head("model", folds=True),
    *(Head(name, right=True) for name in ("train", "val", "test", "seconds")),
)
"""Of the text's columns."""


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
        own = {"run": record.get("run") or run.id, "size": part_of(record, "preprocess", "crop")}
        own["missing_classes"] = missing_of(record)
        own["recipe"] = recipe_of(record)
        own["drawn_by_seed"] = drawn_by_seed(record)
        own["scored_on"] = scored_on(record)
        rows.append({name: record.get(name) for name in FIELDS} | own | _uncalibrated(record))
    return rows


def _uncalibrated(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores that a run had before it was calibrated."""
    before = part_of(record, "calibration", "before")
    if not isinstance(before, Mapping):
        return {}
    names = [name.removeprefix("uncalibrated_") for name in FIELDS if name.startswith("uncalibrated_")]
    return {f"uncalibrated_{name}": {part: part_of(before, part, name) for part in before} for name in names}


def to_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as lines of at most 80 characters; what all runs share is said once, above them."""
    rows = by_name(rows)
    shared = _shared(rows) if len(rows) > 1 else ()
    table = [
        [
            line_text(row.get("run")),
            model,
            *(_score(row, split) for split in ("train", "val", "test")),
            seconds_text(part_of(row, "seconds", "total")),
        ]
        for row, model in zip(rows, _models(rows), strict=True)
    ]
    said = "same for all: " + ", ".join(f"{name}={line_text(rows[0][name])}" for name in shared)
    above = [*wrapped(said), ""] if shared else []
    return "\n".join([*above, *_columns(table), *_missing(rows)]) + "\n"


def _missing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what the scores above are not of."""
    runs: dict[str, list[str]] = {}
    for row in rows:
        for line in missing_lines(missing_of(row)):
            runs.setdefault(line_text(line), []).append(line_text(row.get("run")))
    lines = [f"{line} ({first_few(names)})" if len(names) < len(rows) else line for line, names in runs.items()]
    return ["", *(part for line in lines for part in wrapped(line, more="  "))] if lines else []


def names_of(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each row, in words and as one line, what tells it from the others."""
    return _models(by_name(rows))


def by_name(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return rows whose files and folders are told by name, with as many of the folders above as tell them apart."""
    found = [dict(row) for row in rows]
    for name in PATHS:
        short = short_names({value for row in rows if isinstance(value := row.get(name), str)})
        for row in found:
            row[name] = short[row[name]] if isinstance(row.get(name), str) else row.get(name)
    return found


def short_names(words: Collection[str]) -> dict[str, str]:
    """Return for each word that is a path the shortest end of it that no other word has.

    Examples
    --------
    >>> short_names({"digits", "/a/b/photos.zip", "/a/c/pets", "/a/d/pets"}) == {
    ...     "digits": "digits", "/a/b/photos.zip": "photos.zip", "/a/c/pets": "c/pets", "/a/d/pets": "d/pets"}
    True
    """
    return {word: _short(word, [other for other in words if other != word]) for word in words}


def short_name(source: Any) -> str:
    """Return a source's name without its folder, as `clipped` gives it."""
    text = str(source or "")
    return clipped(short_names({text})[text]) or "an unknown source"


def _short(word: str, others: Sequence[str]) -> str:
    prefix = RUN if word.startswith(RUN) else ""
    parts = Path(word.removeprefix(prefix)).parts
    for n in range(1, len(parts)):
        end = parts[-n:]
        if all(Path(other.removeprefix(RUN)).parts[-n:] != end for other in others):
            return prefix + "/".join(end)
    return word


def _models(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return for each row, in words, what tells it from the others."""
    shared = _shared(rows) if len(rows) > 1 else ()
    differ = [name for name in SHARED if name not in shared]
    return [_model(row, [*differ, *own]) for row, own in zip(rows, _varied_by_row(rows), strict=True)]


def options_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was told, by name, beside what a row says under a name of its own."""
    found = leaves(row.get("recipe") or {})
    named = {*FIELDS, "n"} - {*OPTIONS}
    batches = {"batch_size"} if row.get("kind") == "fit" else set()  # those of its extraction
    known = {name: row.get(name) for name in KNOWN if name not in batches}
    return {name: value for name, value in found.items() if name not in named} | known


def varied_options(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the options that differ: of `OPTIONS` between runs of a kind, others where the network is the same too."""
    found = _varied_by_row(rows)
    return [*dict.fromkeys(name for names in found for name in (*KNOWN, *names) if name in names)]


def _varied_by_row(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Return for each run the options that tell it from others of its kind."""
    options = [options_of(row) for row in rows]
    names = dict.fromkeys([*KNOWN, *(name for found in options for name in found)])
    groups = [{alike: tuple(line_text(row.get(name)) for name in alike) for alike in _ALIKE} for row in rows]
    told: dict[Any, set[str]] = {}
    for found, group in zip(options, groups, strict=True):
        for name in names:
            told.setdefault((name, group[_alike(name)]), set()).add(line_text(found.get(name)))
    for (name, _), values in told.items():
        values -= {""} if name in OF_DATA else set()
    return [[name for name in names if len(told[name, group[_alike(name)]]) > 1] for group in groups]


_ALIKE: tuple[tuple[str, ...], ...] = (KIND, (*KIND, *NETWORK), (*KIND, *NETWORK, "source"))


def _alike(name: str) -> tuple[str, ...]:
    """Return what runs have in common among which an option may tell one from another."""
    return _ALIKE[0] if name in KNOWN else _ALIKE[2] if name in OF_DATA else _ALIKE[1]


def _shared(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    first = rows[0]
    return [n for n in SHARED if first.get(n) is not None and all(r.get(n) == first[n] for r in rows)]


def _score(row: Mapping[str, Any], split: str) -> str:
    return decimal(part_of(row, "accuracy", split), part_of(row, "accuracy_interval", split)) + mark_of(row, split)


def mark_of(row: Mapping[str, Any], part: str) -> str:
    """Return what stands behind a row's test scores that are not to be compared: see `featx.reports.check.marked`."""
    return str(row.get("mark") or "") if part == "test" else ""


def _model(row: Mapping[str, Any], varied: Sequence[str]) -> str:
    words = [line_text(row.get(name)) for name in ("source", "backbone") if name in varied]
    words += [line_text(row.get(name) or "") for name in ("layer", "views", "mode")]
    words += [f"from {line_text(row['unfreeze_from'])}"] if row.get("unfreeze_from") else []
    words += [line_text(row["head"])] if row.get("head") not in (None, *USUAL_HEADS) else []
    told = {**row, **options_of(row)}
    named = [*(name for name in varied if name not in ("source", "backbone")), "C", "k", "sweep", "shots", "epochs"]
    words += [f"{name}={line_text(told[name])}" for name in named if told.get(name) is not None]
    return " ".join(word for word in words if word)


def _columns(table: Sequence[Sequence[str]]) -> list[str]:
    """Return the table's lines; if `model` has no room beside the others, it is shown below each, indented."""
    numbers = [[run, *rest] for run, _, *rest in table]
    beside = [head for head in HEADS if not head.folds]
    room = TEXT_WIDTH - table_width(beside, numbers) - GAP
    models = [model for _, model, *_ in table]
    if room >= min(max(map(len, models), default=0), MODEL_WIDTH):
        return table_lines(HEADS, table, TEXT_WIDTH)
    head, *lines = table_lines(beside, numbers)
    below = [[line, *wrapped(model, first="  ", more="    ")] for line, model in zip(lines, models, strict=True)]
    return [head, *(line for part in below for line in part)]


def part_of(row: Mapping[str, Any], name: str, part: str) -> Any:
    """Return what a row says of one part, such as the test accuracy; None where it says nothing."""
    group = row.get(name)
    return group.get(part) if isinstance(group, Mapping) else None


def runs_in(row: Mapping[str, Any]) -> list[str]:
    """Return the ids of a row's runs."""
    names = row.get("runs")
    return [*map(str, names)] if isinstance(names, (list, tuple)) and names else [str(row.get("run"))]


def decimal(value: Any, interval: Any = None) -> str:
    """Return a score, with the half width of its interval where it has one; empty for what is no number."""
    if not is_number(value):
        return ""
    return f"{value:.4f}" if interval is None else f"{value:.4f} ± {(interval[1] - interval[0]) / 2:.4f}"


def seconds_text(value: Any) -> str:
    """Return seconds, to the hundredth below a hundred; empty for what is no number."""
    return (f"{value:.2f}" if value < 100 else f"{value:.0f}") if is_number(value) else ""


def is_number(value: Any) -> bool:
    """Tell whether a record's value is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def wrapped(text: str, width: int = TEXT_WIDTH, first: str = "", more: str = "") -> list[str]:
    """Return the lines of a text, the first and the others indented; names with hyphens, as runs' are, stay whole."""
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=more, break_on_hyphens=False)


def clipped(value: Any) -> str:
    """Return a value as one line of at most `WORD` characters."""
    text = line_text(value)
    return text if len(text) <= WORD else f"{text[: WORD - 3]}..."


def line_text(value: Any) -> str:
    """Return a value as one line; a record may hold untrusted file names, whose control characters are escaped."""
    return printable("" if value is None else f"{value:g}" if isinstance(value, float) else value)
