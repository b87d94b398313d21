"""Classes that a part of the rows has no images of: the scores of that part say nothing about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from featx.errors import first_few

PARTS = {"train": "training", "val": "validation", "test": "test"}
"""What the parts are called in words."""

NAMED = 10
"""So many classes are named in a line; the others are counted, and stand in the record."""

Missing = dict[str, list[str]]
"""By part, names of classes; parts that have all of them are left out."""


def missing_classes(
    confusion: Mapping[str, Any], classes: Sequence[str], parts: Iterable[str] = tuple(PARTS)
) -> Missing:
    """Return the classes that no row of a part has, by the confusion matrices (k, k) of the parts that were scored.

    One of the `parts` that is not among them has no rows, and none of the classes.
    """
    found = {
        part: [name for name, row in zip(classes, confusion[part], strict=True) if not sum(row)]
        if part in confusion
        else list(classes)
        for part in parts
    }
    return {part: names for part, names in found.items() if names}


def missing_of(record: Mapping[str, Any]) -> Missing:
    """Return what a run's record says is missing; of earlier runs, which wrote nothing, what their scores say.

    Anyone may have written a record: what cannot be understood says nothing.
    """
    found = record.get("missing_classes")
    with suppress(TypeError, ValueError):
        if found is None and record.get("classes") and record.get("confusion"):
            return missing_classes(record["confusion"], list(map(str, record["classes"])))
        if isinstance(found, Mapping):
            return {part: list(map(str, found[part])) for part in PARTS if found.get(part)}
    return {}


def all_missing(several: Iterable[Missing]) -> Missing:
    """Return what is missing from any of several runs, by part."""
    runs = list(several)
    found = {part: {name: None for run in runs for name in run.get(part, [])} for part in PARTS}
    return {part: list(names) for part, names in found.items() if names}


def missing_lines(
    missing: Mapping[str, Sequence[str]], total: int | None = None, named: int | None = NAMED
) -> list[str]:
    """Return in words what is missing, a line for parts that lack the same classes.

    Parameters
    ----------
    missing : mapping
        By part, names of classes.
    total : int, optional
        The number of all classes, where it is known.
    named : int, optional
        So many are named at most; None for all.
    """
    together: dict[tuple[str, ...], list[str]] = {}
    for part, names in missing.items():
        together.setdefault(tuple(names), []).append(PARTS[part])
    return [
        f"{_count(len(names), total)} no {' or '.join(parts)} images: {first_few(names, named or len(names))}"
        for names, parts in together.items()
    ]


def _count(n: int, total: int | None) -> str:
    if total is not None:
        return f"{n} of {total} classes have"
    return f"{n} class has" if n == 1 else f"{n} classes have"
