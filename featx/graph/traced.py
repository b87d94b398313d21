"""A network as a graph of named nodes: what each gives, and a copy cut off after the wanted ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional

from featx.core.specs import LayerSpec
from featx.errors import OptionError
from featx.graph.fold_batch_norm import fold_batch_norm
from featx.graph.fused import fuse
from featx.graph.pooling import pool
from featx.graph.readable import Readable, check_name, fed_by_nothing, last_in_space, no_block
from featx.graph.shapes import NodeInfo, Nodes, measure, reason
from featx.graph.tracing import sources, trace, with_containers

_OWNERS = ("call_module", "get_attr")
"""Kinds of graph nodes that may have weights."""


class Traced(Readable):
    """A network's evaluation graph.

    Parameters
    ----------
    module : nn.Module
        In eval mode. It is not changed, but shares its weights with what `cut` returns.
    left_out : tuple of str
        Modules whose weights are missing: their nodes are not offered.

    Raises
    ------
    UntraceableError
        For a network that torch.fx cannot trace.
    """

    def __init__(self, module: nn.Module, left_out: tuple[str, ...] = ()) -> None:
        self.graph_module, self._nodes = trace(module)
        self._sources = sources(self.graph_module.graph)
        # What comes after a missing classifier is as meaningless as itself.
        missing = {node for name, node in self._nodes.items() if name in left_out}
        lost = {name for name, node in self._nodes.items() if missing & self._sources[node]}
        pairs = with_containers(list(self._nodes))
        self._named = {path: self._nodes[name] for path, name in pairs if name not in lost}
        self._lost = {path for path, name in pairs if name in lost}

    def node(self, name: str) -> fx.Node:
        """Return the graph node of a name; OptionError, with the nearest names, where there is none."""
        self.check(name)
        return self._named[name]

    def check(self, name: str) -> None:
        """Raise OptionError, with the nearest names, for a name that means no node."""
        check_name(name, self.names(), self._lost)

    def names(self) -> list[str]:
        """Return the names of the nodes and module paths, in the order in which they run."""
        return list(self._named)

    def before(self, head: str) -> str:
        """Return the node whose values a module takes; see `Readable.before`."""
        # A classifier that is no leaf (timm's own linear layers) has nodes within, and the first is fed.
        within = [node for name, node in self._nodes.items() if f"{name}.".startswith(f"{head}.")]
        fed = self._origin(within[0].args[0]) if within else None
        for name, node in self._nodes.items():
            if node is fed:
                return name
        raise fed_by_nothing(head)

    def ends_with(self, head: str) -> bool:
        """Tell whether what a module gives is what the network returns, unchanged."""
        (out,) = (node for node in self.graph_module.graph.nodes if node.op == "output")
        within = {node for name, node in self._nodes.items() if f"{name}.".startswith(f"{head}.")}
        return any(self._origin(node) in within for node in out.all_input_nodes)

    def _origin(self, node: Any) -> Any:
        """Return the node that made a value, seen through what does not change it."""
        while isinstance(node, fx.Node) and self._keeps_values(node):
            node = node.args[0]
        return node

    def base(self, head: str, nodes: Nodes) -> str:
        """Return where the convolutional base ends; see `Readable.base`."""
        within = [node for name, node in self._nodes.items() if f"{name}.".startswith(f"{head}.")]
        names = {node: name for name, node in self._nodes.items()}
        # Of the nodes that the classifier depends on, the graph's order being the order in which they run.
        before = sorted(self._sources[within[0]], key=list(self.graph_module.graph.nodes).index) if within else []
        return last_in_space([names.get(node, "") for node in before], nodes)

    def ran_before(self, block: str) -> set[str]:
        """Return what runs before a block, and not again from there on; see `Readable.ran_before`."""
        starts = {node for name, node in self._nodes.items() if f"{name}.".startswith(f"{block}.")}
        nodes = list(self.graph_module.graph.nodes)
        at = next((i for i, node in enumerate(nodes) if node in starts), None)
        if at is None:
            raise no_block(block, self.names())
        early, late = ({str(n.target) for n in some if n.op in _OWNERS} for some in (nodes[:at], nodes[at:]))
        return early - late

    def _keeps_values(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.graph_module.get_submodule(str(node.target)), (nn.Flatten, nn.Dropout, nn.Identity))
        return node.target in (torch.flatten, functional.dropout, "flatten")

    def describe(self, input_shape: tuple[int, int, int], *, whole: bool = True) -> Nodes:
        """Return what each node gives, found without computing anything (on PyTorch's meta device); see `Readable`."""
        _, height, width = input_shape
        run = measure(self.graph_module, input_shape)
        found = Nodes()
        found.effects = run.effects
        for name, node in self._named.items():
            if node.name in run.shapes:
                needed = self._sources[node]
                macs = sum(run.cost[n.name] for n in needed)
                token = any(_is_class_token(n) for n in needed)
                grows = node.name in run.grown
                found[name] = NodeInfo(name, run.shapes[node.name], run.layouts[node.name], macs, token, grows)
        if run.failure is not None:
            found.unfit = f"the network cannot take {height} x {width} px: {reason(run.failure)}"
            found.unreached = frozenset(name for name, node in self._named.items() if node.name not in run.reached)
            if whole or not found:
                raise OptionError(found.unfit, "give another --size") from run.failure
        return found

    def cut(
        self, specs: Sequence[LayerSpec], nodes: Nodes, keep: Sequence[LayerSpec] = (), fused: str | None = None
    ) -> fx.GraphModule:
        """Return a network that stops after the deepest wanted node; see `Readable`.

        Each activation is pooled, into memory of its own, directly after its node ran: a later in-place operation
        cannot overwrite it, and nothing is held longer than the pass needs it. Batch norm is folded into the
        convolution before it unless one of the wanted nodes, or of `keep`, stands between them.
        """
        graph = fx.Graph()
        copied: dict[fx.Node, fx.Node] = {}
        graph.graph_copy(self.graph_module.graph, copied)
        kept = {copied[self.node(s.node)] for s in (*specs, *keep)}
        rows = []
        for spec in specs:
            node = copied[self.node(spec.node)]
            with graph.inserting_after(node):
                layout = nodes[spec.node].layout
                rows.append(graph.call_function(pool, (node, spec.pool, spec.grid, layout)))
        graph.output(tuple(rows))
        _stop_after(graph, rows)
        # Nothing may use an in-place operation's own result, and a later node still read what it wrote.
        written = {copied[node] for node in self.graph_module.graph.nodes if node.name in nodes.effects}
        short = fx.GraphModule(self.graph_module, graph)
        short.graph.eliminate_dead_code(lambda node: node in written or node.is_impure())
        fold_batch_norm(short, kept)
        if fused is not None:
            fuse(short, kept, fused)
        short.graph.lint()
        short.recompile()
        short.delete_all_unused_submodules()
        return short.eval()


def _is_class_token(node: fx.Node) -> bool:
    return node.op == "get_attr" and str(node.target).rsplit(".", 1)[-1] in ("class_token", "cls_token")


def _stop_after(graph: fx.Graph, rows: Sequence[fx.Node]) -> None:
    """Erase what runs after the last of some nodes, whose values nothing uses."""
    for node in reversed(graph.nodes):
        if node in rows:
            return
        if node.op not in ("output", "placeholder"):
            graph.erase_node(node)
