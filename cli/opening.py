"""What several commands open the same way: the rows to learn from, and the network."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.cli.networks import short_names
from featx.cli.output import Output
from featx.core.backbone_names import is_run
from featx.core.concatenation import Feature
from featx.core.specs import BackboneConfig, Progress
from featx.data.split_options import SplitOptions

if TYPE_CHECKING:
    from featx.cache.memo import Memo
    from featx.cli.options import RowSelection
    from featx.data.source import Source
    from featx.data.splits import Partition
    from featx.models.backbones import Backbone


@contextmanager
def opening_source(out: Output) -> Iterator[Progress]:
    """Show how far a data set's download is, and say what its opening warns of."""
    with warnings.catch_warnings(record=True) as heard, out.progress("MB") as progress:
        warnings.simplefilter("always")
        yield progress
    from featx.data.listing import LeftOut

    for warning in heard:
        if isinstance(warning.message, LeftOut):
            out.leave_out(warning.message.counts, str(warning.message))
        else:
            out.note(f"warning: {warning.message}")


def open_sources(out: Output, source: str, selection: RowSelection, memo: Memo) -> dict[str, Source]:
    """Open a source's splits, as few rows of each as were asked for."""
    from featx.data.sources import load_splits

    with opening_source(out) as progress:
        return load_splits(source, **asdict(selection), memo=memo, progress=progress)


def open_partition(
    out: Output, source: str, split_options: SplitOptions, seed: int, memo: Memo, on_error: str
) -> Partition:
    """Open a source and choose the rows that train, validate and test; say what they leave open."""
    from featx.data.opening import choose_rows, open_splits

    with opening_source(out) as progress:
        sources = open_splits(source, split_options, seed, memo, progress)
    found, notes = choose_rows(sources, split_options, seed, on_error)
    for line in notes:
        out.note(f"warning: {line}")
    return found


def tell_of_rows(out: Output, record: Mapping[str, Any]) -> None:
    """Say what a run's scores are not of."""
    from featx.data.missing_classes import missing_lines

    for line in missing_lines(record["missing_classes"], len(record["classes"])):
        out.say(line)
    if record["shared_with_test"]:
        out.note(f"warning: {record['shared_with_test']} test images are also among the training rows")


def of_shapes(backbone: str, how: BackboneConfig) -> BackboneConfig:
    """Return it for what needs a network's shapes alone: a run brings its own weights, with the head they have."""
    return replace(how, weights=BackboneConfig.weights) if is_run(backbone) else how


def check_backbone(name: str, how: BackboneConfig, home: Path, layers: Collection[Feature] = ()) -> None:
    """Refuse a backbone or layers that cannot be had, before the images are opened and torch is loaded."""
    from featx.cache.memo import Memo
    from featx.models.backbones import check, known
    from featx.models.known_layers import check_layers

    memo = Memo(home)
    check(name, how, memo)
    network = known(name, how, memo) if layers else None
    if network is not None:
        check_layers(network, layers, memo)


def open_backbone(out: Output, name: str, how: BackboneConfig, channels: int | None, memo: Memo) -> Backbone:
    """Look a backbone up, and tell what its weights leave out."""
    from featx.models.backbones import look_up

    found = look_up(name, how, channels, memo)
    for line in found.notes:
        out.note(line)
    return found


def open_networks(
    out: Output, networks: Sequence[tuple[str, str]], how: BackboneConfig, channels: int | None, memo: Memo
) -> dict[str, Backbone]:
    """Look several backbones up, each with its weights, by names that tell them apart; one alone is called ""."""
    return {
        name: open_backbone(out, backbone, replace(how, weights=which), channels, memo)
        for name, (backbone, which) in zip(short_names(networks), networks, strict=True)
    }
