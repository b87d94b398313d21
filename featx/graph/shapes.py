"""What each node of a graph gives for one image size, found on PyTorch's meta device: nothing is computed."""

from __future__ import annotations

import contextlib
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch.utils.flop_counter import FlopCounterMode

Shapes = dict[str, tuple[int, ...]]


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
        See `featx.graph.pooling.LAYOUTS`.
    macs : int
        Multiply-adds of a forward pass that stops here.
    class_token : bool
        Whether the first of the tokens is one.
    grows : bool
        Whether a larger image gives more values.
    """

    name: str
    shape: tuple[int, ...]
    layout: str
    macs: int
    class_token: bool = False
    grows: bool = False


class Nodes(dict[str, NodeInfo]):
    """What the nodes give, by name, in the order in which they run.

    Attributes
    ----------
    unfit : str
        Why the nodes of `unreached` cannot be had at this size; empty where all ran.
    unreached : frozenset of str
        Names of the nodes after the one that cannot take images of this size.
    effects : frozenset of str
        Graph nodes that write into a value that a later node reads, whether or not their own result is used.
    """

    def __init__(self) -> None:
        super().__init__()
        self.unfit = ""
        self.unreached: frozenset[str] = frozenset()
        self.effects: frozenset[str] = frozenset()


@dataclass
class Measured:
    """What a graph's nodes give, by the graph's own names.

    Parameters
    ----------
    shapes, layouts : dict
        Of nodes that give a tensor with one row an image; without the batch.
    cost : dict
        Multiply-adds of the node alone.
    grown : set of str
        Nodes that give more values for a larger image.
    reached : set of str
        Nodes that ran.
    effects : frozenset of str
        See `Nodes`.
    failure : Exception or None
        What the first node raised that could not take its input.
    """

    shapes: Shapes
    layouts: dict[str, str]
    cost: dict[str, int]
    grown: set[str]
    reached: set[str]
    effects: frozenset[str]
    failure: Exception | None


def measure(graph_module: fx.GraphModule, shape: tuple[int, int, int]) -> Measured:
    """Run a graph on images without values; on noise, where an operation asks for values.

    Parameters
    ----------
    graph_module : fx.GraphModule
        It is not changed.
    shape : tuple of int
        Channels, height, width.
    """
    module, device = _without_values(graph_module), torch.device("meta")
    run, failure = _run(_Measure(module), noise(shape, device))
    if failure is not None and _asks_for_values(failure):
        module, device = graph_module, device_of(graph_module)
        run, failure = _run(_Measure(module), noise(shape, device))
    channels, height, width = shape
    larger = _run(_Grown(module), noise((channels, height + 64, width + 64), device))[0].shapes
    square = height == width
    spaces = {name: space_of(found, larger.get(name), square) for name, found in run.shapes.items()}
    layouts = {name: layout for name, (layout, _) in spaces.items()}
    grown = {name for name, (_, grows) in spaces.items() if grows}
    return Measured(run.shapes, layouts, run.cost, grown, set(run.cost), run.effects(), failure)


def noise(shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """Return two images, the same each time: of two, the batch shows."""
    if device.type == "meta":
        return torch.empty(2, *shape, device=device)
    return torch.randn((2, *shape), generator=torch.Generator().manual_seed(0)).to(device)


def device_of(module: torch.nn.Module) -> torch.device:
    """Return where a network's weights lie."""
    tensors = (*module.parameters(), *module.buffers())
    return tensors[0].device if tensors else torch.device("cpu")


def _asks_for_values(failure: Exception) -> bool:
    return isinstance(failure, NotImplementedError) or "meta tensor" in str(failure) or "meta device" in str(failure)


def reason(failure: Exception) -> str:
    """Return in one line what an operation said, without the node, the traceback and the tracer's placeholders."""
    said = re.sub(r" but got Proxy\(\w+\)", "", str(failure).partition("While executing")[0])
    return " ".join(said.split())[:160] or type(failure).__name__


def _without_values(graph_module: fx.GraphModule) -> fx.GraphModule:
    """Return a copy on the meta device; weights are not copied on the way."""
    memo: dict[int, Any] = {id(p): torch.nn.Parameter(p.to("meta"), False) for p in graph_module.parameters()}
    memo |= {id(b): b.to("meta") for b in graph_module.buffers()}
    return copy.deepcopy(graph_module, memo).to("meta")


class _Measure(fx.Interpreter):
    """Runs the graph, noting each node's shape and multiply-adds; batch of two, so that the batch shows."""

    def __init__(self, module: fx.GraphModule) -> None:
        # All values are kept, so that no storage is taken for another's.
        super().__init__(module, garbage_collect_values=False)
        self.counter = FlopCounterMode(display=False)
        self.shapes: Shapes = {}
        self.cost: dict[str, int] = {}
        self._writes: list[_Write] = []
        self._order = {node: at for at, node in enumerate(module.graph.nodes)}

    def run_node(self, n: fx.Node) -> Any:
        inputs = self._inputs(n)
        versions = [x._version for x in inputs.values()]
        before = self.counter.get_total_flops()
        value = super().run_node(n)
        self.cost[n.name] = (self.counter.get_total_flops() - before) // 4  # 2 operations a multiply-add, 2 images
        if isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1 and len(value) == 2:
            self.shapes[n.name] = tuple(value.shape[1:])
        self._note_reads(inputs)
        self._note_writes(n, [x for x, old in zip(inputs.values(), versions, strict=True) if x._version != old])
        return value

    def _note_reads(self, inputs: dict[fx.Node, torch.Tensor]) -> None:
        """Mark the writes that a node sees although it takes a value from before them: that value was changed."""
        for write in self._writes:
            write.read |= any(
                storage_of(x) == write.storage and self._order[node] < write.at for node, x in inputs.items()
            )

    def _note_writes(self, n: fx.Node, changed: list[torch.Tensor]) -> None:
        """Note that a node changed these of its inputs, in each piece of memory once."""
        self._writes += [_Write(n.name, storage, self._order[n]) for storage in set(map(storage_of, changed))]

    def effects(self) -> frozenset[str]:
        """Return the nodes whose writes are read past their own result: through a value that was there before."""
        return frozenset(write.node for write in self._writes if write.read)

    def _inputs(self, n: fx.Node) -> dict[fx.Node, torch.Tensor]:
        """Return the tensors that a node takes, by the node that gave them."""
        found = ((node, self.env.get(node)) for node in n.all_input_nodes)
        return {node: value for node, value in found if isinstance(value, torch.Tensor)}


@dataclass
class _Write:
    """A node that changed a tensor which it was given."""

    node: str
    storage: int
    at: int
    read: bool = field(default=False)


class _Grown(_Measure):
    """Goes on over checks of the image's size, as far as the network can."""

    def run_node(self, n: fx.Node) -> Any:
        return None if n.target is torch._assert else super().run_node(n)


def _run(run: _Measure, images: torch.Tensor) -> tuple[_Measure, Exception | None]:
    with torch.no_grad(), run.counter, plain_attention():
        try:
            run.run(images)
        # A size that does not fit shows in any way: the network's own code runs here.
        except Exception as exc:
            return run, exc
    return run, None


def storage_of(x: torch.Tensor) -> int:
    """Return a number of the memory that a tensor lies in, which others may share."""
    return int(x.untyped_storage()._cdata)


@contextlib.contextmanager
def plain_attention() -> Iterator[None]:
    """Leave the fused attention kernel out within the block."""
    # The fused attention kernel exists on no meta device and counts no operations.
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def space_of(shape: tuple[int, ...], larger: tuple[int, ...] | None, square: bool) -> tuple[str, bool]:
    """Return the layout of a value of a shape, and whether a larger image gives more values.

    Parameters
    ----------
    larger : tuple of int, optional
        Its shape for a larger image; None where the network takes none.
    square : bool
        Whether the images are.
    """
    return _layout(shape, larger, square), larger is not None and larger != shape


def _layout(shape: tuple[int, ...], larger: tuple[int, ...] | None, square: bool) -> str:
    """Tell which dimensions are channels: those that stay when the image grows."""
    grows = () if larger is None else tuple(i for i, n in enumerate(shape) if larger[i : i + 1] != (n,))
    if len(shape) == 1:
        return "NC"
    if len(shape) == 2:
        return "NCL" if grows == (1,) else "NLC"
    if len(shape) != 3:
        return "?"
    if larger is None:  # a network of one size: the two sides of a square image stay alike
        return _by_sides(shape) if square else "?"
    return {(): "NCHW", (1, 2): "NCHW", (0, 1): "NHWC"}.get(grows, "?")


def _by_sides(shape: tuple[int, ...]) -> str:
    """Tell space by its two equal sides, where the third dimension is another."""
    a, b, c = shape
    return {(True, False): "NHWC", (False, True): "NCHW"}.get((a == b, b == c), "?")
