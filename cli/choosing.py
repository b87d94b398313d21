"""What ``featx fit`` says of a choice by successive halving, and of a readout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from featx.cli.output import Output
from featx.core.concatenation import Feature
from featx.errors import OptionError
from featx.models.readouts import READOUTS, read_out

if TYPE_CHECKING:
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
    rows = [
        (
            one["rows"],
            one["layers"],
            one["fits"],
            one["best"]["layer"],
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
    out.say(f"{said}, another layer with {chances['another_layer']:.2f}")
    for name, what in (("runner_up", "closest"), ("dropped_last", "best of those dropped last")):
        one = chances[name]
        if one is not None:
            where = f"{one['layer']}, C = {one['C']:.3g}, {_accuracy(one)} with {one['rows']} rows"
            out.say(f"{what}: {where}; ahead with a chance of {one['chance']:.2f}")
    out.say(f"chances by {chances['draws']:,} draws: {chances['method']}")


def _accuracy(one: Mapping[str, Any]) -> str:
    return f"{one['accuracy']:.4f}"
