"""What runs answer, in words: which way to learn is the most accurate, by how much, how sure that is, what it costs."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featx.reports.among import Among
from featx.reports.comparable import comparable
from featx.reports.differences import Difference, accuracy_of, difference, interval_of
from featx.reports.rows import (
    WORD,
    by_name,
    clipped,
    is_number,
    line_text,
    options_of,
    part_of,
    short_name,
    varied_options,
)

if TYPE_CHECKING:
    from featx.core.run_folder import Run

Row = Mapping[str, Any]
Found = list[tuple[str, Row]]
"""Rows with their names, the most accurate first."""

TOLD = ("source", "weights", "images", "shots", "sweep", "C", "k", "epochs", "seed")
"""What tells rows apart that learn in the same way, beside options."""

UNTOLD = ("fingerprints", "labels", "classes")
"""What a reader would not know a row by."""

GROUPS = 3
"""So many sets of test images are told of; the table has all."""


def answer_of(rows: Sequence[Row], runs: Sequence[Run] = (), among: Among | None = None) -> list[str]:
    """Return sentences that say which row is the most accurate, by how much, with which interval, and what it costs.

    Rows that were scored on other test images are never ranked together: of several sets, each has its sentences.

    Parameters
    ----------
    rows : sequence of mapping
        As `featx.reports.over_seeds.over_seeds` gives them; ``name`` of a row, if it has one, is what it is called.
    runs : sequence of Run
        Whose predictions tell, image by image, how sure a difference between two single runs is.
    among : Among, optional
        The rows' pairs, where they have been tested; else they are.

    Returns
    -------
    list of str
        Two sentences for one set of test images; plain text, whose names may be untrusted.
    """
    by_id = {run.id: run for run in runs}
    scored = [(name, row) for name, row in zip(hows_of(rows), rows, strict=True) if accuracy_of(row) is not None]
    if not scored:
        return ["None of these runs has a test accuracy."]
    groups = [_ranked([scored[at] for at in group]) for group in comparable([row for _, row in scored])]
    among = Among.of([row for _, row in scored], by_id) if among is None else among
    if len(groups) == 1:
        return _sentences(groups[0], by_id, among)
    groups.sort(key=len, reverse=True)
    above = f"These runs were scored on {len(groups)} different sets of test images, and are not ranked together."
    said = [
        f"On set {i + 1}, {_data(group)}: {line}"
        for i, group in enumerate(groups[:GROUPS])
        for line in _sentences(group, by_id, among)
    ]
    more = len(groups) - GROUPS
    return [above, *said, *([f"{more} more {'set is' if more == 1 else 'sets are'} in the table."] if more > 0 else [])]


def hows_of(rows: Sequence[Row]) -> list[str]:
    """Return for each row in words how it learns; where two would be called the same, with what tells them apart."""
    short = [_how(row) for row in rows]
    alike: dict[str, list[Row]] = {}
    for name, row in zip(short, rows, strict=True):
        alike.setdefault(name, []).append(row)
    apart = {id(row): words for group in alike.values() if len(group) > 1 for row, words in _apart(group)}
    both = [f"{name} ({apart[id(row)]})" if apart.get(id(row)) else name for name, row in zip(short, rows, strict=True)]
    return [textwrap.shorten(name, 3 * WORD, placeholder="...") for name in both]


def _apart(group: Sequence[Row]) -> Iterator[tuple[Row, str]]:
    """Give for each of some rows the options that tell it from the others."""
    short = by_name(group)
    told = [{name: row.get(name) for name in TOLD} | options_of(row) for row in short]
    names = [name for name in dict.fromkeys([*TOLD, *varied_options(group)]) if name not in UNTOLD]
    enough = _enough(names, told)
    for row, found in zip(group, told, strict=True):
        given = [f"{name}={clipped(found[name])}" for name in enough if found.get(name) is not None]
        yield row, ", ".join(given)


def _enough(names: Sequence[str], told: Sequence[Row]) -> list[str]:
    """Return the first options that tell all rows apart, or as many as they can, each of which tells more apart."""
    chosen: list[str] = []
    keys: list[tuple[str, ...]] = [() for _ in told]
    for name in names:
        longer = [(*key, line_text(found.get(name))) for key, found in zip(keys, told, strict=True)]
        if len({*longer}) > len({*keys}):
            chosen, keys = [*chosen, name], longer
    return chosen


def _how(row: Row) -> str:
    if isinstance(row.get("name"), str):
        return line_text(row["name"])
    head, layer, network = (clipped(row.get(name)) for name in ("head", "layer", "backbone"))
    kind, mode = row.get("kind"), row.get("mode")
    if kind == "fit" or (kind != "train" and layer):
        return f"{head or 'softmax'} on " + (
            "raw pixels" if layer == "pixels" else f"{layer or 'features'} of {network}"
        )
    if mode == "scratch":
        return f"{network} from scratch"
    if mode == "finetune":
        return f"{network} fine-tuned" + (f" from {clipped(row['unfreeze_from'])}" if row.get("unfreeze_from") else "")
    if mode == "frozen":
        return f"{head or 'linear'} head on frozen {network}"
    return " ".join(word for word in (clipped(kind), network) if word) or "a run"


def _ranked(found: Found) -> Found:
    return sorted(found, key=lambda pair: -(accuracy_of(pair[1]) or 0.0))


def _sentences(group: Found, runs: Mapping[str, Run], among: Among) -> list[str]:
    if len(group) == 1:
        return [_alone(*group[0])]
    return [_first(group, runs, among), *_cost(group, runs)]


def _alone(name: str, row: Row) -> str:
    ends, how = interval_of(row)
    said = f" (95 % interval {_range(ends)}, {how})" if ends else ""
    return f"{_begun(name)} gets {_share(accuracy_of(row))} of the test images right{said}{_price(row)}."


def _price(row: Row) -> str:
    seconds, trainable = _seconds(row), _trainable(row)
    said = [f"took {_time(seconds)}{_stored(row)}"] if seconds else []
    said += [f"trained {trainable:,.0f} parameters"] if trainable else []
    return f"; it {' and '.join(said)}" if said else ""


def _first(group: Found, runs: Mapping[str, Run], among: Among) -> str:
    (name, best), *others = group
    told = [(other, row, among.told(difference(best, row, runs), best, row)) for other, row in others]
    alike = [(other, row, found) for other, row, found in told if not found.is_clear]
    if alike:
        return _no_difference(name, best, alike, len(group))
    other, row, found = told[0]
    return (
        f"{_begun(name)} is the most accurate of {len(group)}: it gets {_with_interval(best)} of the test images "
        f"right, {_points(found.value)} more than {other} with {_share(accuracy_of(row))} ({_sure(found)})."
    )


def _no_difference(name: str, best: Row, alike: Sequence[tuple[str, Row, Difference]], total: int) -> str:
    other, row, found = alike[0]
    more = len(alike) - 1
    others = f" and {more} {'other' if more == 1 else 'others'}" if more else ""
    joined = ", " if others else " and "
    between = f"{name} with {_with_interval(best)}{joined}{other} with {_share(accuracy_of(row))}{others}"
    who = "the two" if total == 2 else "the most accurate two"
    return (
        f"There is no difference that these {'two' if total == 2 else total} rows can tell between {between}: "
        f"{who} are {_points(found.value)} apart ({_sure(found)})."
    )


def _sure(found: Difference) -> str:
    if found.interval is None:
        return "nothing tells how sure that is"
    low, high = found.interval
    return f"95 % interval of the difference {_signed(low)} to {_signed(high)} points, {found.how}"


def _cost(group: Found, runs: Mapping[str, Run]) -> list[str]:
    """Say what the best training costs beside the best softmax fit, or else the first row beside the second."""
    fits = [pair for pair in group if pair[1].get("kind") == "fit" and pair[1].get("head") in (None, "softmax")]
    trainings = [pair for pair in group if pair[1].get("kind") == "train"]
    (name, row), (base_name, base) = (trainings[0], fits[0]) if fits and trainings else (group[0], group[1])
    seconds, base_seconds = _seconds(row), _seconds(base)
    if not seconds or not base_seconds:
        return []
    said = f"{_begun(name)} took {_time(seconds)}{_stored(row)}{_beside(seconds, base_seconds, base_name, base)}"
    trainable, base_trainable = _trainable(row), _trainable(base)
    if trainable and base_trainable and trainable == base_trainable:
        said += f"; both trained {trainable:,.0f} parameters"
    elif trainable and base_trainable:
        said += f"; the former trained {trainable:,.0f} parameters, the latter {base_trainable:,.0f}"
    if fits and trainings and {id(row), id(base)} != {id(group[0][1]), id(group[1][1])}:
        found = difference(row, base, runs)
        more = "more" if found.value >= 0 else "fewer"
        said += f"; the former gets {_points(abs(found.value))} {more} right ({_sure(found)})"
    return [f"{said}."]


def _beside(seconds: float, base: float, name: str, row: Row) -> str:
    """Say how long another row took, and how many times as long the slower one."""
    ratio, stored = seconds / base, _stored(row)
    if ratio > 1.1:
        return f", {_ratio(ratio)} times as long as {name} ({_time(base)}{stored})"
    times = "about as long" if ratio > 0.91 else f"{_ratio(1 / ratio)} times as long"
    return f" and {name} {_time(base)}{stored}, {times}"


def _ratio(value: float) -> str:
    return f"{value:.1f}" if value < 10 else f"{value:,.0f}"


def _stored(row: Row) -> str:
    """Say where a fit's seconds are not those of its features, which it found stored."""
    return " with its features stored before" if row.get("computed") == 0 and _positive(row.get("reused")) else ""


def _data(group: Found) -> str:
    """Return what a set of test images is of, as far as a name tells."""
    row = group[0][1]
    n = part_of(row, "rows", "test")
    count = f"{n:,.0f} test images of " if is_number(n) else ""
    return f"{count}{short_name(row.get('source'))}"


def _seconds(row: Row) -> float | None:
    return _positive(part_of(row, "seconds", "total"))


def _trainable(row: Row) -> float | None:
    return _positive(part_of(row, "parameters", "trainable"))


def _positive(value: Any) -> float | None:
    return float(value) if is_number(value) and 0 < value < math.inf else None


def _with_interval(row: Row) -> str:
    ends, _ = interval_of(row)
    return _share(accuracy_of(row)) + (f" ({_range(ends)})" if ends else "")


def _range(ends: tuple[float, float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f} %"


def _share(value: float | None) -> str:
    return f"{100 * (value or 0.0):.1f} %"


def _points(value: float) -> str:
    points = 100 * value
    return f"{points:.1f} points" if points >= 0.05 or points == 0 else f"{points:.2f} points"


def _signed(value: float) -> str:
    return f"{100 * value:+.1f}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _begun(name: str) -> str:
    """Return a name as a sentence begins; names of networks stay as they are written."""
    first = name.partition(" ")[0]
    return name[:1].upper() + name[1:] if first in ("softmax", "linear", "ridge", "centroid") else name
