"""``featx layers``: what can be extracted from a backbone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.completion import complete_backbone
from featx.cli.opening import of_shapes, open_backbone
from featx.cli.output import Output
from featx.cli.text import human_bytes, human_count
from featx.core.specs import BackboneConfig, LayerSpec
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.graph.shapes import NodeInfo

FLOAT32 = 4
"""Bytes a stored value."""


@click.command
@click.argument("backbone", shell_complete=complete_backbone)
@options.shapes
@options.common
def layers(out: Output, home: Path, backbone: str, wanted: BackboneConfig) -> None:
    """List what can be extracted from a backbone.

    For each node: its shape, the float32 bytes per row, flat and pooled over space (avg, max), and the multiply-adds
    per image up to it. The default layer is the classifier's input. Random weights are used: nothing is downloaded.

    \b
    Examples:
      featx layers resnet18
      featx layers vgg16 --size 64 --json
      featx layers timm:mobilenetv3_small_100
      featx layers run:20261121
    """
    from featx.cache.memo import Memo

    memo = Memo(home)
    opened = open_backbone(out, backbone, of_shapes(backbone, wanted), None, memo)
    px = opened.preprocess.crop
    if px is None:
        raise OptionError(f"{backbone} takes images of any size, expected --size", "for example --size 32")
    from featx.graph.hooked import read_network  # heavy
    from featx.models.builders import default_layer
    from featx.models.known_layers import remember_layers

    module = opened.module()
    traced = read_network(module, opened.left_out)
    remember_layers(opened, traced.names(), memo)
    nodes = traced.describe((opened.preprocess.channels, px, px), whole=False)
    default = default_layer(module, opened.head, traced, nodes)
    found = [describe(node) for node in nodes.values()]
    columns = ("layer", ">shape", ">flat", ">pooled", ">multiply-adds")
    out.table(columns, [cells(entry) for entry in found])
    out.say(f"default layer: {default}, the classifier's input" if default else "no default layer")
    if nodes.unfit:
        out.note(f"{len(nodes.unreached)} later layers are not listed: {nodes.unfit}")
    about = {"backbone": opened.name, "size": px, "default_layer": default, "unfit": nodes.unfit or None}
    out.result({**about, "layers": found})


def describe(node: NodeInfo) -> dict[str, Any]:
    """Return a node's JSON entry; bytes are those of one float32 row, None where pooling does not apply."""
    flat = math.prod(node.shape)
    pooled = pooled_columns(node)
    return {
        "name": node.name,
        "shape": list(node.shape),
        "bytes": FLOAT32 * flat,
        "pooled_bytes": None if pooled is None else FLOAT32 * pooled,
        "macs": node.macs,
    }


def pooled_columns(node: NodeInfo) -> int | None:
    """Return how many values ``avg`` and ``max`` leave; None for a node without a known space."""
    from featx.graph.pooling import columns

    try:
        return columns(LayerSpec(node.name, "avg"), node.shape, node.layout, class_token=False)
    except OptionError:
        return None


def cells(entry: dict[str, Any]) -> tuple[str, ...]:
    """Return a node's line of the table."""
    shape = "x".join(map(str, entry["shape"]))
    pooled = "" if entry["pooled_bytes"] is None else human_bytes(entry["pooled_bytes"])
    return entry["name"], shape, human_bytes(entry["bytes"]), pooled, human_count(entry["macs"])
