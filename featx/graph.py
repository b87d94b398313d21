"""A network as a graph of named nodes: what each gives, and a copy cut off after the wanted ones."""

from __future__ import annotations

import contextlib
import copy
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from torch import fx, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.feature_extraction import NodePathTracer

from featx.errors import OptionError, nearest
from featx.folding import fold_batch_norm
from featx.pooling import columns, pool
from featx.specs import LayerSpec


@dataclass(frozen=True)
class NodeInfo:
    """What one node gives for one image.

    Parameters
    ----------
    name : str
        A module path or graph node name.
    shape : tuple of int
        Without the batch.
    layout : str
        See `featx.pooling.LAYOUTS`.
    macs : int
        Multiply-adds of a forward pass that stops here.
    class_token : bool
        Whether the first of the tokens is one.
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    macs: int
    class_token: bool = False


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
        tracer = NodePathTracer(autowrap_modules=(math, torchvision.ops), leaf_modules=_leaves())
        self.graph_module = fx.GraphModule(module, _trace(tracer, module)).eval()
        names = {node.name: name for node, name in tracer.node_to_qualname.items()}
        inner = [n for n in self.graph_module.graph.nodes if n.op not in ("placeholder", "get_attr", "output")]
        self._nodes: dict[str, fx.Node] = {names[node.name]: node for node in inner}
        self._sources = _sources(self.graph_module.graph)
        # What comes after a missing classifier is as meaningless as itself.
        missing = {node for name, node in self._nodes.items() if name in left_out}
        lost = {name for name, node in self._nodes.items() if missing & self._sources[node]}
        pairs = _with_containers(list(self._nodes))
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

    def before(self, name: str) -> str:
        """Return the node whose values a module takes, one row an image: the features that a classifier sees.

        Looks through flattening and dropout, which change no value in eval mode: for ResNets that is ``avgpool``,
        whose features are likely to be stored already.
        """
        wanted = next(n for n in self.graph_module.graph.nodes if n.op == "call_module" and n.target == name)
        fed = wanted.args[0]
        while isinstance(fed, fx.Node) and self._keeps_values(fed):
            fed = fed.args[0]
        return next(name for name, node in self._nodes.items() if node is fed)

    def _keeps_values(self, node: fx.Node) -> bool:
        if node.op == "call_module":
            return isinstance(self.graph_module.get_submodule(str(node.target)), (nn.Flatten, nn.Dropout, nn.Identity))
        return node.target is torch.flatten or (node.op == "call_method" and node.target == "flatten")

    def describe(self, input_shape: tuple[int, int, int]) -> dict[str, NodeInfo]:
        """Return what each node gives, found without computing anything (on PyTorch's meta device).

        Parameters
        ----------
        input_shape : tuple of int
            Channels, height, width.

        Raises
        ------
        OptionError
            Where the network cannot take images of that size.
        """
        channels, height, width = input_shape
        meta = copy.deepcopy(self.graph_module).to("meta")
        try:
            run = _measure(meta, input_shape)
        except (RuntimeError, AssertionError, ValueError, TypeError, IndexError) as exc:
            # The interpreter adds the node and a traceback to what the operation said, tracing its own placeholders.
            said = re.sub(r" but got Proxy\(\w+\)", "", str(exc).partition("While executing")[0])
            reason = " ".join(said.split())[:160]
            raise OptionError(
                f"the network cannot take {height} x {width} px: {reason}", "give another --size"
            ) from exc
        larger = _grown(meta, (channels, height + 64, width + 64))
        found = {}
        for name, graph_name in self._names:
            node = self._nodes[graph_name]
            if node.name in run.shapes:
                shape, sources = run.shapes[node.name], self._sources[node]
                layout = _layout(shape, larger.get(node.name))
                macs = sum(run.cost[n.name] for n in sources)
                found[name] = NodeInfo(name, shape, layout, macs, any(_is_class_token(n) for n in sources))
        return found

    def columns(self, spec: LayerSpec, nodes: dict[str, NodeInfo]) -> int:
        """Return a row's length; OptionError for a node that is no tensor or that the pooling does not fit."""
        self.node(spec.node)
        if spec.node not in nodes:
            raise OptionError(
                f"layer {spec.node!r} gives no tensor of one row an image", "take a layer inside or after it"
            )
        info = nodes[spec.node]
        return columns(spec, info.shape, info.layout, class_token=info.class_token)

    def cut(
        self, specs: Sequence[LayerSpec], nodes: dict[str, NodeInfo], keep: Sequence[LayerSpec] = ()
    ) -> fx.GraphModule:
        """Return a network that stops after the deepest wanted node and gives one (n, columns) tensor a spec.

        Each activation is pooled, into memory of its own, directly after its node ran: a later in-place operation
        cannot overwrite it, and nothing is held longer than the pass needs it. Batch norm is folded into the
        convolution before it unless one of the wanted nodes, or of `keep`, stands between them.

        Parameters
        ----------
        specs : sequence of LayerSpec
            Wanted, in the order of the result.
        nodes : dict
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
        short = fx.GraphModule(self.graph_module, graph)
        short.graph.eliminate_dead_code()
        fold_batch_norm(short, kept)
        short.graph.lint()
        short.recompile()
        short.delete_all_unused_submodules()
        return short.eval()


def _trace(tracer: fx.Tracer, module: nn.Module) -> fx.Graph:
    try:
        return tracer.trace(module)
    # The network's own code runs on stand-ins for values, and may fail in any way.
    except Exception as exc:
        said = " ".join(str(exc).split())[:160]
        raise OptionError(
            f"network {type(module).__name__} cannot be traced by torch.fx: {said or type(exc).__name__}",
            "its forward must not branch or loop on the values or the shape of its input",
        ) from exc


def _leaves() -> list[type[nn.Module]]:
    """Return the blocks not to look into: torchvision's operators, but not what they compose (conv, norm, ReLU)."""
    found = [c for c in vars(torchvision.ops).values() if isinstance(c, type) and issubclass(c, nn.Module)]
    return [c for c in found if not issubclass(c, (nn.Sequential, torchvision.ops.SqueezeExcitation))]


def _with_containers(names: list[str]) -> list[tuple[str, str]]:
    """Pair each node, and each module path whose last node it is, with the node: ``layer1`` -> ``layer1.1.relu_1``."""
    last: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        for level in range(1, len(parts)):
            last[".".join(parts[:level])] = name
    ending: dict[str, list[str]] = {}
    for path, name in last.items():
        if path not in names:
            ending.setdefault(name, []).append(path)
    return [(n, name) for name in names for n in (name, *sorted(ending.get(name, []), key=len, reverse=True))]


class _Measure(fx.Interpreter):
    """Runs the graph, noting each node's shape and multiply-adds; batch of two, so that the batch shows."""

    def __init__(self, module: fx.GraphModule, counter: FlopCounterMode) -> None:
        super().__init__(module)
        self.counter = counter
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.cost: dict[str, int] = {}

    def run_node(self, n: fx.Node) -> Any:
        before = self.counter.get_total_flops()
        value = super().run_node(n)
        self.cost[n.name] = (self.counter.get_total_flops() - before) // 4  # 2 operations a multiply-add, 2 images
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1 and len(value) == 2:
            self.shapes[n.name] = tuple(value.shape[1:])
        return value


def _measure(module: fx.GraphModule, shape: tuple[int, int, int]) -> _Measure:
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _plain_attention():
        run = _Measure(module, counter)
        run.run(torch.empty(2, *shape, device="meta"))
    return run


class _Grown(_Measure):
    """Goes on over checks of the image's size, as far as the network can."""

    def run_node(self, n: fx.Node) -> Any:
        return None if n.target is torch._assert else super().run_node(n)


def _grown(module: fx.GraphModule, shape: tuple[int, int, int]) -> dict[str, tuple[int, ...]]:
    """Return shapes for a larger image: dimensions that grow are space. Networks of one size (ViT) stop early."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter, _plain_attention():
        run = _Grown(module, counter)
        with contextlib.suppress(RuntimeError, AssertionError, ValueError):
            run.run(torch.empty(2, *shape, device="meta"))
    return run.shapes


def _sources(graph: fx.Graph) -> dict[fx.Node, set[fx.Node]]:
    """Return, for each node, itself and all nodes that it depends on."""
    found: dict[fx.Node, set[fx.Node]] = {}
    for node in graph.nodes:
        found[node] = {node}.union(*(found[n] for n in node.all_input_nodes))
    return found


def _is_class_token(node: fx.Node) -> bool:
    return node.op == "get_attr" and str(node.target).rsplit(".", 1)[-1] in ("class_token", "cls_token")


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    # The fused attention kernel exists on no meta device and counts no operations.
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def _layout(shape: tuple[int, ...], larger: tuple[int, ...] | None) -> str:
    """Tell which dimensions are channels: those that stay when the image grows."""
    grows = () if larger is None else tuple(i for i, n in enumerate(shape) if larger[i] != n)
    if len(shape) == 1:
        return "NC"
    if len(shape) == 2:
        return "NCL" if grows == (1,) else "NLC"
    if len(shape) == 3 and grows in ((), (1, 2)):
        return "NCHW"
    return "NHWC" if len(shape) == 3 and grows == (0, 1) else "?"
