"""Runs that differ in their seed only, as one row: means, and 95 % intervals over the seeds."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from featx.missing import all_missing, missing_of
from featx.naming import DRAWN, RUN
from featx.reports import OPTIONS, is_number, line_text, part_of
from featx.statistics import summary

Row = Mapping[str, Any]

SAME = (
    *("kind", "source", "images", "layer", "views", "mode", "unfreeze_from", "head", "k", "sweep", "shots", "epochs"),
    *("columns", *OPTIONS),
)
"""What runs that are put together have in common, beside their networks and a C that was given."""


def over_seeds(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one row for all runs that differ in their seed only, in the order of the first of each.

    Of several runs with the same seed the newest counts.

    Seconds and scores are means; ``accuracy_interval`` and ``loss_interval`` hold Student's 95 % intervals by part
    (see `featx.statistics.summary`), and are missing where there is one run. Networks that other runs of these trained
    count as the same where those runs differ in their seed only.
    """
    kinds: dict[Hashable, int] = {}
    kind_of: dict[str, int] = {}
    # A run stands on earlier ones, and ids sort by time.
    for row in sorted(rows, key=lambda row: str(row["run"])):
        kind_of[str(row["run"])] = kinds.setdefault(_what(row, kind_of), len(kinds))
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(kind_of[str(row["run"])], []).append(row)
    return [_mean(group) if len(group) > 1 else dict(group[0]) for group in map(_once_a_seed, groups.values())]


def _once_a_seed(group: Sequence[Row]) -> list[Row]:
    """Leave the newest run of each seed: a command given twice tells nothing of chance."""
    newest = {str(row.get("seed")): row for row in sorted(group, key=lambda row: str(row["run"]))}
    return [row for row in group if row is newest[str(row.get("seed"))]]


def _what(row: Row, kind_of: Mapping[str, int]) -> Hashable:
    """Return what a run is of, whatever its seed."""
    networks = [str(row.get(name)) for name in ("backbone", "weights", "init_head")]
    if row.get("mode") == "scratch" and networks[1].startswith(DRAWN):  # by the run's seed
        networks[1] = DRAWN
    return (
        *(line_text(row.get(name)) for name in SAME),
        row.get("C") if row.get("sweep") is None else None,
        part_of(row, "parameters", "trainable"),
        *(kind_of.get(name.removeprefix(RUN), name) for name in networks),
    )


def _mean(group: Sequence[Row]) -> dict[str, Any]:
    first = group[0]
    differ = [name for name in ("backbone", "weights", "init_head") if len({str(r.get(name)) for r in group}) > 1]
    return {
        **first,
        "run": f"{len(group)} runs",
        "seed": ", ".join(str(row.get("seed")) for row in group),
        **{name: f"{str(first[name]).partition(':')[0]}, one a seed" for name in differ},
        "missing_classes": all_missing(missing_of(row) for row in group),
        **{name: _together([row.get(name) for row in group]) for name in ("C", "seconds_per_epoch")},
        **{name: _parts(group, name)[0] for name in ("accuracy", "loss", "seconds", "inference")},
        **{f"{name}_interval": _parts(group, name)[1] for name in ("accuracy", "loss")},
    }


def _together(values: Sequence[Any]) -> float | None:
    return float(summary(values)["mean"]) if all(map(is_number, values)) else None


def _parts(group: Sequence[Row], name: str) -> tuple[dict[str, Any] | None, dict[str, Any]]:
    """Return the means and the intervals of what every run has numbers of."""
    if not isinstance(group[0].get(name), Mapping):
        return None, {}
    found = {part: [part_of(row, name, part) for row in group] for part in group[0][name]}
    told = {part: summary(values) for part, values in found.items() if all(map(is_number, values))}
    return {p: t["mean"] for p, t in told.items()}, {p: t["interval"] for p, t in told.items()}
