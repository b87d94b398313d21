"""torchvision's classifiers: built, with the preprocessing and the weights that were published, or those of a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from featx.core.specs import PreprocessSpec
from featx.errors import OptionError, either
from featx.models.assembly import draw, facts_with
from featx.models.facts import Inspection, stamps_of
from featx.models.family import Asked
from featx.models.parts import AUXILIARY, find_head
from featx.models.state_dict import StateDict, fetch, match_published, published, read_state
from featx.models.weights import existing, is_seed

RESCALING = ("googlenet", "inception_v3")
"""Networks whose published weights expect the older TensorFlow scaling of the input."""


@dataclass(frozen=True)
class Located:
    """Weights that torchvision's networks can have.

    Parameters
    ----------
    enum : WeightsEnum or None
        torchvision's own description, where they are published.
    file : str or None
        Where they lie; None for those that a seed draws.
    notes : tuple of str
        What the user should be told.
    """

    enum: Any = None
    file: str | None = None
    notes: tuple[str, ...] = ()


def inspect(asked: Asked) -> Inspection:
    """Build a network once; as `featx.models.family.Family.inspect`."""
    name, weights = asked.name, asked.weights
    found = locate(asked)
    stamps = stamps_of([found.file])
    state = None if found.file is None else read_state(Path(found.file), lambda: tensor_names(name))
    options, preset = _made_for(name, found.enum, state, asked.stem)
    module = draw(weights, lambda: build(name, options))
    facts = facts_with(state, module, name, weights, options, find_head(module))
    notes = (*found.notes, *facts.notes)
    return Inspection(replace(facts, preprocess=preset, file=found.file, notes=notes), stamps)


def locate(asked: Asked) -> Located:
    """Find the weights of a network; published ones are downloaded.

    Raises
    ------
    OptionError, WeightsError
        For weights that cannot be had.
    """
    name, weights, stem = asked.name, asked.weights, asked.stem
    if is_seed(weights):
        return Located()
    if asked.is_file:
        return _local_file(name, weights)
    enum = published(name, weights)
    if stem is not None:
        raise OptionError(
            f"{name}'s published weights {weights} have a 7 x 7 conv1, and --stem {stem} has a 3 x 3 one",
            "use --weights random:0, a file of a network with that stem, or "
            + either("`featx train --mode scratch`", "EndToEndClassifier(mode='scratch')"),
        )
    return Located(enum, str(fetch(enum)))


def _local_file(name: str, weights: str) -> Located:
    file = existing(weights)
    # A copy under another name is to be used as the published weights are: these expect another scaling.
    if name in RESCALING and (known := match_published(name, Path(file))) is not None:
        return Located(known, file, (f"{weights} is {known}: its own preprocessing is used",))
    return Located(None, file)


def _made_for(name: str, enum: Any, state: StateDict | None, stem: str | None) -> tuple[dict[str, Any], PreprocessSpec]:
    """Return the builder's keywords for weights, and the preprocessing that these expect."""
    options = builder_options(
        name,
        loaded=state is not None,
        published=enum is not None,
        auxiliary=state is None or any(key.startswith(AUXILIARY) for key in state),
    )
    preset = preset_of(name, enum)
    if name.startswith("vit_"):
        px = vit_size(state or {}) or preset.crop
        return {"image_size": px}, preset if px == preset.crop else replace(preset, resize=px, crop=px)
    if stem is not None:
        return {"stem": stem}, replace(preset, resize=STEM_PX, crop=STEM_PX)
    return options, preset


def names() -> list[str]:
    """Return every classifier's name."""
    return sorted(torchvision.models.list_models(module=torchvision.models))


def build(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Build a network with freshly drawn weights.

    Parameters
    ----------
    name : str
        One of `names`.
    options : mapping
        The builder's own keywords, for example ``num_classes``; and ``stem``, see `cifar_stem`.
    """
    keywords = {key: value for key, value in options.items() if key != "stem"}
    found: nn.Module = torchvision.models.get_model(name, weights=None, **keywords)
    return cifar_stem(found) if "stem" in options else found


STEM_PX = 32
"""The size that a network with `cifar_stem` takes where none is given."""


def cifar_stem(network: nn.Module) -> nn.Module:
    """Give a ResNet the first layers that suit images of 32 px, and return it, changed.

    A 3 x 3 convolution with stride 1 in place of the 7 x 7 one with stride 2, and no max pooling: He et al., "Deep
    residual learning for image recognition", 2016, section 4.2 (the convolution), and Chen et al., "A simple
    framework for contrastive learning of visual representations", 2020, appendix B.9 (for networks of ImageNet's
    widths). ``maxpool`` stays a node, which changes nothing.
    """
    old: Any = network.conv1
    conv1 = nn.Conv2d(old.in_channels, old.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision draws the others
    network.conv1, network.maxpool = conv1, nn.Identity()
    return network


def builder_options(name: str, *, loaded: bool, published: bool, auxiliary: bool) -> dict[str, Any]:
    """Return what GoogLeNet and Inception need to be told; other networks need nothing.

    Parameters
    ----------
    loaded : bool
        Weights will be loaded, so that drawing them carefully would only cost time.
    published : bool
        They are torchvision's own, which expect the older TensorFlow scaling of the input.
    auxiliary : bool
        The weights hold the auxiliary heads.
    """
    if name not in RESCALING:
        return {}
    return {"init_weights": not loaded, "transform_input": published, "aux_logits": auxiliary}


def tensor_names(name: str) -> set[str]:
    """Return the names of a network's weights, auxiliary heads aside, without drawing any."""
    options = builder_options(name, loaded=True, published=False, auxiliary=False)
    with torch.device("meta"):
        return set(build(name, options).state_dict())


def vit_size(state: Mapping[str, torch.Tensor]) -> int | None:
    """Return the only image size, in px, that a vision transformer's weights take; None for other weights."""
    positions, patches = state.get("encoder.pos_embedding"), state.get("conv_proj.weight")
    if positions is None or patches is None or positions.ndim != 3 or patches.ndim != 4:
        return None
    return math.isqrt(max(0, positions.shape[1] - 1)) * patches.shape[-1] or None


def preset_of(name: str, weights: Any = None) -> PreprocessSpec:
    """Return the preprocessing that published weights were trained with.

    Parameters
    ----------
    weights : torchvision weights enum, optional
        Without it, the network's default size, with ImageNet's mean and standard deviation.
    """
    known = weights or next(iter(torchvision.models.get_model_weights(name)), None)
    if known is None:
        return PreprocessSpec(resize=256, crop=224)
    if weights is None and hasattr(torchvision.models.get_model_weights(name), "DEFAULT"):
        known = torchvision.models.get_model_weights(name)["DEFAULT"]
    preset = known.transforms()
    spec = PreprocessSpec(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=preset.interpolation.value,
    )
    if weights is None:
        return spec
    return PreprocessSpec(
        resize=spec.resize,
        crop=spec.crop,
        interpolation=spec.interpolation,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
