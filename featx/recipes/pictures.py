"""The pictures that a recipe asks for, beside its report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]
KIND = "svg"


def pictures(draw: Sequence[str], title: str, records: Mapping[str, Sequence[Record]]) -> Iterator[tuple[str, bytes]]:
    """Give the name's ending and the content of each picture.

    Parameters
    ----------
    draw : sequence of str
        Of `featx.recipes.recipe.DRAWN`.
    title : str
        The recipe's.
    records : mapping of str to sequence of mapping
        By the rows' names, one a seed.
    """
    if "curves" in draw:
        yield from _curves(records)
    if "layers" in draw:
        yield from _layers(records, title)


def _curves(records: Mapping[str, Sequence[Record]]) -> Iterator[tuple[str, bytes]]:
    from featx.reports.figures import overlaid_curves  # heavy

    trained = [
        (name if len(found) == 1 else f"{name}, seed {record.get('seed')}", record["history"])
        for name, found in records.items()
        for record in found
        if record.get("history")
    ]
    if trained:
        yield f"curves.{KIND}", overlaid_curves(trained, KIND)


def _layers(records: Mapping[str, Sequence[Record]], title: str) -> Iterator[tuple[str, bytes]]:
    from featx.reports.figures import layer_map  # heavy

    several = [(name, record) for name, found in records.items() for record in found if record.get("layers")]
    for number, (name, record) in enumerate(several, 1):
        said = f"{title}: {name}, seed {record.get('seed')}"
        end = f"-{number}" if len(several) > 1 else ""
        yield f"layers{end}.{KIND}", layer_map(record["layers"], record["layer"], said, KIND)
