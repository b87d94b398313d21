"""Networks on a device, those too that remember in an attribute where they are."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import fx, nn

Network = TypeVar("Network", bound=nn.Module)


def placed(module: Network, device: torch.device) -> Network:
    """Move a network to a device and return it, changed: its attributes that name a device, or hold a tensor, too."""
    module.to(device)
    for owner in module.modules():
        for name, value in vars(owner).items():
            if isinstance(value, torch.device):
                vars(owner)[name] = device
            elif isinstance(value, str) and "device" in name.lower() and is_device(value):
                vars(owner)[name] = str(device)
            elif isinstance(value, torch.Tensor):
                vars(owner)[name] = value.to(device)
    return module


def is_device(value: object) -> bool:
    """Tell a device, or its name, from anything else."""
    if isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda", "mps", "xpu", "meta"):
        try:
            torch.device(value)
        except RuntimeError:
            return False
        return True
    return isinstance(value, torch.device)


def follow_input(graph: fx.Graph) -> None:
    """Let a traced graph compute where its input is, whatever device it names: ``x.to(self.device)``, ``x.cuda()``."""
    image = next(node for node in graph.nodes if node.op == "placeholder")
    named = [node for node in graph.nodes if _names_device(node)]
    if not named:
        return
    with graph.inserting_after(image):
        device = graph.call_function(getattr, (image, "device"))
    for node in named:
        if node.target in ("cpu", "cuda") and node.op == "call_method":
            node.target, node.args, node.kwargs = "to", (node.args[0], device), {}
            continue
        node.args = tuple(_replaced(node, value, device) for value in node.args)
        node.kwargs = {name: device if is_device(value) else value for name, value in node.kwargs.items()}


def _names_device(node: fx.Node) -> bool:
    if node.op == "call_method" and node.target in ("cpu", "cuda"):
        return True
    return node.op in ("call_method", "call_function") and any(map(is_device, (*node.args, *node.kwargs.values())))


def _replaced(node: fx.Node, value: Any, device: fx.Node) -> Any:
    """Return an argument, or `device` in its place; a text is one where `to` is given it."""
    return device if isinstance(value, torch.device) or (node.target == "to" and is_device(value)) else value
