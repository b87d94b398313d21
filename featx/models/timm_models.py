"""timm's networks, ``timm:NAME`` or ``timm:NAME.TAG``: built, with the preprocessing and the weights of their tag."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from featx.core.backbone_names import TIMM
from featx.core.rng import isolated_rng
from featx.core.specs import INTERPOLATIONS, PreprocessSpec, Resize
from featx.errors import OptionError, WeightsError, suggest
from featx.graph.hooked import read_network
from featx.models.assembly import draw, facts_with, read_tensors
from featx.models.facts import Inspection, stamps_of
from featx.models.family import Asked, Blueprint
from featx.models.hub import fetch_from_hub
from featx.models.state_dict import READABLE, StateDict, fetch_url
from featx.models.timm_names import check_architecture, check_published
from featx.models.weights import PUBLISHED, existing, is_seed

_FITS: dict[str, Resize] = {"center": "crop", "squash": "squash", "border": "pad"}
"""timm's names of how an image becomes square."""

if TYPE_CHECKING:
    from timm.models import PretrainedCfg


def inspect(asked: Asked) -> Inspection:
    """Build a network once; as `featx.models.family.Family.inspect`. The name gets its tag."""
    name, weights = full_name(asked.name), asked.weights
    preset, said = preset_of(name)
    file = locate(name, asked)
    stamps = stamps_of([file])
    plan = Blueprint(name, size_options(name, asked.size))
    module = draw(weights, lambda: build(name, plan.options))
    state = None if file is None else tensors(module, plan, weights, file)
    facts = facts_with(state, module, name, weights, plan.options, find_head(module))
    read = read_network(module.eval()).note
    notes = (*(f"{name}: {note}" for note in said), *([read] if read else []), *facts.notes)
    return Inspection(replace(facts, preprocess=preset, file=file, notes=notes), stamps)


def locate(name: str, asked: Asked) -> str | None:
    """Return the file of a network's weights, downloaded where they are published; None for those that a seed draws.

    Parameters
    ----------
    name : str
        From `full_name`.
    asked : Asked
        Which weights.

    Raises
    ------
    OptionError, WeightsError
        For weights that cannot be had.
    """
    if is_seed(asked.weights):
        return None
    if asked.is_file:
        return existing(asked.weights)
    check_published(name, asked.weights)
    return str(fetch(name))


def tensors(module: nn.Module, plan: Blueprint, weights: str, file: str) -> StateDict:
    """Read a file's tensors, as `featx.models.family.Family.tensors`."""
    state = read_tensors(module, file)
    if weights == PUBLISHED:
        return fitted(plan.name, state, module.state_dict(), plan.options)
    return resampled(state, module) if plan.options else state


def names() -> list[str]:
    """Return every network's name, without tags."""
    import timm  # an extra, and heavy

    return [TIMM + name for name in timm.list_models()]


def full_name(name: str) -> str:
    """Return a network's name with its tag: ``timm:resnet18`` is ``timm:resnet18.a1_in1k``.

    Raises
    ------
    OptionError
        For a network or a tag that timm does not have, with the nearest names.
    """
    import timm

    architecture, _, tag = name.removeprefix(TIMM).partition(".")
    known = timm.list_models()
    check_architecture(architecture, known)
    configured: PretrainedCfg | None = timm.models.get_pretrained_cfg(architecture)
    if not tag:
        return TIMM + architecture + (f".{configured.tag}" if configured and configured.tag else "")
    tags = [full.partition(".")[2] for full in timm.models.get_arch_pretrained_cfgs(architecture)]
    if tag not in tags:
        raise OptionError(
            f"timm's {architecture} has no weights {tag[:80]!r}, expected {', '.join(filter(None, tags)) or 'no tag'}",
            suggest(tag, tags),
        )
    return name


def size_options(name: str, size: int | None) -> dict[str, Any]:
    """Return what a network that is made for one image size is to be told to be made for another one, in px.

    Parameters
    ----------
    name : str
        From `full_name`.
    size : int, optional
        Wanted; None leaves the network as it is.
    """
    configured = _configured(name)
    if size is None or not configured.fixed_input_size or size == configured.input_size[-1]:
        return {}
    return {"img_size": size}


def build(name: str, options: Mapping[str, Any] = MappingProxyType({})) -> nn.Module:
    """Build a network with freshly drawn weights.

    Parameters
    ----------
    name : str
        From `full_name`.
    options : dict
        timm's own keywords, from `size_options`.

    Raises
    ------
    OptionError
        The network cannot be made with them.
    """
    import timm

    try:
        network: nn.Module = timm.create_model(name.removeprefix(TIMM), pretrained=False, **options)
    # Each network has its own way to refuse a size.
    except Exception as exc:
        if not options:
            raise
        said = " ".join(str(exc).split())[:160] or type(exc).__name__
        raise OptionError(
            f"{name} cannot be made for {options.get('img_size')} px: {said}",
            f"give another --size, or none for its own {_configured(name).input_size[-1]} px",
        ) from exc
    return network


def resampled(state: StateDict, module: nn.Module) -> StateDict:
    """Return a file's weights for the size that a network was made for, as timm resamples them; else as they are."""
    own = module.state_dict()
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    if convert is None or all(state[key].shape == own[key].shape for key in state if key in own):
        return state
    return dict(convert(dict(state), module))


def tensor_names(name: str) -> set[str]:
    """Return the names of a network's weights, without drawing any."""
    with torch.device("meta"):
        return set(build(name).state_dict())


def preset_of(name: str) -> tuple[PreprocessSpec, list[str]]:
    """Return the preprocessing of a network's data configuration, and what of it featx does otherwise.

    Parameters
    ----------
    name : str
        From `full_name`.

    Raises
    ------
    OptionError
        For an input that is not square or has no three channels, and for an unknown interpolation.
    """
    import timm

    config = timm.data.resolve_data_config(pretrained_cfg=_configured(name).to_dict())
    channels, height, width = config["input_size"]
    if channels != 3 or height != width:
        raise OptionError(
            f"{name} takes {channels} x {height} x {width} (channels x height x width), and featx gives 3 x N x N",
            "take another network",
        )
    if config["interpolation"] not in INTERPOLATIONS:
        raise OptionError(
            f"{name} resizes by {config['interpolation']}, expected {' or '.join(INTERPOLATIONS)}",
            "take another network",
        )
    mode, resize = config["crop_mode"], math.floor(height / config["crop_pct"])
    spec = PreprocessSpec(
        resize=resize if mode == "center" else height,
        crop=height,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        interpolation=config["interpolation"],
        fit=_FITS[mode],
    )
    return spec, _deviations(mode, resize, height)


def _deviations(mode: str, resize: int, crop: int) -> list[str]:
    """Say what a PreprocessSpec cannot express."""
    said = []
    if mode != "center" and resize != crop:
        said.append(f"timm resizes to {resize} px and cuts {crop} px out, featx resizes to {crop} px")
    if mode == "border":
        said.append("timm fills the border with the mean colour, featx with black")
    return said


def fetch(name: str) -> Path:
    """Return the file of a network's published weights, downloaded where it is absent.

    Raises
    ------
    OptionError
        Where timm knows of none, or of none in a format that can be read.
    WeightsError
        Where they cannot be had.
    """
    configured = _configured(name)
    if configured.hf_hub_id:
        return fetch_from_hub(configured.hf_hub_id, configured.hf_hub_filename)
    url = configured.url
    if not url:
        raise OptionError(f"{name} has no published weights", "use --weights random:0 or a file")
    if not isinstance(url, str) or not url.partition("?")[0].endswith(READABLE):
        raise OptionError(
            f"the weights of {name} are published as {url}, expected a file that ends in {', '.join(READABLE)}",
            "use --weights random:0 or a file",
        )
    return fetch_url(url)


def fitted(name: str, state: StateDict, own: Mapping[str, torch.Tensor], options: Mapping[str, Any]) -> StateDict:
    """Return published weights under the network's own names: timm converts those of other code bases.

    Parameters
    ----------
    name : str
        From `full_name`.
    state : dict of Tensor
        As published.
    own : mapping of str to Tensor
        The network's.
    options : mapping
        What it was built with.

    Raises
    ------
    WeightsError
        Where timm cannot fit them either.
    """
    import timm

    if set(state) == set(own) and all(state[key].shape == own[key].shape for key in own):
        return state
    try:
        with isolated_rng():
            # With the tensors given, timm reads no file: it renames, and loads strictly.
            overlay = {"state_dict": dict(state)}
            built = timm.create_model(
                name.removeprefix(TIMM), pretrained=True, pretrained_cfg_overlay=overlay, **options
            )
    except Exception as exc:  # each network's converter fails in its own way
        raise WeightsError(
            f"the published weights of {name} do not fit it: {' '.join(str(exc).split())[:160]}",
            "install the timm that they were made for, or use --weights random:0",
        ) from exc
    found: StateDict = built.state_dict()
    return found


def find_head(module: nn.Module) -> str:
    """Return the dotted name of the classifier that timm tells of; empty where there is no single linear one."""
    named = classifiers(module)
    if len(named) != 1:  # a distilled network gives the mean of two
        return ""
    return named[0] if isinstance(module.get_submodule(named[0]), nn.Linear) else ""


def classifiers(module: nn.Module) -> list[str]:
    """Return the dotted names of a timm network's classifiers; empty for any other network."""
    named = (getattr(module, "pretrained_cfg", None) or {}).get("classifier") or ()
    named = [named] if isinstance(named, str) else list(named)
    modules = dict(module.named_modules())
    return [name for name in named if name in modules]


def _configured(name: str) -> PretrainedCfg:
    import timm

    found: PretrainedCfg = timm.models.get_pretrained_cfg(name.removeprefix(TIMM)) or timm.models.PretrainedCfg()
    return found
