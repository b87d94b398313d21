"""Networks built and looked at: which weights fit, what the key and the user need to know. Loads torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from torch import nn

from featx.core.backbone_names import DRAWN, is_factory, is_timm
from featx.core.file_stamps import file_stamp
from featx.core.rng import isolated_rng
from featx.core.specs import ExtractConfig, PreprocessSpec
from featx.errors import OptionError, WeightsError, either, first_few
from featx.graph.fold_batch_norm import batch_bound
from featx.graph.hooked import read_network
from featx.graph.readable import Readable
from featx.graph.shapes import Nodes
from featx.models import factories, timm_models, torchvision_models
from featx.models.channels import input_channels
from featx.models.factories import Factory
from featx.models.own_head import find_own_head
from featx.models.source_hash import code_of
from featx.models.state_dict import StateDict, fetch, load_into, match_published, published, read_state, state_hash

OWN_PX = 224
"""Size of the images that a user's own network takes where none is given."""

PUBLISHED = ExtractConfig.weights
"""The name of the weights that come with a network."""


def inspect_named(name: str, weights: str, stem: str | None, is_file: bool, channels: int) -> dict[str, Any]:
    """Build a network that featx knows once, and return what is to be remembered of it, JSON-able.

    Parameters
    ----------
    name, weights, stem : str
        As `featx.models.backbones.resolve`.
    is_file : bool
        Whether the weights are meant to be a file.
    channels : int
        Of the source.

    Raises
    ------
    OptionError, WeightsError
        For names and weights that cannot be had.
    """
    torchvision_models.check_name(name)
    enum, file, notes = _locate(name, weights, stem, is_file)
    stamps = stamps_of([file] if file else [])
    state = None if file is None else read_state(Path(file), lambda: torchvision_models.tensor_names(name))
    options = torchvision_models.builder_options(
        name,
        loaded=state is not None,
        published=enum is not None,
        auxiliary=state is None or any(key.startswith(torchvision_models.AUXILIARY) for key in state),
    )
    if name == "lenet5":
        first = None if state is None else state.get("conv1.weight")
        options = {"channels": channels if first is None or first.ndim != 4 else int(first.shape[1])}
    preset = torchvision_models.preset_of(name, enum, options.get("channels", 3))
    if name.startswith("vit_"):
        px = torchvision_models.vit_size(state or {}) or preset.crop
        options = {"image_size": px}
        preset = preset if px == preset.crop else replace(preset, resize=px, crop=px)
    if stem is not None:
        options, preset = (
            {"stem": stem},
            replace(preset, resize=torchvision_models.STEM_PX, crop=torchvision_models.STEM_PX),
        )
    module = init_random(name, weights, options)
    found = _load_facts(module, find_head(name, module), state, weights)
    return found | {
        "name": name,
        "preset": asdict(preset),
        "options": options,
        "notes": notes + found["notes"],
        "file": file,
        "files": stamps,
    }


def inspect_timm(name: str, weights: str, is_file: bool, size: int | None) -> dict[str, Any]:
    """Build a network of timm's once, and return as `inspect_named` does; the name gets its tag.

    Networks that are made for one image size are made for `size`, px, where that is given.

    Raises
    ------
    OptionError, WeightsError
        For names and weights that cannot be had.
    """
    name = timm_models.full_name(name)
    preset, notes = timm_models.preset_of(name)
    file = _timm_weights(name, weights, is_file)
    stamps = stamps_of([file] if file else [])
    options = timm_models.size_options(name, size)
    module = init_random(name, weights, options)
    state = None if file is None else _state(name, weights, file, module, options)
    found = _load_facts(module, find_head(name, module), state, weights)
    read = read_network(module.eval()).note
    return found | {
        "name": name,
        "preset": asdict(preset),
        "options": options,
        "notes": [f"{name}: {note}" for note in notes] + [read] * bool(read) + found["notes"],
        "file": file,
        "files": stamps,
    }


def inspect_own(own: Factory, weights: str, is_file: bool) -> dict[str, Any]:
    """Run a user's own factory once, and return as `inspect_named` does; its code is hashed beside the weights.

    Raises
    ------
    OptionError, WeightsError
        As `featx.models.factories.make`; for weights that cannot be had.
    """
    file = _own_weights(own, weights, is_file)
    sources = factories.sources(own)
    stamps = stamps_of([*([file] if file else []), *map(str, sources.values())])
    code = code_of(sources)
    module = init_random(own.label, weights, {}, own, code)
    state = None if file is None else read_state(Path(file), lambda: set(module.state_dict()))
    found = _load_facts(module, find_head(own.label, module), state, weights)
    channels, notes = _looked_into(own.label, module)
    return found | {
        "name": own.label,
        "preset": asdict(torchvision_models.plain_preset(OWN_PX, channels)),
        "options": {},
        "notes": [*notes, *found["notes"]],
        "file": file,
        "files": stamps,
        "code": code,
        "origin": f"{own.target}:{own.function}",
    }


def inspect_recorded(name: str, file: str, options: dict[str, Any], origin: str) -> dict[str, Any]:
    """Build a network with the options of a run's record and the tensors of a file; return as `inspect_named` does.

    Parameters
    ----------
    name : str
        As it was recorded.
    file : str
        Absolute; what becomes of its tensors depends on the record alone, not on how the file is called.
    options : dict
        The builder's keywords.
    origin : str
        Where a user's own code is; empty for others.

    Raises
    ------
    OptionError, WeightsError
        The file is made for another network, or the code cannot be had.
    """
    own = factories.parse(origin) if origin else None
    sources = factories.sources(own) if own else {}
    stamps, code = stamps_of([file, *map(str, sources.values())]), code_of(sources) if own else None
    module = init_random(name, file, options, own, code)
    weights = PUBLISHED if is_timm(name) and not _fits(name, file, module, options) else file
    found = _load_facts(module, find_head(name, module), _state(name, weights, file, module, options), weights)
    about = {
        "name": name,
        "options": options,
        "preset": asdict(PreprocessSpec(None, None)),
        "file": file,
        "files": stamps,
    }
    return found | about | {"weights": weights, "code": code, "origin": origin}


def _fits(name: str, file: str, module: nn.Module, options: dict[str, Any]) -> bool:
    """Tell whether a file has the network's own names, its classifier aside, and not those that were published."""
    head = find_head(name, module)
    names = {key for key in module.state_dict() if not key.startswith(f"{head}.")}
    return names <= set(_state(name, file, file, module, options))


def _looked_into(label: str, module: nn.Module) -> tuple[int, list[str]]:
    """Return how many channels a user's own network takes, and what is to be said of how it is read."""
    try:
        network = read_network(module.eval())
    except OptionError:  # said where features are wanted
        return 3, []
    channels = input_channels(module, network, OWN_PX)
    said = {
        1: [f"{label} takes 1 channel: images are made grey, as Pillow's mode L is"],
        3: [],
    }.get(channels, [f"{label} takes {channels} channels, of which no statistics are known: values stay 0 to 1"])
    return channels, [*([network.note] if network.note else []), *said]


def find_head(name: str, module: nn.Module) -> str:
    """Return the dotted name of a network's classifier; empty where there is none that could be told."""
    if is_timm(name):
        return timm_models.find_head(module)
    if not is_factory(name):
        return torchvision_models.find_head(module)
    return find_own_head(module)


def stamps_of(files: Sequence[str]) -> list[list[Any]]:
    """Return each file with its stamp, as the memo keeps them: to be taken before the file is read."""
    return [[file, file_stamp(file)] for file in files]


def _load_facts(module: nn.Module, head: str, state: StateDict | None, weights: str) -> dict[str, Any]:
    """Load the weights and tell what a network is."""
    width = torchvision_models.head_width(module.get_submodule(head)) if head else 0
    left_out = () if state is None else load_into(module, state, head, weights)
    return {
        "sha256": state_hash(module),
        "head": head,
        "head_width": width,
        "left_out": left_out,
        "notes": [
            *(f"{weights}: its classifier {part} has another shape and was left out" for part in left_out),
            *batch_notes(module),
        ],
        "code": None,
        "origin": "",
    }


def batch_notes(module: nn.Module) -> list[str]:
    """Return what is to be said of a network whose features depend on which images are in a batch."""
    bound = batch_bound(module)
    said = "features of an image depend on the others of its batch: BatchNorm without running statistics, at "
    return [said + first_few(bound)] if bound else []


def build(
    name: str, weights: str, options: dict[str, Any], head: str, file: str | None, own: Factory | None, code: str | None
) -> nn.Module:
    """Build a network that was looked at before, with its weights.

    Raises
    ------
    OptionError, WeightsError
        Where a file is no longer what it was.
    """
    module = init_random(name, weights, options, own, code)
    if file is not None:
        load_into(module, _state(name, weights, file, module, options), head, weights)
    return module


def default_layer(module: nn.Module, head: str, network: Readable, nodes: Nodes) -> str | None:
    """Return the layer that most users want, what the classifier sees; None where there is none, or not at that size.

    Parameters
    ----------
    module : nn.Module
        The network.
    head : str
        `Backbone.head`.
    network, nodes : Readable, Nodes
        The module's.
    """
    named = [head] if head else timm_models.classifiers(module)
    try:
        return str(network.default(named[0], nodes)) if named else None
    except OptionError:
        return None


def _state(name: str, weights: str, file: str, module: nn.Module, options: dict[str, Any]) -> StateDict:
    """Read a file's tensors; timm's published ones as timm itself would load them, others resampled to its size."""
    state = read_state(Path(file), lambda: set(module.state_dict()))
    if is_timm(name) and weights == PUBLISHED:
        return timm_models.fitted(name, state, module.state_dict(), options)
    return timm_models.resampled(state, module) if is_timm(name) and options else state


def init_random(
    name: str, weights: str, options: dict[str, Any], own: Factory | None = None, code: str | None = None
) -> nn.Module:
    """Build a network with weights drawn from its seed; those of a file come later."""
    with isolated_rng(int(weights.removeprefix(DRAWN)) if weights.startswith(DRAWN) else 0):
        if own is not None:
            return factories.make(own, code or "")
        return timm_models.build(name, options) if is_timm(name) else torchvision_models.build(name, options)


def _locate(name: str, weights: str, stem: str | None, is_file: bool) -> tuple[Any, str | None, list[str]]:
    """Return torchvision's enum, if the weights are published, their file, if they have one, and what to tell."""
    if _is_seed(weights):
        return None, None, []
    if is_file:
        file = existing(weights)
        # A copy under another name is to be used as the published weights are: these expect another scaling.
        if name in torchvision_models.RESCALING and (known := match_published(name, Path(file))) is not None:
            return known, file, [f"{weights} is {known}: its own preprocessing is used"]
        return None, file, []
    if name == "lenet5":
        raise OptionError(
            f"lenet5 has no published weights {weights[:80]!r}, expected random:SEED or a file",
            "use --weights random:0",
        )
    enum = published(name, weights)
    if stem is not None:
        raise OptionError(
            f"{name}'s published weights {weights} have a 7 x 7 conv1, and --stem {stem} has a 3 x 3 one",
            "use --weights random:0, a file of a network with that stem, or "
            + either("`featx train --mode scratch`", "EndToEndClassifier(mode='scratch')"),
        )
    return enum, str(fetch(enum)), []


def _timm_weights(name: str, weights: str, is_file: bool) -> str | None:
    if _is_seed(weights):
        return None
    if is_file:
        return existing(weights)
    if weights != PUBLISHED:
        raise OptionError(
            f"{name} has no weights {weights[:80]!r}, expected {PUBLISHED}, random:SEED or a file",
            "timm's tags belong to the name: -b timm:resnet18.a1_in1k",
        )
    return str(timm_models.fetch(name))


def _own_weights(own: Factory, weights: str, is_file: bool) -> str | None:
    if weights == PUBLISHED or _is_seed(weights):
        return None
    if not is_file:
        raise OptionError(
            f"{own.label} has no published weights {weights[:80]!r}, expected {PUBLISHED}, random:SEED or a file",
            f"{PUBLISHED} takes the network as the factory returns it",
        )
    return existing(weights)


def _is_seed(weights: str) -> bool:
    if weights.partition(":")[0] != "random":
        return False
    if not re.fullmatch(r"random:\d{1,18}", weights):
        raise OptionError(f"weights {weights[:80]!r}, expected random:SEED", "for example random:0")
    return True


def existing(weights: str) -> str:
    """Return a weights file's absolute path; WeightsError where it is not there."""
    path = Path(weights).expanduser()
    if not path.is_file():
        raise WeightsError(f"there is no weights file {weights}", "check the path, or use random:0")
    return str(path.absolute())
