"""Which of the layers that were asked for each of several networks has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from featx.cache.memo import Memo
from featx.core.concatenation import Feature, parts_of
from featx.core.specs import LayerSpec
from featx.data.batch_loader import image_shape
from featx.data.sources import Source
from featx.errors import OptionError, first_few
from featx.extraction.compute import Networks, expand_layers
from featx.models.backbones import Backbone


def own_layers(
    source: Source, networks: Mapping[str, Backbone], layers: Sequence[Feature], memo: Memo, done: str
) -> tuple[dict[str, list[Feature]], list[str]]:
    """Return which of the layers each network has, and what is to be said of those that one lacks.

    Parameters
    ----------
    source : Source
        Its first image tells the size, where the preprocessing leaves that alone.
    networks : mapping of str to Backbone
        By name.
    layers : sequence of LayerSpec or Concatenation
        A pattern is had where it matches a layer, and joined layers where all of them are.
    memo : Memo
        Remembers what a pattern means.
    done : str
        What becomes of a network, to say without which layers: ``is compared``.

    Raises
    ------
    OptionError
        A layer is in none of the networks, or a network has none of the layers.
    """
    own: dict[str, list[Feature]] = {name: [] for name in networks}
    lacks: dict[Feature, dict[str, OptionError]] = {layer: {} for layer in layers}
    for name, backbone in networks.items():
        read = Networks(backbone)
        for layer in layers:
            try:
                for part in parts_of(layer):
                    _check_layer(part, source, read, memo)
            except OptionError as error:
                lacks[layer][name] = error
            else:
                own[name].append(layer)
    for errors in lacks.values():
        if len(errors) == len(networks):
            raise next(iter(errors.values()))
    for name, some in own.items():
        if not some:
            raise OptionError(f"{name} has none of the layers {first_few(list(map(str, layers)))}", "give one it has")
    return own, [
        f"{name} {done} without {layer}: {error.message}"
        for layer, errors in lacks.items()
        for name, error in errors.items()
    ]


def _check_layer(layer: LayerSpec, source: Source, networks: Networks, memo: Memo) -> None:
    """Raise OptionError where a network has no such layer."""
    if layer.is_pattern:
        expand_layers([layer], source, networks, memo)
    else:
        networks.of(image_shape(source, networks.backbone.preprocess)).columns(layer)
