"""The network of a training run, built anew with the head that it was trained with. Loads torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from featx.errors import CorruptStoreError, OptionError, WeightsError
from featx.graph.hooked import read_network
from featx.models import factories
from featx.models.assembly import batch_notes, draw
from featx.models.facts import Inspection, NetworkFacts, stamps_of
from featx.models.families import check_known, family_of
from featx.models.family import Blueprint
from featx.models.flat import flat_network
from featx.models.head_spec import HeadSpec
from featx.models.heads import attach, head_width, make_head
from featx.models.source_hash import code_of
from featx.models.state_dict import StateDict, load_into, read_state, state_hash
from featx.models.trained_run import TrainedRun

ANY_PX = 224
"""Size at which a convolutional base's end is looked for, where the run took images of any size."""


@dataclass(frozen=True)
class Rebuilt:
    """A trained network in eval mode, float32, on the CPU.

    Parameters
    ----------
    network : nn.Module
        Its modules named as the backbone's. With a flat head, what comes after the base has fresh weights.
    whole : nn.Module
        What gives the logits: the same, or the base with the flat head on it.
    place, width : str, int
        The classifier, and how many values go into it.
    left_out : tuple of str
        Modules that the run does not hold.
    """

    network: nn.Module
    whole: nn.Module
    place: str
    width: int
    left_out: tuple[str, ...]


def inspect_trained(held: TrainedRun, base: nn.Module | None = None) -> Inspection:
    """Build a run's network once, and return as `featx.models.inspection.inspect` does; `base` as for `rebuild`.

    Raises
    ------
    OptionError, WeightsError, CorruptStoreError
        As `rebuild`.
    """
    code = factories.sources(factories.parse(held.origin)) if held.code is not None else {}
    stamps = stamps_of([held.file, *code.values()])
    found = rebuild(held, base)
    notes = []
    if found.left_out:
        notes = [f"{held.run} has a head of its own, in place of {', '.join(found.left_out)[:200]} of {held.name}"]
    if not family_of(held.name).is_always_traced:
        notes += [note] if (note := read_network(found.network).note) else []
    notes += batch_notes(found.network)
    facts = NetworkFacts(
        name=held.name,
        weights=held.run,
        weights_sha256=state_hash(found.network),
        preprocess=held.preprocess,
        options=held.options,
        head=found.place,
        head_width=found.width,
        left_out=found.left_out,
        notes=tuple(notes),
        file=held.file,
        code=held.code,
        origin=held.origin,
    )
    return Inspection(facts, stamps)


def rebuild(held: TrainedRun, base: nn.Module | None = None) -> Rebuilt:
    """Build a run's network.

    Parameters
    ----------
    held : TrainedRun
        What its record says.
    base : nn.Module, optional
        What it was trained on, where the run keeps its head alone: gives all other tensors.

    Raises
    ------
    OptionError
        A user's own code is no longer what was trained.
    WeightsError
        The model is damaged, or made for another network.
    CorruptStoreError
        The record describes no network.
    """
    network = _untrained(held)
    place = family_of(held.name).find_head(network)
    if not place:
        raise CorruptStoreError(f"{held.run} holds {held.name}, which has no classifier", "train it again")
    width, spec = head_width(network.get_submodule(place)), HeadSpec.parse(held.head)
    state = read_state(Path(held.file), lambda: _names(network, place, spec, alone=base is not None))
    if spec.flat:
        whole: nn.Module = _flat(held, network, place, spec, state)
    else:
        convolution = held.code is None and held.name.startswith("squeezenet")
        whole = attach(network, place, make_head(spec, width, held.n_classes, convolution=convolution))
    if base is not None:
        state = _together(whole, state, base, "base." if spec.flat else "")
    try:
        load_into(whole, state, "", held.run)
    except WeightsError as exc:
        raise WeightsError(exc.message, "its model and its record do not belong together: train it again") from exc
    left_out = _missing(network, state) if spec.flat else ()
    if place in left_out:
        network.set_submodule(place, nn.Identity())
    return Rebuilt(network.eval(), whole.eval().requires_grad_(False), place, width, left_out)


def _names(network: nn.Module, place: str, spec: HeadSpec, *, alone: bool) -> set[str]:
    """Return the names that a run's tensors may have, of its head `alone` or of everything."""
    if spec.flat:
        return {f"base.{name}" for name in network.state_dict()}
    return {name for name in network.state_dict() if not alone or name.startswith(f"{place}.")}


def _together(whole: nn.Module, head: StateDict, base: nn.Module, prefix: str) -> StateDict:
    """Return a head's tensors and those of the base below it."""
    below = {f"{prefix}{name}": tensor for name, tensor in base.state_dict().items()}
    return head | {name: below[name] for name in whole.state_dict() if name not in head and name in below}


def _untrained(held: TrainedRun) -> nn.Module:
    if held.code is not None and code_of(factories.sources(factories.parse(held.origin))) != held.code:
        raise OptionError(
            f"the code of {held.name} changed since {held.run} was trained",
            f"to load its weights into the new code, give -b {held.origin} --weights {held.file}",
        )
    check_known(held.name)
    family, plan = family_of(held.name), Blueprint(held.name, held.options, held.origin, held.code)
    try:
        return draw("random:0", lambda: family.build(plan)).eval()
    except TypeError as exc:  # keywords that the builder does not know
        raise CorruptStoreError(f"the record of {held.run} is damaged: {exc}", "train it again") from exc


def _flat(held: TrainedRun, network: nn.Module, place: str, spec: HeadSpec, state: StateDict) -> nn.Module:
    px = held.preprocess.crop or ANY_PX
    traced = read_network(network)
    layer = traced.base(place, traced.describe((held.preprocess.channels, px, px), whole=False))
    first = state.get("head.0.weight" if spec.widths else "head.weight")
    if first is None or first.ndim != 2:
        raise WeightsError(f"the model of {held.run} has no head {held.head}", "train it again")
    return flat_network(traced, network, layer, make_head(spec, int(first.shape[1]), held.n_classes))


def _missing(network: nn.Module, state: StateDict) -> tuple[str, ...]:
    """Return the modules whose own parameters a flat network's state lacks."""
    owners = {name.rpartition(".")[0] for name, _ in network.named_parameters() if f"base.{name}" not in state}
    return tuple(sorted(owners))
