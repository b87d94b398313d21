"""Several layers side by side as one feature: ``layer3:avg+layer4:avg``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from featx.core.specs import LayerSpec
from featx.errors import OptionError

JOIN = "+"


@dataclass(frozen=True)
class Concatenation:
    """Layers whose rows are one row, in this order; the store holds each of them by itself.

    Parameters
    ----------
    parts : tuple of LayerSpec
        Two or more, each once, no patterns.

    Raises
    ------
    OptionError
        For others.

    Examples
    --------
    >>> str(parse_feature("layer3:avg+fc"))
    'layer3:avg+fc:flat'
    """

    parts: tuple[LayerSpec, ...]

    def __post_init__(self) -> None:
        pattern = next((part for part in self.parts if part.is_pattern), None)
        if pattern is not None:
            raise OptionError(
                f"{str(pattern)[:80]!r} stands for several layers, expected one in each part of {str(self)[:160]!r}",
                "name each layer",
            )
        if len(self.parts) < 2 or len(set(self.parts)) < len(self.parts):
            raise OptionError(
                f"{str(self)[:160]!r} joins {len(self.parts)} layers, expected two or more, each once",
                "for example layer3:avg+layer4:avg",
            )

    def __str__(self) -> str:
        # A plus sign may stand in a node's name: it joins where it follows a pooling, which is therefore written.
        return JOIN.join(f"{part.node}:{part.pool}" for part in self.parts)

    @property
    def is_pattern(self) -> bool:
        """Whether it can match several nodes: never."""
        return False


Feature = LayerSpec | Concatenation
"""What a head is fitted on."""


def parse_feature(text: str) -> Feature:
    """Read a layer, or several that a plus sign joins behind their poolings; the inverse of ``str``.

    Raises
    ------
    OptionError
        For what is no layer, and as `Concatenation`.
    """
    parts: list[str] = []
    for piece in text.split(JOIN):
        if parts and ":" not in parts[-1]:
            parts[-1] += JOIN + piece  # of the node's own name
        else:
            parts.append(piece)
    if len(parts) == 1:
        return LayerSpec.parse(text)
    return Concatenation(tuple(LayerSpec.parse(part) for part in parts))


def as_feature(layer: Feature | str) -> Feature:
    """Return a layer, or several as one, as it is or read from a text."""
    return parse_feature(layer) if isinstance(layer, str) else layer


def parts_of(feature: Feature) -> tuple[LayerSpec, ...]:
    """Return the layers that a feature is made of: itself, if it is one."""
    return feature.parts if isinstance(feature, Concatenation) else (feature,)


def parts_of_all(features: Iterable[Feature]) -> tuple[LayerSpec, ...]:
    """Return the layers that several features are made of, each once: those that stand alone first."""
    ordered = sorted(features, key=lambda feature: isinstance(feature, Concatenation))
    return tuple(dict.fromkeys(part for feature in ordered for part in parts_of(feature)))


def made_of(features: Iterable[Feature], layers: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return by each feature's name the layers that it is made of.

    Parameters
    ----------
    features : iterable of LayerSpec or Concatenation
        As asked for; a pattern is as many features as it matches.
    layers : iterable of str
        What was computed for them.
    """
    computed = {name: LayerSpec.parse(name) for name in layers}
    found: dict[str, tuple[str, ...]] = {}
    for feature in features:
        if feature.is_pattern:
            assert isinstance(feature, LayerSpec)
            alike = (
                name for name, spec in computed.items() if spec.pool == feature.pool and feature.matches(spec.node)
            )
            found.update((name, (name,)) for name in alike)
        else:
            found[str(feature)] = tuple(map(str, parts_of(feature)))
    return found
