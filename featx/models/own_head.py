"""The classifier of a user's own network: which layer makes its logits, found by a run. Loads torch."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from featx.core.rng import isolated_rng
from featx.errors import FeatxError, OptionError, first_few
from featx.graph.hooks import hooked
from featx.graph.outputs import logits_by_name, logits_of, tensors_in
from featx.graph.shapes import noise, reason
from featx.models.channels import likely_channels

SIZES = (64, 224, 32, 28, 8, 16, 48, 96, 128, 256, 288, 299, 384, 448, 512, 518)
"""Sizes of the images that a network is tried with, px, until it takes one: many are made for a single size."""

HINT = "let the network end in an nn.Linear whose output is the logits, and return those alone or as `logits`"

Values = dict[str, list[torch.Tensor]]
"""By module path."""


@dataclass
class Look:
    """One run of a network.

    Parameters
    ----------
    outputs : object
        What it returned.
    given : dict
        What each candidate gave, each time that it ran.
    roots : dict
        Where autograd's graph was cut: behind each candidate that ran, at the parameters of the others, whose weights
        may have been used without them.
    """

    outputs: Any = None
    given: Values = field(default_factory=dict)
    roots: Values = field(default_factory=dict)

    def makers(self, values: Iterable[torch.Tensor]) -> set[str]:
        """Return the candidates that values are made of, directly: not by way of another candidate."""
        paths = {id(root): path for path, roots in self.roots.items() for root in roots}
        found, seen, stack = set(), set(), [x.grad_fn for x in values]
        while stack:
            step: Any = stack.pop()
            if step is None or step in seen:
                continue
            seen.add(step)
            found.add(paths.get(id(getattr(step, "variable", None)), ""))
            stack += [before for before, _ in step.next_functions]
        return found - {""}

    def gave(self, path: str, x: torch.Tensor) -> bool:
        """Tell whether a value is what a candidate gave, flattened or not."""
        return any(y.numel() == x.numel() and torch.equal(y.flatten(), x.flatten()) for y in self.given.get(path, []))


def find_own_head(module: nn.Module) -> str:
    """Return the dotted name of the linear layer that makes a network's logits; empty where there is none.

    Its output is the logits, as `featx.graph.outputs.logits_of` picks them, or else it is the last layer of their
    width that they are made of, when a network scales or squashes what its classifier gives. A network that takes
    images of none of `SIZES` is taken to end in its last linear layer: training asks again, with its own images.
    """
    candidates: dict[str, nn.Module] = {
        path: child for path, child in module.named_modules() if path and _may_be_head(child)
    }
    linear: list[str] = [path for path, child in candidates.items() if isinstance(child, nn.Linear)]
    if not linear:  # features can be had without a classifier; a convolution may be one, and may not
        return ""
    if (seen := _first_run(module, candidates)) is None:
        return linear[-1]
    found = _chosen(seen, candidates)
    return found if found in linear else ""


def _may_be_head(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1))


def _first_run(module: nn.Module, candidates: Iterable[str]) -> Look | None:
    for px in SIZES:
        for channels in dict.fromkeys((likely_channels(module), 3, 1)):
            # Any code may run here: a size that does not fit shows in any way.
            with contextlib.suppress(Exception):
                return _look(module, noise((channels, px, px), torch.device("cpu")), candidates)
    return None


def _chosen(seen: Look, candidates: dict[str, nn.Module]) -> str:
    """Return the candidate that makes the logits; empty where none does."""
    groups = _possible_logits(seen.outputs)
    feeding = set() if _is_told(groups) else seen.makers(x for values in seen.given.values() for x in values)
    for left_out in (feeding, set()):  # what another candidate goes on from is hardly the last
        for group in groups:
            exact = [path for path in candidates if any(seen.gave(path, x) for x in group)]
            makers = seen.makers(group)
            widths = {x.shape[-1] for x in group}
            near = [path for path, child in candidates.items() if path in makers and _width(child) in widths]
            for paths in (exact, near):
                if last := [path for path in paths if path not in left_out]:
                    return last[-1]
    return ""


def _possible_logits(outputs: Any) -> list[list[torch.Tensor]]:
    """Return what may be the logits of a network with any number of classes, the likeliest first."""
    named = {name: x for name, x in tensors_in(outputs) if x.is_floating_point() and x.ndim}
    if isinstance(outputs, tuple):
        return [[x] for x in named.values()]
    name = logits_by_name(list(named))
    return [[named[name]]] if name else [list(named.values())]


def _is_told(groups: list[list[torch.Tensor]]) -> bool:
    return [len(group) for group in groups] == [1]


def _width(module: nn.Module) -> int:
    """Return how many values a candidate gives."""
    return int(module.out_features if isinstance(module, nn.Linear) else module.out_channels)  # type: ignore[arg-type]


def is_logits(network: nn.Module, place: str, n_classes: int, shape: tuple[int, int, int]) -> bool:
    """Tell whether what a new head gives is the logits, unchanged.

    Parameters
    ----------
    network : nn.Module
        With the head in its place.
    place : str
        Dotted name of the head.
    shape : tuple of int
        (C, H, W) of an image that it takes.

    Raises
    ------
    OptionError
        The logits are not made of what it gives, or the network cannot run with it.
    """
    try:
        seen = _look(network, noise(shape, torch.device("cpu")), [place])
        logits = logits_of(seen.outputs, n_classes)[0]
    except FeatxError:
        raise
    except Exception as exc:
        raise OptionError(
            f"{type(network).__name__} cannot run with {n_classes} classes in place of its {place}: {reason(exc)}", HINT
        ) from exc
    if seen.gave(place, logits):
        return True
    if place in seen.makers([logits]):
        return False
    raise OptionError(f"the logits of {type(network).__name__} are not made by {_listed(network, place)}", HINT)


def no_head(name: str, module: nn.Module) -> OptionError:
    """Return the error of a network without a layer that makes its logits."""
    named = [path for path, child in module.named_modules() if isinstance(child, nn.Linear)]
    why = f"none of its layers {first_few(named, 5)} makes the logits" if named else "it has no nn.Linear"
    return OptionError(f"backbone {name} has no classifier to train: {why}", HINT)


def _listed(network: nn.Module, place: str) -> str:
    others = [path for path, m in network.named_modules() if isinstance(m, nn.Linear) and not path.startswith(place)]
    return f"its {place}" + (f" (it also has {first_few(others, 5)})" if others else "")


def _look(module: nn.Module, images: torch.Tensor, candidates: Iterable[str]) -> Look:
    """Run a network in eval mode; nothing of it is changed, and no one else's random numbers are drawn."""
    seen, paths = Look(), set(candidates)

    def after(path: str, child: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if not isinstance(output, torch.Tensor) or not output.is_floating_point():
            return None
        seen.given.setdefault(path, []).append(output)
        if output.is_inference():
            return None
        root = output.detach().clone().requires_grad_()
        seen.roots.setdefault(path, []).append(root)
        return root.clone()  # no leaf: the network may write into it

    with (
        contextlib.redirect_stdout(sys.stderr),  # what a user's code prints is no result
        isolated_rng(0),
        _as_it_was(module),
        torch.enable_grad(),
        hooked(module, None, after, paths),
    ):
        for path in paths:
            for parameter in module.get_submodule(path).parameters():
                parameter.requires_grad_(True)
        seen.outputs = module.eval()(images)
        for path in paths - {*seen.given}:
            seen.roots[path] = list(module.get_submodule(path).parameters())
    return seen


@contextlib.contextmanager
def _as_it_was(module: nn.Module) -> Iterator[None]:
    """Give a network its modes, flags and buffers back; within the block no parameter wants a gradient."""
    modes = [(child, child.training) for child in module.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in module.parameters()]
    buffers = [
        (child, name, buffer, buffer.clone())
        for child in module.modules()
        for name, buffer in child._buffers.items()
        if buffer is not None
    ]
    try:
        for parameter, _ in flags:
            parameter.requires_grad_(False)
        yield
    finally:
        for child, mode in modes:
            child.training = mode
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for child, name, buffer, values in buffers:
            child._buffers[name] = buffer
            with torch.no_grad():
                buffer.copy_(values)
