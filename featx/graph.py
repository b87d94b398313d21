"""A network as a graph of named nodes: what each gives, and a copy cut off after the wanted ones."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import fx, nn
from torch.nn import functional

from featx.errors import OptionError, nearest
from featx.folding import fold_batch_norm
from featx.measure import NodeInfo, Nodes, measure, reason
from featx.pooling import columns, pool
from featx.specs import LayerSpec
from featx.tracing import sources, trace, with_containers

_OWNERS = ("call_module", "get_attr")
"""Kinds of graph nodes that may have weights."""


class Traced:
    """A network's evaluation graph.

    Parameters
    ----------
    module : nn.Module
        In eval mode. It is not changed, but shares its weights with what `cut` returns.
    left_out : tuple of str
        Modules whose weights are missing: their nodes are not offered.

    Raises
    ------
    OptionError
        For a network that torch.fx cannot trace.
    """

    def __init__(self, module: nn.Module, left_out: tuple[str, ...] = ()) -> None:
        self.graph_module, self._nodes = trace(module)
        self._sources = sources(self.graph_module.graph)
        # What comes after a missing classifier is as meaningless as itself.
        missing = {node for name, node in self._nodes.items() if name in left_out}
        lost = {name for name, node in self._nodes.items() if missing & self._sources[node]}
        pairs = with_containers(list(self._nodes))
        self._names = [(path, name) for path, name in pairs if name not in lost]
        self._lost = {path for path, name in pairs if name in lost}

    def node(self, name: str) -> fx.Node:
        """Return the graph node of a name; OptionError, with the nearest names, where there is none."""
        known = dict(self._names)
        if name not in known:
            if name in self._lost:
                raise OptionError(
                    f"layer {name!r} has no weights: the file's classifier does not fit and was left out",
                    "take a layer before it",
                )
            raise OptionError(
                f"there is no layer {name[:80]!r} in this network",
                nearest(name, known) or "`featx layers BACKBONE` lists them",
            )
        return self._nodes[known[name]]

    def names(self) -> list[str]:
        """Return the names of the nodes and module paths, in the order in which they run."""
        return [name for name, _ in self._names]

    def before(self, head: str) -> str:
        """Return the node whose values a module takes, one row an image: the features that a classifier sees.

        Looks through flattening and dropout, which change no value in eval mode: for ResNets that is ``avgpool``,
        whose features are likely to be stored already.

        Raises
        ------
        OptionError
            For a classifier that does not run, or that takes the image itself.
        """
        # A classifier that is no leaf (timm's own linear layers) has nodes within, and the first is fed.
        within = [node for name, node in self._nodes.items() if f"{name}.".startswith(f"{head}.")]
        fed = within[0].args[0] if within else None
        while isinstance(fed, fx.Node) and self._keeps_values(fed):
            fed = fed.args[0]
        for name, node in self._nodes.items():
            if node is fed:
                return name
        raise OptionError(
            f"the classifier {head} takes no layer's output", "give the layer that is meant; `featx layers` lists them"
        )

    def base(self, head: str, nodes: Nodes) -> str:
        """Return the last node before a classifier that still has space: where the convolutional base ends.

        A pooling to a fixed grid, as VGG's, ends it: what does not grow with the image is no space.

        Raises
        ------
        OptionError
            For a network without such a node, as vision transformers are.
        """
        within = [node for name, node in self._nodes.items() if f"{name}.".startswith(f"{head}.")]
        names = {node: name for name, node in self._nodes.items()}
        # Of the nodes that the classifier depends on, the graph's order being the order in which they run.
        before = sorted(self._sources[within[0]], key=list(self.graph_module.graph.nodes).index) if within else []
        for node in reversed(before):
            info = nodes.get(names.get(node, ""))
            if info is not None and info.layout in ("NHWC", "NLC"):
                break
            if info is not None and info.layout == "NCHW" and info.grows:
                return info.name
        raise OptionError("the network has no convolutional base", "use --head linear or mlp")

    def ran_before(self, block: str) -> set[str]:
        """Return the modules and parameters that run before a block, and not again from there on.

        Parameters
        ----------
        block : str
            A module path or a node: where its first node stands, the network is cut in two.

        Raises
        ------
        OptionError
            There is no such block; names the nearest.
        """
        starts = {node for name, node in self._nodes.items() if f"{name}.".startswith(f"{block}.")}
        nodes = list(self.graph_module.graph.nodes)
        at = next((i for i, node in enumerate(nodes) if node in starts), None)
        if at is None:
            raise OptionError(
                f"there is no block {block[:80]!r} in this network",
                nearest(block, self.names()) or "`featx layers BACKBONE` lists them",
            )
        early, late = ({str(n.target) for n in some if n.op in _OWNERS} for some in (nodes[:at], nodes[at:]))
        return early - late

    def default(self, head: str, nodes: Nodes) -> LayerSpec:
        """Return the layer that most users want: what the classifier sees, one value a channel.

        Parameters
        ----------
        head : str
            Dotted name of the classifier.
        nodes : Nodes
            From `describe`.

        Raises
        ------
        OptionError
            Where the network cannot come so far at that size, or begins with its classifier.
        """
        spec = LayerSpec(self.before(head))
        self.columns(spec, nodes)
        info = nodes[spec.node]
        pooled = LayerSpec(spec.node, "avg")
        if info.layout in ("NC", "?") or columns(pooled, info.shape, info.layout, class_token=False) == math.prod(
            info.shape
        ):
            return spec
        return pooled

    def _keeps_values(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.graph_module.get_submodule(str(node.target)), (nn.Flatten, nn.Dropout, nn.Identity))
        return node.target in (torch.flatten, functional.dropout, "flatten")

    def describe(self, input_shape: tuple[int, int, int], *, whole: bool = True) -> Nodes:
        """Return what each node gives, found without computing anything (on PyTorch's meta device).

        Parameters
        ----------
        input_shape : tuple of int
            Channels, height, width.
        whole : bool
            Whether all of the network must be able to take such images. Without it, the nodes before the first that
            cannot are returned, and `Nodes.unfit` says why there are no others.

        Raises
        ------
        OptionError
            Where the network, or its first node, cannot take images of that size.
        """
        _, height, width = input_shape
        run = measure(self.graph_module, input_shape)
        found = Nodes()
        found.effects = run.effects
        for name, graph_name in self._names:
            node = self._nodes[graph_name]
            if node.name in run.shapes:
                needed = self._sources[node]
                macs = sum(run.cost[n.name] for n in needed)
                token = any(_is_class_token(n) for n in needed)
                grows = node.name in run.grown
                found[name] = NodeInfo(name, run.shapes[node.name], run.layouts[node.name], macs, token, grows)
        if run.failure is not None:
            found.unfit = f"the network cannot take {height} x {width} px: {reason(run.failure)}"
            found.unreached = frozenset(n for n, node in self._names if self._nodes[node].name not in run.reached)
            if whole or not found:
                raise OptionError(found.unfit, "give another --size") from run.failure
        return found

    def columns(self, spec: LayerSpec, nodes: Nodes) -> int:
        """Return a row's length; OptionError for a node that is no tensor or that the pooling does not fit."""
        self.node(spec.node)
        if spec.node in nodes.unreached:
            raise OptionError(
                f"layer {spec.node!r} is out of reach: {nodes.unfit}", "give another --size, or take an earlier layer"
            )
        if spec.node not in nodes:
            raise OptionError(f"layer {spec.node!r} gives no tensor of one row an image", self._near(spec.node, nodes))
        info = nodes[spec.node]
        return columns(spec, info.shape, info.layout, class_token=info.class_token)

    def _near(self, name: str, nodes: Nodes) -> str:
        """Name the next node that can be had, or the last one before."""
        names = self.names()
        at = names.index(name)
        for near in (*names[at:], *reversed(names[:at])):
            if near in nodes:
                return f"take {near}"
        return "take another layer"

    def cut(self, specs: Sequence[LayerSpec], nodes: Nodes, keep: Sequence[LayerSpec] = ()) -> fx.GraphModule:
        """Return a network that stops after the deepest wanted node and gives one (n, columns) tensor a spec.

        Each activation is pooled, into memory of its own, directly after its node ran: a later in-place operation
        cannot overwrite it, and nothing is held longer than the pass needs it. Batch norm is folded into the
        convolution before it unless one of the wanted nodes, or of `keep`, stands between them.

        Parameters
        ----------
        specs : sequence of LayerSpec
            Wanted, in the order of the result.
        nodes : Nodes
            From `describe`.
        keep : sequence of LayerSpec
            Further nodes to leave unfolded, so that a resumed pass computes as its first start did.
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
