"""Runs that differ in their seed only, as one row: means, and 95 % intervals over the seeds."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featx.core.backbone_names import DRAWN, RUN
from featx.core.run_folder import by_time
from featx.data.missing_classes import all_missing, missing_of
from featx.reports.columns import SCORES
from featx.reports.rows import is_number, line_text, part_of

Row = Mapping[str, Any]

NETWORKS = ("backbone", "weights", "init_head")
"""What other runs may have trained."""

LARGEST = 1e100
"""No number that a run measures is as large, and the squares of those below have a float."""


def over_seeds(rows: Sequence[Row], others: Iterable[Row] = ()) -> list[dict[str, Any]]:
    """Return one row for all runs that differ in their seed only, in the order of the first of each.

    Everything else that their numbers depend on is the same: see `featx.reports.identity`. Of several runs with the
    same seed the newest counts; ``left_out`` names the rest. ``runs`` names those that count, ``test_by_seed`` holds
    their test accuracies.

    Seconds and scores are means; ``accuracy_interval``, ``loss_interval`` and those of the other scores hold
    Student's 95 % intervals by part (see `featx.core.statistics.summary`), and are missing where there is one run.
    Networks that other runs trained count as the same where those runs differ in their seed only; `others` are runs
    that are looked at for that alone.
    """
    kind_of = _Kinds([*others, *rows]).of
    groups: dict[int, list[Row]] = {}
    for row in rows:
        groups.setdefault(kind_of[str(row["run"])], []).append(row)
    return [_together(group) for group in groups.values()]


def one_row(rows: Sequence[Row]) -> dict[str, Any]:
    """Return one row, as `over_seeds` does, for runs of which the caller knows that they differ in their seed only."""
    return _together(rows)


class _Kinds:
    """Numbers for what runs are of, whatever their seeds.

    Attributes
    ----------
    of : dict of str to int
        By run.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self.of: dict[str, int] = {}
        self._labels = _known_labels(rows)
        self._drawn_once = {self._network(row) for row in rows if _from_scratch(row) and not _by_its_seed(row)}
        kinds: dict[Hashable, int] = {}
        # A run stands on earlier ones.
        for row in sorted(rows, key=_age):
            self.of[str(row["run"])] = kinds.setdefault(self._what(row), len(kinds))

    def _what(self, row: Row) -> Hashable:
        weights = self._weights(row, (row.get("recipe") or {}).get("weights_sha256"))
        return self._recipe(row), self._run(row.get("backbone")), weights, self._run(row.get("init_head"))

    def _recipe(self, row: Row) -> Hashable:
        recipe = {name: value for name, value in (row.get("recipe") or {}).items() if name != "weights_sha256"}
        labels = recipe.get("labels") or self._labels.get(_data(recipe))
        if recipe.get("fingerprints") and labels:  # the same data, whatever its name
            recipe = {name: value for name, value in recipe.items() if name != "source"} | {"labels": labels}
        return _frozen(recipe)

    def _network(self, row: Row) -> Hashable:
        """Return what a network from scratch is, and what it was trained with, by their names."""
        return self._recipe(row), *(line_text(row.get(name)) for name in NETWORKS)

    def _weights(self, row: Row, sha256: Any) -> Hashable:
        weights = str(row.get("weights"))
        # What was drawn once for several seeds may be what one of them would have drawn.
        drawn = row.get("drawn_by_seed") or self._network(row) not in self._drawn_once
        if _from_scratch(row) and _by_its_seed(row) and drawn:
            return DRAWN  # one per seed
        file = row.get("weights_file")
        trained = self._run(Path(file).parent.name if isinstance(file, str) else None)
        named = self._run(weights)
        return next((kind for kind in (named, trained) if isinstance(kind, int)), _frozen(sha256) if sha256 else named)

    def _run(self, text: Any) -> Hashable:
        """Return the kind of the run that is named, by id, beginning or folder; what was written where it is none."""
        name = Path(line_text(text).removeprefix(RUN)).name
        found = {self.of[name]} if name in self.of else {kind for run, kind in self.of.items() if run.startswith(name)}
        return next(iter(found)) if name and len(found) == 1 else line_text(text)


def _age(row: Row) -> tuple[str, str, str]:
    return by_time(str(row["run"]))


def _from_scratch(row: Row) -> bool:
    return row.get("mode") == "scratch"


def _by_its_seed(row: Row) -> bool:
    """Tell whether a run's weights are those that its seed draws, whoever asked for them."""
    return str(row.get("weights")) == f"{DRAWN}{row.get('seed')}"


def _known_labels(rows: Sequence[Row]) -> dict[Hashable, Any]:
    """Return the labels of data that one record tells them of, for the records of earlier featx, which do not."""
    told: dict[Hashable, list[Any]] = {}
    for recipe in [row.get("recipe") or {} for row in rows]:
        if recipe.get("labels") and recipe["labels"] not in (known := told.setdefault(_data(recipe), [])):
            known.append(recipe["labels"])
    return {data: known[0] for data, known in told.items() if len(known) == 1}


def _data(recipe: Row) -> Hashable:
    return _frozen([recipe.get(name) for name in ("source", "fingerprints", "classes")])


def _frozen(value: Any) -> Hashable:
    """Return a value that is equal where numbers, words, lists and mappings are, and can be looked up."""
    if isinstance(value, Mapping):
        return tuple(sorted((str(name), _frozen(part)) for name, part in value.items() if part is not None))
    if isinstance(value, (list, tuple)):
        return ("list", *map(_frozen, value))
    return f"{value:.17g}" if _is_finite(value) else repr(value)


def _summary(values: Sequence[float]) -> dict[str, Any]:
    from featx.core.statistics import summary  # scipy, which one run of each kind can do without

    return summary(values)


def _is_finite(value: Any) -> bool:
    """Tell whether a value is a number to calculate with: whole numbers of JSON may be larger than any float."""
    return is_number(value) and abs(value) < LARGEST


def _together(group: Sequence[Row]) -> dict[str, Any]:
    counted = _once_a_seed(group)
    left_out = [str(row["run"]) for row in group if all(row is not other for other in counted)]
    row = _mean(counted) if len(counted) > 1 else dict(counted[0])
    scores = {str(one.get("seed")): part_of(one, "accuracy", "test") for one in counted}
    return {**row, "runs": [str(row["run"]) for row in counted], "left_out": left_out, "test_by_seed": scores}


def _once_a_seed(group: Sequence[Row]) -> list[Row]:
    """Leave the newest run of each seed: a command given twice tells nothing of chance."""
    newest = {str(row.get("seed")): row for row in sorted(group, key=_age)}
    return [row for row in group if row is newest[str(row.get("seed"))]]


def _mean(group: Sequence[Row]) -> dict[str, Any]:
    first = group[0]
    differ = [name for name in NETWORKS if len({str(r.get(name)) for r in group}) > 1]
    return {
        **{name: _common([row.get(name) for row in group]) for name in first},
        "recipe": first.get("recipe"),
        "run": f"{len(group)} runs",
        "created": first.get("created"),
        "seed": ", ".join(str(row.get("seed")) for row in group),
        **{name: f"{str(first[name]).partition(':')[0]}, one per seed" for name in differ},
        "missing_classes": all_missing(missing_of(row) for row in group),
        **{f"{name}_interval": _parts([row.get(name) for row in group], "interval") for name in SCORES},
    }


def _common(values: Sequence[Any]) -> Any:
    """Return what all runs have, the mean of their numbers, or their words in a row."""
    if all(value == values[0] for value in values):
        return values[0]
    if all(isinstance(value, Mapping) for value in values):
        return _parts(values, "mean")
    if any(isinstance(value, Mapping) for value in values):
        return None  # such as a score that the runs of earlier featx lack
    if all(map(_is_finite, values)):
        return float(_summary(values)["mean"])
    told = list(dict.fromkeys(line_text(value) for value in values if value is not None))
    return None if any(map(is_number, values)) else ", ".join(told)


def _parts(groups: Sequence[Any], what: str) -> dict[str, Any]:
    """Return by part the mean, or the interval, of what every run has numbers of."""
    if not isinstance(groups[0], Mapping):
        return {}
    found = {part: [part_of({"of": group}, "of", part) for group in groups] for part in groups[0]}
    return {part: _summary(values)[what] for part, values in found.items() if all(map(_is_finite, values))}
