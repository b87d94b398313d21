"""What ``featx fit`` says of a choice by successive halving, and of a readout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from featx.cli.output import Output
from featx.core.concatenation import Feature
from featx.errors import OptionError
from featx.models.readouts import READOUTS, read_out

if TYPE_CHECKING:
    from featx.cache.memo import Memo
    from featx.data.source import Source
    from featx.models.backbone import Backbone

readout = click.option(
    "--readout",
    type=click.Choice(tuple(READOUTS)),
    help="Instead of -l, read a vision transformer of timm or torchvision as published: class tokens of the last "
    "blocks, and the mean of the tokens.",
)


def check_readout(name: str | None, layers: tuple[Feature, ...], *, pixels: bool) -> None:
    """Raise OptionError where a readout is given beside what it stands for."""
    if name is not None and (layers or pixels):
        given = "--pixels" if pixels else "-l"
        raise OptionError(f"--readout {name} was given with {given}", "leave one or the other out")


def check_networks(networks: Sequence[tuple[str, str]], readout: str | None, *, halving: bool) -> None:
    """Raise OptionError for several networks where nothing chooses among them, or each would be read in its own way."""
    if len(networks) < 2:
        return
    alike = len({name for name, _ in networks}) == 1
    said = f"--weights {', '.join(w for _, w in networks)}" if alike else f"-b {', '.join(n for n, _ in networks)}"
    if not halving:
        raise OptionError(
            f"{said} were given, expected one network", "--halving chooses among several; else one command each"
        )
    if readout is not None:
        raise OptionError(f"{said} were given with --readout {readout}, expected one network", "name layers with -l")


def layers_of(
    out: Output, networks: Mapping[str, Backbone], layers: tuple[Feature, ...], source: Source, memo: Memo
) -> dict[str, tuple[Feature, ...]]:
    """Return by network the layers that it is fitted on; of several networks, those that it has."""
    if len(networks) == 1:
        return dict.fromkeys(networks, layers)
    from featx.extraction.own_layers import own_layers

    own, notes = own_layers(source, networks, layers, memo, "is a candidate")
    for line in notes:
        out.note(f"warning: {line}")
    return {name: tuple(some) for name, some in own.items()}


def read(out: Output, name: str, network: Backbone) -> tuple[Feature, dict[str, Any]]:
    """Return what a readout means for a network, and what the record tells of it; tell the user too."""
    found = read_out(name, network)
    out.note(f"--readout {name} is -l {found.feature}: {READOUTS[name].origin}")
    for line in found.notes:
        out.note(line)
    return found.feature, found.as_dict()


def tell_choice(out: Output, record: Mapping[str, Any]) -> None:
    """Say how a halving went, what it saved, and how likely another choice was."""
    choice = record.get("choice")
    if choice is None:
        return
    if "networks" in choice:
        _tell_networks(out, record)
    rows = [
        (
            one["rows"],
            one["layers"],
            one["fits"],
            _named(one["best"]),
            f"{one['best']['C']:.3g}",
            _accuracy(one["best"]),
        )
        for one in choice["rounds"]
    ]
    out.table((">rows", ">layers", ">fits", "best layer", ">C", ">val accuracy"), rows)
    saved = choice["seconds_of_all"] - choice["seconds"]
    took = f"halving: {choice['candidates']} candidates in {choice['seconds']:.2f} s"
    share = f"{100 * choice['share_of_rows']:.0f} % of the rows that fits on all rows would have read"
    out.say(f"{took}, about {saved:.2f} s saved ({share})" if saved > 0 else f"{took}, no time saved ({share})")
    chances = choice["chances"]
    said = f"other validation rows would have chosen otherwise with a chance of {chances['another']:.2f}"
    said += f", another layer with {chances['another_layer']:.2f}"
    abroad = chances.get("another_network")
    out.say(said if abroad is None else f"{said}, another network with {abroad:.2f}")
    for name, what in (("runner_up", "closest"), ("dropped_last", "best of those dropped last")):
        one = chances[name]
        if one is not None:
            where = f"{_named(one)}, C = {one['C']:.3g}, {_accuracy(one)} with {one['rows']} rows"
            out.say(f"{what}: {where}; ahead with a chance of {one['chance']:.2f}")
    out.say(f"chances by {chances['draws']:,} draws: {chances['method']}")


def _tell_networks(out: Output, record: Mapping[str, Any]) -> None:
    """Say of each network what was extracted, and how far it came; and which one was chosen."""
    rows = []
    for network in record["choice"]["networks"]:
        best = max(network["layers"], key=lambda layer: (layer["rows"], layer["accuracy"]))
        rows.append(
            (
                network["name"],
                len(network["layers"]),
                network["computed"],
                network["reused"],
                best["layer"],
                best["rows"],
                _accuracy(best),
            )
        )
    columns = ("network", ">layers", ">computed", ">reused", "best layer", ">fitted on rows", ">val accuracy")
    out.table(columns, rows)
    out.say(f"chosen: {record['backbone']} with {record['weights']}, layer {record['layer']}")


def _named(one: Mapping[str, Any]) -> str:
    """Return a candidate's layer, after its network where there are several."""
    return " ".join(one[name] for name in ("network", "layer") if name in one)


def _accuracy(one: Mapping[str, Any]) -> str:
    return f"{one['accuracy']:.4f}"
