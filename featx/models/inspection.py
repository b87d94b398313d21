"""Networks inspected: built once to learn which weights fit, what a key and a user need to know. Loads torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from featx.core.backbone_names import is_timm
from featx.core.specs import PreprocessSpec
from featx.errors import OptionError
from featx.graph.hooked import read_network
from featx.models import factories, timm_models, torchvision_models
from featx.models.builders import batch_notes, find_head, init_random, state_for
from featx.models.channels import input_channels
from featx.models.factories import Factory
from featx.models.facts import AS_IT_IS, Inspection, NetworkFacts, stamps_of
from featx.models.source_hash import code_of
from featx.models.state_dict import StateDict, load_into, read_state, state_hash
from featx.models.weights import PUBLISHED, locate_named, locate_own, locate_timm

OWN_PX = 224
"""Size of the images that a user's own network takes where none is given."""


def inspect_named(name: str, weights: str, stem: str | None, is_file: bool, channels: int) -> Inspection:
    """Build a network that featx knows once, and return what is to be remembered of it.

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
    found = locate_named(name, weights, stem, is_file)
    stamps = stamps_of([found.file])
    state = None if found.file is None else read_state(Path(found.file), lambda: torchvision_models.tensor_names(name))
    options, preset = _made_for(name, found.enum, state, stem, channels)
    module = init_random(name, weights, options)
    facts = _loaded(module, name, weights, state, options)
    notes = (*found.notes, *facts.notes)
    return Inspection(replace(facts, preprocess=preset, file=found.file, notes=notes), stamps)


def _made_for(
    name: str, enum: Any, state: StateDict | None, stem: str | None, channels: int
) -> tuple[dict[str, Any], PreprocessSpec]:
    """Return the builder's keywords for weights, and the preprocessing that these expect."""
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
        return {"image_size": px}, preset if px == preset.crop else replace(preset, resize=px, crop=px)
    if stem is not None:
        return {"stem": stem}, replace(preset, resize=torchvision_models.STEM_PX, crop=torchvision_models.STEM_PX)
    return options, preset


def inspect_timm(name: str, weights: str, is_file: bool, size: int | None) -> Inspection:
    """Build a network of timm's once, and return as `inspect_named` does; the name gets its tag.

    Networks that are made for one image size are made for `size`, px, where that is given.

    Raises
    ------
    OptionError, WeightsError
        For names and weights that cannot be had.
    """
    name = timm_models.full_name(name)
    preset, said = timm_models.preset_of(name)
    file = locate_timm(name, weights, is_file)
    stamps = stamps_of([file])
    options = timm_models.size_options(name, size)
    module = init_random(name, weights, options)
    state = None if file is None else state_for(module, name, weights, file, options)
    facts = _loaded(module, name, weights, state, options)
    read = read_network(module.eval()).note
    notes = (*(f"{name}: {note}" for note in said), *([read] if read else []), *facts.notes)
    return Inspection(replace(facts, preprocess=preset, file=file, notes=notes), stamps)


def inspect_own(own: Factory, weights: str, is_file: bool) -> Inspection:
    """Run a user's own factory once, and return as `inspect_named` does; its code is hashed beside the weights.

    Raises
    ------
    OptionError, WeightsError
        As `featx.models.factories.make`; for weights that cannot be had.
    """
    file = locate_own(own, weights, is_file)
    sources = factories.sources(own)
    stamps, code = stamps_of([file, *sources.values()]), code_of(sources)
    module = init_random(own.label, weights, {}, own, code)
    state = None if file is None else read_state(Path(file), lambda: set(module.state_dict()))
    facts = _loaded(module, own.label, weights, state, {})
    channels, said = _looked_into(own.label, module)
    preset = torchvision_models.plain_preset(OWN_PX, channels)
    notes = (*said, *facts.notes)
    return Inspection(replace(facts, preprocess=preset, file=file, notes=notes, code=code, origin=own.origin), stamps)


def inspect_recorded(name: str, file: str, options: dict[str, Any], origin: str) -> Inspection:
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
    stamps, code = stamps_of([file, *sources.values()]), code_of(sources) if own else None
    module = init_random(name, file, options, own, code)
    weights = PUBLISHED if is_timm(name) and not _has_own_names(module, name, file, options) else file
    facts = _loaded(module, name, weights, state_for(module, name, weights, file, options), options)
    return Inspection(replace(facts, file=file, code=code, origin=origin), stamps)


def _has_own_names(module: nn.Module, name: str, file: str, options: dict[str, Any]) -> bool:
    """Tell whether a file has the network's own names, its classifier aside, and not those that were published."""
    head = find_head(name, module)
    names = {key for key in module.state_dict() if not key.startswith(f"{head}.")}
    return names <= set(state_for(module, name, file, file, options))


def _loaded(
    module: nn.Module, name: str, weights: str, state: StateDict | None, options: dict[str, Any]
) -> NetworkFacts:
    """Load the weights and return what can be told of any network; who knows its images says so."""
    head = find_head(name, module)
    width = torchvision_models.head_width(module.get_submodule(head)) if head else 0
    left_out = () if state is None else load_into(module, state, head, weights)
    notes = [f"{weights}: its classifier {part} has another shape and was left out" for part in left_out]
    return NetworkFacts(
        name=name,
        weights=weights,
        weights_sha256=state_hash(module),
        preprocess=AS_IT_IS,
        options=options,
        head=head,
        head_width=width,
        left_out=left_out,
        notes=(*notes, *batch_notes(module)),
    )


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
