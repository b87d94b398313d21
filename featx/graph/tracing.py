"""A network's evaluation graph with its names: torchvision's tracer with fewer leaves, timm's own leaves for timm."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from featx.errors import OptionError
from featx.graph.placing import follow_input


class UntraceableError(OptionError):
    """A network whose graph torch.fx cannot find: its forward asks for values that tracing has not."""


def trace(module: nn.Module) -> tuple[fx.GraphModule, dict[str, fx.Node]]:
    """Return a network's graph, and its nodes by name, in the order in which they run.

    Parameters
    ----------
    module : nn.Module
        In eval mode; the graph shares its weights.

    Raises
    ------
    UntraceableError
        For a network that torch.fx cannot trace.
    """
    from torchvision.models.feature_extraction import NodePathTracer  # takes seconds to load

    tracer = NodePathTracer(**tracer_options(module))
    graph_module = fx.GraphModule(module, _graph(tracer, module)).eval()
    names = {node.name: name for node, name in tracer.node_to_qualname.items()}
    inner = [n for n in graph_module.graph.nodes if n.op not in ("placeholder", "get_attr", "output")]
    follow_input(graph_module.graph)
    graph_module.recompile()
    return graph_module, {names[node.name]: node for node in inner}


def tracer_options(module: nn.Module) -> dict[str, Any]:
    """Return what torchvision's tracer is to be told of a network."""
    import torchvision  # takes seconds to load

    leaves, functions = _timm_leaves(module)
    return {
        "autowrap_modules": (math, torchvision.ops),
        "autowrap_functions": functions,
        "leaf_modules": [*_leaves(), *leaves],
    }


def with_containers(names: list[str]) -> list[tuple[str, str]]:
    """Pair each node, and each module path whose last node it is, with the node: ``layer1`` -> ``layer1.1.relu_1``."""
    last: dict[str, str] = {}
    for name in names:
        parts = name.split(".")
        for level in range(1, len(parts)):
            last[".".join(parts[:level])] = name
    ending: dict[str, list[str]] = {}
    nodes = set(names)
    for path, name in last.items():
        if path not in nodes:
            ending.setdefault(name, []).append(path)
    return [(n, name) for name in names for n in (name, *sorted(ending.get(name, []), key=len, reverse=True))]


def sources(graph: fx.Graph) -> dict[fx.Node, set[fx.Node]]:
    """Return, for each node, itself and all nodes that it depends on."""
    found: dict[fx.Node, set[fx.Node]] = {}
    for node in graph.nodes:
        found[node] = {node}.union(*(found[n] for n in node.all_input_nodes))
    return found


def _graph(tracer: fx.Tracer, module: nn.Module) -> fx.Graph:
    try:
        with contextlib.redirect_stdout(sys.stderr):  # what a user's code prints is no result
            return tracer.trace(module)
    # The network's own code runs on stand-ins for values, and may fail in any way.
    except Exception as exc:
        said = " ".join(str(exc).split())[:160]
        raise UntraceableError(
            f"network {type(module).__name__} cannot be traced by torch.fx: {said or type(exc).__name__}",
            "its forward must not branch or loop on the values or the shape of its input",
        ) from exc


def _leaves() -> list[type[nn.Module]]:
    """Return the blocks not to look into: torchvision's operators, but not what they compose (conv, norm, ReLU)."""
    import torchvision  # takes seconds to load

    found = [c for c in vars(torchvision.ops).values() if isinstance(c, type) and issubclass(c, nn.Module)]
    return [c for c in found if not issubclass(c, (nn.Sequential, torchvision.ops.SqueezeExcitation))]


def _timm_leaves(module: nn.Module) -> tuple[list[type[nn.Module]], tuple[Callable[..., object], ...]]:
    """Return the modules and functions that timm itself keeps whole, for a network with modules of timm in it."""
    if not any(type(child).__module__.startswith("timm.") for child in module.modules()):
        return [], ()
    import timm  # heavy, and an extra

    return list(timm.models.get_notrace_modules()), tuple(timm.models.get_notrace_functions())
