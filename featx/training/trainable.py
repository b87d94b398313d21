"""The network that a training changes: its new head, what of it learns, and what stays as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from featx.core.rng import isolated_rng
from featx.core.specs import LayerSpec
from featx.errors import OptionError
from featx.graph.hooked import read_network
from featx.graph.readable import Readable
from featx.graph.shapes import Nodes
from featx.models.backbones import Backbone
from featx.models.flat import flat_network
from featx.models.head_spec import HeadSpec
from featx.models.heads import attach, make_head
from featx.models.own_head import is_logits
from featx.models.parts import AUXILIARY
from featx.training.config import TrainConfig

FIXED_PX = (224, 256, 384, 448, 518)
"""Sizes that transformers are made for, one each."""

LARGEST_PX = 1024
"""Up to here the least image size that a network takes is looked for."""


@dataclass
class TrainableModel:
    """A network ready to be trained; exactly what learns has gradients.

    Parameters
    ----------
    network, head : nn.Module
        The whole, and its new classifier.
    place : str
        Dotted name of the head in the network.
    layer : str
        The node whose values, flattened, the head is given; empty where it cannot be told.
    eval_modules : list of nn.Module
        What stays in eval mode: batch-norm statistics must not drift, nor dropout blur it.
    alone : bool
        Whether the head alone makes the logits of `layer`. SqueezeNet pools after its classifier, others scale.
    """

    network: nn.Module
    head: nn.Module
    place: str
    layer: str
    eval_modules: list[nn.Module]
    alone: bool

    @property
    def can_learn_on_features(self) -> bool:
        """Whether the values of `layer`, which can be stored, are all that the logits need beside the head."""
        return self.alone and LayerSpec.can_name(self.layer)

    def strip(self) -> nn.Module:
        """Return the network in eval mode, without what evaluation never runs.

        The head takes the place of the `Standardized` that it was folded out of, and auxiliary heads go.
        """
        self.network.set_submodule(self.place, self.head)
        _without_auxiliary(self.network)
        return self.network.eval()


def trainable_of(
    backbone: Backbone, config: TrainConfig, n_classes: int, shape: tuple[int, int, int]
) -> TrainableModel:
    """Build the network and the new head in it.

    Parameters
    ----------
    shape : tuple of int
        (C, H, W) of a prepared image.

    Raises
    ------
    OptionError
        An image size that the network cannot take (says the least), a head that does not fit it, or a block to
        unfreeze from that it does not have; a user's own network whose logits the new head does not make.
    """
    convolution = backbone.code is None and backbone.name.startswith("squeezenet")
    with isolated_rng(config.seed):
        trainable = assemble(
            backbone.module(), backbone.head, backbone.head_width, config, n_classes, shape, convolution=convolution
        )
    if backbone.code is not None and not HeadSpec.parse(config.head).flat:
        # Of several outputs, the head's may be another than the one that is scored.
        trainable.alone &= is_logits(trainable.network, trainable.place, n_classes, shape)
    return trainable


def assemble(
    network: nn.Module,
    place: str,
    width: int,
    config: TrainConfig,
    n_classes: int,
    shape: tuple[int, int, int],
    *,
    convolution: bool = False,
) -> TrainableModel:
    """Give a network a new head, and say what of it learns.

    Parameters
    ----------
    network : nn.Module
        In eval mode; is changed.
    place, width : str, int
        Dotted name of its classifier, and how many values that takes.
    convolution : bool
        Whether its classifier is a 1 x 1 convolution.
    """
    spec = HeadSpec.parse(config.head)
    if config.mode != "scratch" or spec.flat:
        _without_auxiliary(network)
    network.requires_grad_(True)
    traced = read_network(network)
    if spec.flat:
        model = _on_base(traced, network, place, config, n_classes, shape)
    else:
        _described(traced, shape)
        _check_auxiliary(network, traced, shape)
        head = make_head(spec, width, n_classes, convolution=convolution)
        model = _in_place(traced, network, place, config, head, convolution=convolution)
        _new_auxiliary(network, n_classes)
    model.head.requires_grad_(True)
    model.eval_modules += [m for m in model.network.modules() if _is_still(m)]
    return model


def _on_base(
    traced: Readable,
    network: nn.Module,
    place: str,
    config: TrainConfig,
    n_classes: int,
    shape: tuple[int, int, int],
) -> TrainableModel:
    """Put a head on the flattened values of the convolutional base."""
    nodes = _described(traced, shape, whole=False)
    layer = traced.base(place, nodes)
    head = make_head(HeadSpec.parse(config.head), _size(nodes, layer), n_classes)
    frozen = _freeze(traced, network, place, config)
    return TrainableModel(flat_network(traced, network, layer, head), head, "head", layer, frozen, alone=True)


def _in_place(
    traced: Readable, network: nn.Module, place: str, config: TrainConfig, head: nn.Module, *, convolution: bool
) -> TrainableModel:
    """Put a head in the classifier's place."""
    layer, alone = _fed_by(traced, place), not convolution and traced.ends_with(place)
    frozen = _freeze(traced, network, place, config)
    return TrainableModel(attach(network, place, head), head, place, layer, frozen, alone=alone)


def _freeze(traced: Readable, network: nn.Module, place: str, config: TrainConfig) -> list[nn.Module]:
    """Let what comes before the trained part keep its weights, and return its modules."""
    names = _frozen_names(traced, network, place, config)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not any(f"{name}.".startswith(f"{owner}.") for owner in names))
    return [module for name, module in network.named_modules() if name in names]


def _frozen_names(traced: Readable, network: nn.Module, place: str, config: TrainConfig) -> set[str]:
    """Return the modules and parameters that do not learn."""
    if config.mode == "frozen":
        own = {name for name, _ in network.named_parameters() if not f"{name}.".startswith(f"{place}.")}
        return own | traced.ran_before(place)
    return set() if config.unfreeze_from is None else traced.ran_before(config.unfreeze_from)


def _is_still(module: nn.Module) -> bool:
    parameters = list(module.parameters())
    return bool(parameters) and not any(p.requires_grad for p in parameters)


def _fed_by(traced: Readable, place: str) -> str:
    try:
        return traced.before(place)
    except OptionError:
        return ""


def _size(nodes: Nodes, layer: str) -> int:
    size = 1
    for n in nodes[layer].shape:
        size *= n
    return size


def _described(traced: Readable, shape: tuple[int, int, int], *, whole: bool = True) -> Nodes:
    """Return the nodes at an image size; where the network cannot take it, say the least that it can."""
    try:
        return traced.describe(shape, whole=whole)
    except OptionError as exc:

        def fits(px: int) -> bool:
            return _runs(traced, (shape[0], px, px))

        least = _least_size(shape, fits)
        if least is not None:
            raise OptionError(exc.message, _give(least)) from exc
        only = next(filter(fits, FIXED_PX), None)
        if only is None:
            raise
        raise OptionError(exc.message, f"it takes {only} px: give --size {only}") from exc


def _check_auxiliary(network: nn.Module, traced: Readable, shape: tuple[int, int, int]) -> None:
    """Raise OptionError where the auxiliary heads, which evaluation never runs, want larger images."""
    if not _auxiliary(network) or _trains(network, shape):
        return

    def fits(px: int) -> bool:
        return _runs(traced, (shape[0], px, px)) and _trains(network, (shape[0], px, px))

    least = _least_size(shape, fits)
    raise OptionError(
        f"the auxiliary heads of {type(network).__name__} do not take images of {shape[1]} x {shape[2]} px",
        "give a larger --size" if least is None else _give(least),
    )


def _give(least: int) -> str:
    return f"it takes {least} px or more: give --size {least}"


def _runs(traced: Readable, shape: tuple[int, int, int]) -> bool:
    try:
        traced.describe(shape)
    except OptionError:
        return False
    return True


def _trains(network: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Tell whether a training pass takes images of a size; nothing is computed, only shapes."""
    try:
        copy.deepcopy(network).to("meta").train()(torch.empty((2, *shape), device="meta"))
    except RuntimeError:
        return False
    return True


def _least_size(shape: tuple[int, int, int], fits: Callable[[int], bool]) -> int | None:
    """Return the smallest square that fits, px, where larger ones do; None where that is not what is wrong."""
    low = high = max(1, min(shape[1:]))
    while not fits(high):
        low, high = high, 2 * high
        if high > LARGEST_PX:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def _auxiliary(network: nn.Module) -> list[str]:
    return [name for name, _ in network.named_children() if name in AUXILIARY]


def _without_auxiliary(network: Any) -> None:
    # They would stay as they are, of other classes, and be counted as if they learnt.
    for name in _auxiliary(network):
        setattr(network, name, None)
        network.aux_logits = False


def _new_auxiliary(network: nn.Module, n_classes: int) -> None:
    """Give the auxiliary heads, where there are some, as many outputs as there are classes."""
    for name in _auxiliary(network):
        inner = [path for path, m in network.get_submodule(name).named_modules() if isinstance(m, nn.Linear)]
        path = f"{name}.{inner[-1]}"
        old: Any = network.get_submodule(path)
        network.set_submodule(path, nn.Linear(old.in_features, n_classes))
