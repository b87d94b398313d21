"""The names of a network's layers, remembered when it was read: a mistyped one is then answered without torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from featx.cache.memo import Memo
from featx.core.concatenation import Feature, parts_of_all
from featx.errors import OptionError, suggest
from featx.models.facts import NetworkFacts
from featx.models.families import versions


def remember_layers(network: NetworkFacts, names: Sequence[str], memo: Memo) -> None:
    """Remember what can be read of a network: `featx.graph.readable.Readable.names`."""
    memo.put("names", _about(network), list(names))


def check_layers(network: NetworkFacts, layers: Iterable[Feature], memo: Memo) -> None:
    """Refuse a layer that the network is known not to have; where nothing is known, nothing is refused.

    Raises
    ------
    OptionError
        For its name, with the nearest ones.
    """
    known: list[str] | None = memo.get("names", _about(network))
    if known is None:
        return
    for layer in parts_of_all(layers):
        if not layer.is_pattern and layer.node not in known and not _is_left_out(layer.node, network.left_out):
            raise OptionError(
                f"there is no layer {layer.node[:80]!r} in this network",
                suggest(layer.node, known) or f"`featx layers {network.name}` lists them",
            )


def _is_left_out(node: str, left_out: Sequence[str]) -> bool:
    """Tell whether a node is of a part without weights, which is said where the network is read."""
    return any(f"{node}.".startswith(f"{part}.") for part in left_out)


def _about(network: NetworkFacts) -> dict[str, Any]:
    return {
        "backbone": network.name,
        "code": network.code,
        "options": network.options,
        "left_out": list(network.left_out),
        "versions": versions(network.name),
    }
