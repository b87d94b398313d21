"""How many channels a user's own network takes, found by trying."""

from __future__ import annotations

import math

from torch import nn

from featx.core.specs import PreprocessSpec
from featx.errors import OptionError
from featx.graph.readable import Readable


def input_channels(module: nn.Module, network: Readable, px: int) -> int:
    """Return the number of channels with which a network comes farthest: what its first convolution takes, 3 or 1.

    Parameters
    ----------
    module, network : nn.Module, Readable
        In eval mode, and what can be read of it.
    px : int
        Size of the images that it is tried with.
    """
    reached = {}
    for channels in dict.fromkeys((likely_channels(module), 3, 1)):
        try:
            nodes = network.describe((channels, px, px), whole=False)
        except OptionError:
            continue
        if not nodes.unfit:
            return channels
        reached[channels] = len(nodes)
    return max(reached, key=reached.__getitem__, default=likely_channels(module))


def likely_channels(module: nn.Module) -> int:
    """Return what the first convolution takes, else what the first linear layer tells of square images."""
    for child in module.modules():
        if isinstance(child, nn.Conv2d) and child.in_channels <= PreprocessSpec.MOST_CHANNELS:
            return child.in_channels
        if isinstance(child, nn.Linear):
            return 1 if math.isqrt(child.in_features) ** 2 == child.in_features else 3
    return 3
