"""A cut network rewritten for the CPU: batch norms, sums and activations within the convolutions before them."""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from torch import fx, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from featx.graph.fold_batch_norm import batch_bound
from featx.graph.packed_conv import Activation, PackedConv2d, is_same

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}

_ACTIVATIONS: dict[Any, Activation] = {
    nn.ReLU: Activation("relu"),
    functional.relu: Activation("relu"),
    torch.relu: Activation("relu"),
    nn.ReLU6: Activation("hardtanh", (0.0, 6.0)),
    nn.Hardswish: Activation("hardswish"),
    nn.SiLU: Activation("swish"),
}
"""What follows a convolution, and what oneDNN calls it."""

_AFTER_A_SUM = ("relu",)
_SUMS = (operator.add, operator.iadd, torch.add)


class Fusion:
    """The rewriting of one graph.

    Parameters
    ----------
    module : fx.GraphModule
        Changed in place; the weights that it shares with others are not.
    kept : set of fx.Node
        Nodes whose own output is wanted, now or by another process of the same extraction.
    precision : str
        ``fp32`` or ``bf16``.
    """

    def __init__(self, module: fx.GraphModule, kept: set[fx.Node], precision: str) -> None:
        self.module, self.graph, self.kept = module, module.graph, set(kept)
        self.dtype = DTYPES[precision]
        self.uses: dict[str, int] = {}
        for node in self.graph.nodes:
            if node.op == "call_module":
                self.uses[str(node.target)] = self.uses.get(str(node.target), 0) + 1

    def run(self) -> None:
        """Rewrite the graph."""
        for rewrite in (self._drop_identity, self._fold, self._pack, self._add, self._activate):
            for node in list(self.graph.nodes):
                rewrite(node)

    def _called(self, node: Any) -> nn.Module | None:
        is_call = isinstance(node, fx.Node) and node.op == "call_module"
        return self.module.get_submodule(str(node.target)) if is_call else None

    def _is_free(self, node: Any) -> bool:
        """Tell whether nothing but the node after it sees what a node gives."""
        return isinstance(node, fx.Node) and len(node.users) == 1 and node not in self.kept

    def _replace(self, node: fx.Node, by: fx.Node) -> None:
        if node in self.kept:
            self.kept.add(by)
        node.replace_all_uses_with(by)
        self.graph.erase_node(node)

    def _drop_identity(self, node: fx.Node) -> None:
        if type(self._called(node)) in (nn.Identity, nn.Dropout):
            self._replace(node, node.args[0])  # type: ignore[arg-type]

    def _fold(self, node: fx.Node) -> None:
        """Fold timm's batch norm with an activation into the convolution before it, and leave the activation."""
        norm, before = self._called(node), node.args[0] if node.args else None
        conv: Any = self._called(before)
        if norm is None or not _has_activation(norm) or batch_bound(norm) or not _is_convolution(conv):
            return
        assert isinstance(before, fx.Node)
        if not self._is_free(before) or max(self.uses[str(n.target)] for n in (node, before)) > 1:
            return
        pair: Any = [copy.deepcopy(m).double().eval() for m in (conv, norm)]
        self.module.set_submodule(str(before.target), fuse_conv_bn_eval(pair[0], pair[1]).float())
        activation: Any = norm.act
        if type(activation) is nn.Identity:
            self._replace(node, before)
        else:
            self.module.set_submodule(str(node.target), activation)

    def _pack(self, node: fx.Node) -> None:
        conv = self._called(node)
        if _is_convolution(conv):
            assert isinstance(conv, nn.Conv2d)
            if self.uses[str(node.target)] > 1:  # each call may be followed by another activation
                node.target = self._own_name(node)
            self.module.set_submodule(str(node.target), PackedConv2d(conv, self.dtype))

    def _own_name(self, node: fx.Node) -> str:
        name = f"_packed_{node.name}"
        self.uses[name] = 1
        self.module.add_submodule(name, nn.Identity())
        return name

    def _add(self, node: fx.Node) -> None:
        """Let a convolution add what is added to it; it must run right before, as nothing may be written between."""
        if node.op != "call_function" or node.target not in _SUMS or len(node.args) != 2 or node.kwargs:
            return
        conv, (first, second) = node.prev, node.args
        if not isinstance(self._called(conv), PackedConv2d) or len(conv.args) != 1 or not self._is_free(conv):
            return
        other = second if first is conv else first if node.target is not operator.iadd else None
        if isinstance(other, fx.Node) and other is not conv:
            conv.args = (conv.args[0], other)
            self._replace(node, conv)

    def _activation(self, node: fx.Node) -> Activation | None:
        if node.op == "call_function":
            return _ACTIVATIONS.get(node.target)
        return _ACTIVATIONS.get(type(self._called(node)))

    def _activate(self, node: fx.Node) -> None:
        activation, before = self._activation(node), node.args[0] if node.args else None
        packed = self._called(before)
        if activation is None or not isinstance(packed, PackedConv2d) or not self._is_free(before):
            return
        assert isinstance(before, fx.Node)
        if packed.activation.name == "none" and (len(before.args) == 1 or activation.name in _AFTER_A_SUM):
            packed.activation = activation
            self._replace(node, before)


def fuse(module: fx.GraphModule, kept: set[fx.Node], precision: str) -> None:
    """Rewrite a cut network for the CPU.

    Each rewriting leaves out a rounding, or adds in another order: values stay within a few roundings. What a wanted
    node gives is never changed to what a later one would.

    Parameters
    ----------
    module : fx.GraphModule
        In eval mode; changed in place, the weights that it shares with others are not.
    kept : set of fx.Node
        Nodes that are wanted.
    precision : str
        ``fp32`` or ``bf16``; see `featx.graph.packed_conv.can_pack`.
    """
    Fusion(module, kept, precision).run()


def _is_convolution(module: nn.Module | None) -> bool:
    if not isinstance(module, nn.Conv2d) or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return False
    return type(module) is nn.Conv2d or is_same(module)


def _has_activation(module: nn.Module) -> bool:
    """Tell whether a module is timm's batch norm with an activation, and nothing else in it."""
    is_timm = type(module).__name__ == "BatchNormAct2d" and type(module).__module__.startswith("timm.")
    return is_timm and type(module.drop) is nn.Identity
