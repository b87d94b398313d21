"""What ``featx run`` prints: its plan, a line a run, its table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featx.cli.text import human_seconds
from featx.core.run_folder import Run
from featx.recipes.plan import Planned
from featx.reports.columns import Column, chosen
from featx.reports.over_seeds import one_row
from featx.reports.rows import is_number, rows_of, seconds_text

PLAN = ("row", ">seed", "!state", "!run", ">takes")
NONE = "-"
"""In a cell of what a row does not have, such as the epochs of a fit."""
BESIDE = 4
"""Columns of a table below the first, beside the rows' names."""


def plan_lines(planned: Sequence[Planned]) -> Iterator[tuple[str, ...]]:
    """Give a line a run, as `PLAN` heads them."""
    for one in planned:
        takes = "unknown" if one.seconds is None else human_seconds(one.seconds)
        yield one.experiment.name, str(one.seed), one.state.status, one.state.run or "", takes


def plan_document(planned: Sequence[Planned]) -> list[dict[str, Any]]:
    """Return the plan as ``--json`` has it."""
    return [
        {
            "how": one.experiment.name,
            "seed": one.seed,
            "state": one.state.status,
            "run": one.state.run,
            "seconds": one.seconds,
        }
        for one in planned
    ]


def finished_line(name: str, seed: int, record: Mapping[str, Any], *, found: bool) -> str:
    """Return what is said when a run is finished, or was found."""
    test = (record.get("accuracy") or {}).get("test")
    score = f"test accuracy {test:.4f}" if is_number(test) else "no test rows"
    total = seconds_text((record.get("seconds") or {}).get("total"))
    took = "done before" if found else f"{total} s"
    return f"{name}, seed {seed}: {score}, {took}, run {record['id']}"


def result_columns(rows: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the heads of the table; columns that no row fills are left out."""
    layer = ("layer",) if any(row["layer"] for row in rows) else ()
    interval = (">95 % interval",) if any(row["interval"] for row in rows) else ()
    return ("row", *layer, ">seeds", ">test accuracy", *interval, ">seconds")


def result_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Give a line a row, as `result_columns` heads them."""
    heads = result_columns(rows)
    for row in rows:
        ends = row["interval"]
        cells = {
            "row": row["how"],
            "layer": row["layer"] or NONE,
            ">seeds": str(len(row["seeds"])),
            ">test accuracy": _score(row["accuracy"]),
            ">95 % interval": f"{_score(ends[0])} to {_score(ends[1])}" if ends else NONE,
            ">seconds": seconds_text(row["seconds"]),
        }
        yield tuple(cells[head] for head in heads)


def _score(value: Any) -> str:
    return f"{value:.4f}" if is_number(value) else NONE


def more_tables(
    names: Sequence[str], runs: Mapping[str, Sequence[Run]]
) -> Iterator[tuple[tuple[str, ...], list[tuple[str, ...]]]]:
    """Give the recipe's own columns, a few at once, as tables: their heads, their lines.

    Parameters
    ----------
    names : sequence of str
        Of columns, as ``featx report --columns`` takes them.
    runs : mapping of str to sequence of Run
        By the rows' names.
    """
    rows = {name: one_row(rows_of(found)) for name, found in runs.items() if found}
    columns = [*chosen(names, list(rows.values())).items()]
    for start in range(0, len(columns), BESIDE):
        some = columns[start : start + BESIDE]
        heads = ("row", *(_head(name, column) for name, column in some))
        yield heads, [(name, *(column.text(row) or NONE for _, column in some)) for name, row in rows.items()]


def _head(name: str, column: Column) -> str:
    return name if column.words else f">{name}"
