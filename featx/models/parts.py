"""What any network may have: a classifier, heads that only help training, weights that lie in memory as fits them."""

from __future__ import annotations

import torch
from torch import nn

from featx.errors import OptionError

AUXILIARY = ("aux1", "aux2", "AuxLogits")
"""Heads that only help training; evaluation never runs them."""


def channels_last(module: nn.Module) -> nn.Module:
    """Lay the four-dimensional weights out channels last in memory, and return the network, which is changed.

    ``Module.to`` refuses a network with a five-dimensional one, such as the windows' mask of timm's Swin.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)
    return module


def find_head(module: nn.Module) -> str:
    """Return the dotted name of the classifier: the last linear layer, or SqueezeNet's last convolution.

    Raises
    ------
    OptionError
        For a network that has neither.
    """
    last = ""
    for kind in (nn.Linear, nn.Conv2d):
        for name, child in module.named_modules():
            if isinstance(child, kind) and not name.startswith(AUXILIARY):
                last = name
        if last:
            return last
    raise OptionError(f"{type(module).__name__} has no classifier", "a network that ends in a linear layer")
