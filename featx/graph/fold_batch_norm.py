"""Batch norm folded into the convolution before it: one pass over the activation less."""

from __future__ import annotations

import copy

from torch import fx, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval


def batch_bound(module: nn.Module) -> list[str]:
    """Return the batch norms of a network, by path, that take the statistics of the batch in eval mode too.

    They keep no running ones. Instance norms without them look at one image at a time, and are none.
    """
    return [
        path or type(child).__name__
        for path, child in module.named_modules()
        if isinstance(child, _BatchNorm) and (child.running_mean is None or child.running_var is None)
    ]


def fold_batch_norm(module: fx.GraphModule, kept: set[fx.Node]) -> None:
    """Fold each BatchNorm2d into the Conv2d before it; folded in float64, so that only one rounding is added.

    One without running statistics is another map for each batch, and stays.

    Parameters
    ----------
    module : fx.GraphModule
        Changed in place; the weights that it shares with others are not.
    kept : set of fx.Node
        Convolutions whose own output is wanted.
    """
    modules = dict(module.named_modules())
    calls = [node for node in module.graph.nodes if node.op == "call_module"]
    uses: dict[str, int] = {}
    for node in calls:
        uses[str(node.target)] = uses.get(str(node.target), 0) + 1
    for norm in calls:
        conv = norm.args[0]
        if (
            not isinstance(conv, fx.Node)
            or conv.op != "call_module"
            or type(modules[str(norm.target)]) is not nn.BatchNorm2d
            or batch_bound(modules[str(norm.target)])
            or type(modules[str(conv.target)]) is not nn.Conv2d
            or len(conv.users) > 1
            or conv in kept
            or uses[str(conv.target)] > 1
            or uses[str(norm.target)] > 1
        ):
            continue
        pair = [copy.deepcopy(modules[str(n.target)]).double().eval() for n in (conv, norm)]
        module.set_submodule(str(conv.target), fuse_conv_bn_eval(pair[0], pair[1]).float())
        norm.replace_all_uses_with(conv)
        module.graph.erase_node(norm)
