"""A network cut off after its convolutional base, with a head of its own directly on the flattened activation."""

from __future__ import annotations

import torch
from torch import nn

from featx.graph.hooked import Hooked, HookedBase
from featx.graph.placing import follow_input
from featx.graph.readable import Readable
from featx.graph.tracing import tracer_options


def flat_network(readable: Readable, network: nn.Module, node: str, head: nn.Module) -> nn.Module:
    """Return a network's base up to a node with a head on the flattened activation.

    Parameters
    ----------
    readable : Readable
        What can be read of the network: its graph is cut, or hooks stop it.
    """
    if isinstance(readable, Hooked):
        return HookedFlatNetwork(readable.until(node), head)
    return FlatNetwork(network, node, head)


class HookedFlatNetwork(nn.Module):
    """A head directly on what hooks read of a network that cannot be traced; named as `FlatNetwork` is.

    Parameters
    ----------
    until : HookedBase
        Gives the activation.
    head : nn.Module
        Takes (n, C * H * W).
    """

    def __init__(self, until: HookedBase, head: nn.Module) -> None:
        super().__init__()
        self.base = until.network
        self.head = head
        self._until = until

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) for images of shape (n, C, H, W)."""
        logits: torch.Tensor = self.head(torch.flatten(self._until(x), 1))
        return logits


class FlatNetwork(nn.Module):
    """A head directly on a convolutional base: the network stops after one node, whose activation is flattened.

    Parameters
    ----------
    network : nn.Module
        Its modules become the base's; those after the node are left out.
    node : str
        Where the base ends.
    head : nn.Module
        Takes (n, C * H * W).
    """

    def __init__(self, network: nn.Module, node: str, head: nn.Module) -> None:
        # Takes seconds to load.
        from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

        super().__init__()
        options = tracer_options(network)
        _, known = get_graph_node_names(network, tracer_kwargs=options, suppress_diff_warning=True)
        # torchvision keeps a convolution, its norm and its ReLU together: such a node is its block's end.
        while node not in known and "." in node:
            node = node.rpartition(".")[0]
        self.base = create_feature_extractor(network, {node: "base"}, tracer_kwargs=options, suppress_diff_warning=True)
        for graph in (self.base.train_graph, self.base.eval_graph):
            follow_input(graph)
        self.base.recompile()
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (n, k) for images of shape (n, C, H, W)."""
        logits: torch.Tensor = self.head(torch.flatten(self.base(x)["base"], 1))
        return logits
