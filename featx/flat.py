"""A network cut off after its convolutional base, with a head of its own directly on the flattened activation."""

from __future__ import annotations

import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor, get_graph_node_names

from featx.tracing import tracer_options


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
        super().__init__()
        options = tracer_options(network)
        _, known = get_graph_node_names(network, tracer_kwargs=options, suppress_diff_warning=True)
        # torchvision keeps a convolution, its norm and its ReLU together: such a node is its block's end.
        while node not in known and "." in node:
            node = node.rpartition(".")[0]
        self.base = create_feature_extractor(network, {node: "base"}, tracer_kwargs=options, suppress_diff_warning=True)
        self.head = head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(torch.flatten(self.base(x)["base"], 1))
        return logits
