"""What a comparison found: its rows over their seeds, the answer in words, and what is doubtful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.core.run_folder import Run, Runs
from featx.errors import first_few
from featx.recipes.experiment import Experiment
from featx.recipes.summary import summaries
from featx.reports.among import Among
from featx.reports.answer import answer_of
from featx.reports.checks import Check, checks_of
from featx.reports.differences import interval_of
from featx.reports.over_seeds import one_row
from featx.reports.rows import rows_of

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What was found.

    Parameters
    ----------
    rows : list of dict
        As `featx.recipes.summary.summaries`; intervals end at 0 and 1, that of one seed is of its test images (Wilson).
    answer : list of str
        Sentences.
    checks : list of Check
        What is doubtful.
    runs : list of Run
        Of all rows.
    skipped : list of dict
        ``id`` and ``reason`` of images left out.
    """

    rows: list[dict[str, Any]]
    answer: list[str]
    checks: list[Check]
    runs: list[Run]
    skipped: list[Any]

    @property
    def names(self) -> dict[str, str]:
        """By the runs' ids, what their rows are called."""
        return {run: row["how"] for row in self.rows for run in row["runs"]}


def result_of(
    experiments: Sequence[Experiment],
    records: Mapping[str, Mapping[int, Record]],
    runs: Runs,
    *,
    own_seeds: bool = False,
) -> Result:
    """Return what the runs of some rows tell together.

    Parameters
    ----------
    experiments : sequence of Experiment
        The rows, in the table's order.
    records : mapping of str to mapping of int to mapping
        By the rows' names and seeds.
    runs : Runs
        Where they are.
    own_seeds : bool
        Whether each row counts with all of its seeds; else only those that all rows have.
    """
    seeds = {seed for found in records.values() for seed in found} if own_seeds else common_seeds(records)
    by_name = {name: [found[seed] for seed in sorted(found) if seed in seeds] for name, found in records.items()}
    rows = summaries(experiments, by_name)
    opened = {row["how"]: [runs.open(run) for run in row["runs"]] for row in rows}
    every = [run for found in opened.values() for run in found]
    told = [{**one_row(rows_of(found)), "name": name} for name, found in opened.items()]
    for row, one in zip(rows, told, strict=True):
        ends, _ = interval_of(one)
        row["interval"] = None if ends is None else list(ends)
    skipped = {image["id"]: image for found in by_name.values() for record in found for image in record["skipped"]}
    among = Among.of(told, {run.id: run for run in every})
    return Result(rows, answer_of(told, every, among), checks_of(told, every, among), every, list(skipped.values()))


def common_seeds(records: Mapping[str, Mapping[int, Record]]) -> list[int]:
    """Return the seeds that all rows have which have any: with others, test images may differ, and so does chance."""
    every = [set(found) for found in records.values() if found]
    return sorted(set.intersection(*every)) if every else []


def uncounted(records: Mapping[str, Mapping[int, Record]]) -> list[str]:
    """Say which rows have runs with seeds that not all have."""
    seeds = common_seeds(records)
    more = [name for name, found in records.items() if set(found) - set(seeds)]
    return [f"only {len(seeds)} of the seeds of {first_few(more)} count: the other rows have no more"] if more else []
