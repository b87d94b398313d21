"""The rows of a recipe's table: each over its seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from featx.core.statistics import summary
from featx.recipes.experiment import Experiment
from featx.reports.rows import is_number, part_of


def summaries(
    experiments: Iterable[Experiment], records: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Return a row for each experiment that has a record.

    Parameters
    ----------
    experiments : iterable of Experiment
        In the table's order.
    records : mapping of str to sequence of mapping
        By the experiments' names, one a seed.

    Returns
    -------
    list of dict
        By name: ``how`` (the experiment's name), ``layer`` (None for a training; of several seeds that chose different
        ones, all of them), ``seeds``, ``accuracy`` on the test rows (mean), its ``interval`` (Student's, 95 %, over
        the seeds; None where there is one seed), ``loss`` and ``val`` (means), ``seconds`` of a run (mean),
        ``trainable`` parameters, ``runs``.
    """
    return [_row(experiment.name, found) for experiment in experiments if (found := records.get(experiment.name))]


def _row(name: str, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    accuracy = _over(records, "accuracy", "test")
    layers = dict.fromkeys(str(record["layer"]) for record in records if record.get("layer"))
    return {
        "how": name,
        "layer": ", ".join(layers) or None,
        "seeds": [record.get("seed") for record in records],
        "accuracy": accuracy["mean"],
        "interval": accuracy["interval"],
        "val": _over(records, "accuracy", "val")["mean"],
        "loss": _over(records, "loss", "test")["mean"],
        "seconds": _over(records, "seconds", "total")["mean"],
        "trainable": _over(records, "parameters", "trainable")["mean"],
        "runs": [str(record.get("id") or record.get("run")) for record in records],
    }


def _over(records: Sequence[Mapping[str, Any]], name: str, part: str) -> dict[str, Any]:
    values = [part_of(record, name, part) for record in records]
    known = all(is_number(value) for value in values)
    return summary(values) if known else {"mean": None, "interval": None}
