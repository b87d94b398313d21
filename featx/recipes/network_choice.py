"""Which network a comparison takes where none is named, at which size; its layers and its last block. Loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from featx.cache.memo import Memo
from featx.core.backbone_names import DRAWN
from featx.core.concatenation import Feature, parts_of_all
from featx.core.lone_threads import one_thread
from featx.core.specs import BackboneConfig, LayerSpec
from featx.data.source import Source
from featx.errors import ImageError, OptionError, WeightsError
from featx.graph.hooked import read_network
from featx.graph.readable import Readable
from featx.graph.shapes import NodeInfo, Nodes
from featx.models.backbones import Backbone, look_up
from featx.models.builders import default_layer

USUAL, SMALL = "resnet18", "lenet5"
"""Taken where no network is named: pretrained on ImageNet; and what small grey images can do with, without weights."""

UNTRAINED = f"{DRAWN}0"
LEAST_PX, STEP_PX = 64, 32
"""Smaller images are enlarged to so many px, and to whole multiples of what most networks shrink them by."""

LOOKED_AT = 16
"""Images whose sizes are looked at."""

EARLIER = (0.75, 0.5)
"""Depths of the earlier layers, as shares of the multiply-adds up to the default layer."""

LAST_BLOCK = 0.75
"""The share of a network's multiply-adds that stays as it is where only the last block learns, as near as can be."""

SMALL_MACS = 5_000_000
"""Multiply-adds an image below which a network is as quick on one thread: LeNet-5 has 0.4 million."""

FLAT, POOLED = 1024, 64
"""A layer of at most so many values is taken whole; one of at least so many channels as its means over space."""


@dataclass(frozen=True)
class Network:
    """A network as a comparison uses it.

    Parameters
    ----------
    name : str
        As a command takes it.
    how : BackboneConfig
        Its weights and preprocessing, with the size.
    backbone : Backbone
        Looked up.
    notes : tuple of str
        What the user should know of the choice.
    """

    name: str
    how: BackboneConfig
    backbone: Backbone
    notes: tuple[str, ...] = ()

    @property
    def is_pretrained(self) -> bool:
        """Whether somebody trained the weights."""
        return not self.how.weights.startswith(DRAWN)


def choose(name: str | None, how: BackboneConfig, source: Source, memo: Memo) -> Network:
    """Return the network that is named, or the usual one, at a size that suits the images.

    Raises
    ------
    OptionError, WeightsError
        As `featx.models.backbones.look_up`.
    """
    if name is not None:
        found = Network(name, how, look_up(name, how, source.channels, memo))
    else:
        found = _usual(how, source, memo)
    return _sized(found, source, memo)


def _usual(how: BackboneConfig, source: Source, memo: Memo) -> Network:
    try:
        return Network(USUAL, how, look_up(USUAL, how, source.channels, memo), (f"no -b was given: {USUAL}",))
    except WeightsError as exc:
        if how.weights != BackboneConfig.weights:
            raise
        name = (
            SMALL if source.channels == 1 and (side_of(source) or LEAST_PX) <= STEP_PX and how.stem is None else USUAL
        )
        how = replace(how, weights=UNTRAINED)
        said = (
            f"no pretrained network: {exc.message.partition(': ')[0]}; {name} with random weights instead, so that "
            "frozen features are random ones. -b NAME --weights FILE gives a pretrained one, such as "
            "-b timm:NAME --weights FILE.safetensors"
        )
        return Network(name, how, look_up(name, how, source.channels, memo), (said,))


def _sized(network: Network, source: Source, memo: Memo) -> Network:
    """Return it with a smaller size where its own would only enlarge the images, at a price."""
    own, side = network.backbone.preprocess.crop, side_of(source)
    how = network.how
    if how.size is not None or how.resize == "none" or own is None or side is None or side >= own:
        return network
    px = max(LEAST_PX, -(-side // STEP_PX) * STEP_PX)
    if px >= own:
        return network
    how = replace(how, size=px)
    with suppress(OptionError):
        found = look_up(network.name, how, source.channels, memo)
        read(found)
        said = f"images of {side} px: the network sees {px} px, not its usual {own} px (--size)"
        return Network(network.name, how, found, (*network.notes, said))
    return network


def side_of(source: Source) -> int | None:
    """Return the median of the images' shorter sides, px, of a few of them; None where none can be read."""
    sides = []
    for row in np.linspace(0, len(source) - 1, min(LOOKED_AT, len(source))).astype(int).tolist():
        with suppress(ImageError):
            sides.append(min(source[row][0].shape[:2]))
    return int(np.median(sides)) if sides else None


@dataclass(frozen=True)
class Look:
    """What a network's graph tells.

    Parameters
    ----------
    layers : tuple of LayerSpec
        Earlier ones, then the default layer; none where the network has no such.
    last_block : str
        The block to train alone; empty where there is none.
    macs : int
        Multiply-adds an image.
    """

    layers: tuple[LayerSpec, ...]
    last_block: str
    macs: int


def read(backbone: Backbone, asked: Sequence[Feature] = ()) -> Look:
    """Look for the layers and the last block of a network at its size.

    Parameters
    ----------
    backbone : Backbone
        The network.
    asked : sequence of LayerSpec or Concatenation
        Layers that it has to have.

    Raises
    ------
    OptionError
        It cannot take images of this size, or has no such layer.
    """
    module, px = backbone.module(), backbone.preprocess.crop or LEAST_PX
    network = read_network(module, backbone.left_out)
    nodes = network.describe((backbone.preprocess.channels, px, px))
    for layer in parts_of_all(asked):
        if not layer.is_pattern:
            network.columns(layer, nodes)
    default = default_layer(module, backbone.head, network, nodes)
    spec = None if default is None else LayerSpec.parse(default)
    layers = () if spec is None else (*earlier_layers(network, nodes, spec), spec)
    macs = max((node.macs for node in nodes.values()), default=0)
    return Look(layers, last_block(module, backbone.head, network, nodes), macs)


def threads_for(look: Look) -> AbstractContextManager[None]:
    """Return what computes on one thread where there is little: more would wait for each other, on a busy machine long.

    Parameters
    ----------
    look : Look
        At the network that is run.
    """
    return one_thread() if look.macs < SMALL_MACS else nullcontext()


def earlier_layers(network: Readable, nodes: Nodes, default: LayerSpec) -> list[LayerSpec]:
    """Return layers at about the depths of `EARLIER`, the deepest last; of near ones the end of the largest block."""
    names = list(nodes)
    before = [nodes[name] for name in names[: names.index(default.node)] if LayerSpec.can_name(name)]
    whole = nodes[default.node].macs
    found: list[NodeInfo] = []
    for share in EARLIER:
        near = [node for node in before if abs(node.macs / whole - share) < 0.15]
        near = [node for node in near if len(node.shape) > 1 and node not in found]
        if near:
            # Of layers as deep as each other the last one: after the activation, and after the pooling.
            at = min(near, key=lambda node: (node.name.count("."), abs(node.macs / whole - share))).macs
            alike = [node for node in near if node.macs == at]
            top = min(node.name.count(".") for node in alike)
            found.append([node for node in alike if node.name.count(".") == top][-1])
    specs = [_pooled(network, nodes, node) for node in sorted(found, key=lambda node: names.index(node.name))]
    return list(dict.fromkeys(spec for spec in specs if spec is not None and spec != default))


def _pooled(network: Readable, nodes: Nodes, node: NodeInfo) -> LayerSpec | None:
    """Return a layer in a size that softmax regression takes quickly."""
    flat = int(np.prod(node.shape))
    channels = _columns(network, nodes, LayerSpec(node.name, "avg"))
    if flat <= FLAT or channels is None:
        return LayerSpec(node.name) if flat <= FLAT else None
    if node.class_token:
        return LayerSpec(node.name, "cls")
    grid = next((n for n in (4, 2) if channels < POOLED and n * n * channels <= FLAT), 1)
    spec = LayerSpec(node.name, f"avg{grid}" if grid > 1 else "avg")
    return spec if _columns(network, nodes, spec) else LayerSpec(node.name, "avg")


def _columns(network: Readable, nodes: Nodes, spec: LayerSpec) -> int | None:
    with suppress(OptionError):
        return network.columns(spec, nodes)
    return None


def last_block(module: nn.Module, head: str, network: Readable, nodes: Nodes) -> str:
    """Return the block whose training leaves about `LAST_BLOCK` of the network as it is; empty where there is none."""
    modules = {
        name: part
        for name, part in module.named_modules()
        if any(True for _ in part.parameters()) and not f"{head}.".startswith(f"{name}.")
    }
    whole = max((node.macs for node in nodes.values()), default=0) or 1
    shares = {name: share / whole for name, share in _begins(nodes).items() if name in modules and share > whole / 2}
    blocks = {name for name in shares if _is_composed(modules[name])} or set(shares)
    for name in sorted(blocks, key=lambda name: (name.count("."), abs(shares[name] - LAST_BLOCK))):
        with suppress(OptionError):
            if network.ran_before(name):
                return name
    return ""


def _is_composed(module: nn.Module) -> bool:
    """Tell a block from a layer: several of its modules have parameters of their own."""
    own = [part for part in module.modules() if any(True for _ in part.parameters(recurse=False))]
    return len(own) > 1


def _begins(nodes: Nodes) -> dict[str, int]:
    """Return for each module that runs the multiply-adds before it."""
    begins: dict[str, int] = {}
    before = 0
    for name, node in nodes.items():
        for path in _paths(name):
            begins.setdefault(path, before)
        before = max(before, node.macs)
    return begins


def _paths(name: str) -> Sequence[str]:
    parts = name.split(".")
    return [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
