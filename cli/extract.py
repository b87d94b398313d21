"""``featx extract``: images -> features in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.cli import options
from featx.cli.given import OF_A_NETWORK, refuse
from featx.cli.headings import NETWORK, OUTPUT, Headed, under
from featx.cli.opening import check_backbone, open_backbone, opening_source
from featx.cli.output import Output
from featx.cli.targets import check_target
from featx.cli.text import class_line, human_bytes
from featx.core.backbone_names import PIXELS
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec

if TYPE_CHECKING:
    from featx.extraction.extract import ExtractResult


@click.command(cls=Headed)
@click.argument("source")
@under(NETWORK, options.backbone(), options.layers())
@options.selection
@options.backbone_config
@options.extraction
@under(
    OUTPUT,
    click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Also write one plain file."),
)
@options.common
def extract(
    out: Output,
    home: Path,
    source: str,
    backbone: str,
    layers: tuple[LayerSpec, ...],
    selection: options.RowSelection,
    network: BackboneConfig,
    config: ExtractConfig,
    output: Path | None,
) -> None:
    """Compute a backbone's features and store them.

    SOURCE is a data set's name (digits, cifar10, flowers102, ...), a folder, a .zip or .tar, a list (.csv, .tsv), a
    .parquet file, or a file of arrays (.npz, .npy, .h5). What the store already has is reused; an interrupted
    extraction resumes where it stopped.

    FILE is .h5 with all layers and splits, or .npz, .npy (the features alone) or .parquet with one of each.

    \b
    Examples:
      featx extract digits -b resnet18 --weights random:0 -l layer3:avg
      featx extract photos/ -b resnet50 -l layer4:avg -l layer3:avg2 -o out.h5
      featx extract photos/ -b net.py:make --weights net.pth -l 'layer*:avg'
    """
    if backbone == PIXELS:
        refuse(OF_A_NETWORK, "on raw pixels")
    check_backbone(backbone, network, home, layers)
    from featx.cache.export import check_one, export, format_of
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore
    from featx.data.coverage import check_readable
    from featx.data.sources import load_splits
    from featx.extraction import extract as engine

    if output is not None:
        check_target(output, source)
        format_of(output)
    memo = Memo(home)
    with opening_source(out) as progress:
        sources = load_splits(
            source,
            root=selection.root,
            split=selection.split,
            limit=selection.limit,
            per_class=selection.per_class,
            seed=selection.seed,
            memo=memo,
            progress=progress,
        )
    if output is not None:
        check_one(format_of(output), len(sources) * len(layers))
    if config.on_error == "raise":  # all at once, and before hours of work
        check_readable(sources.values())
    opened = open_backbone(out, backbone, network, next(iter(sources.values())).channels, memo)
    out.kept = "finished shards are kept in the store, the same command resumes from there"
    with out.progress() as progress:
        found = engine.extract(sources, opened, layers, FeatureStore(home), config, progress)
    classes = next(iter(sources.values())).classes
    document = found.as_dict() | {"classes": list(classes)}
    if output is not None:
        names = [(entry["layer"], entry["split"]) for entry in found.layers]
        written = export(output, [(layer, split, found.tables[split, layer]) for layer, split in names])
        document |= {"output": str(output), "output_bytes": written}
    if classes:
        out.say(class_line(classes))
    tell(out, found)
    if output is not None:
        out.say(f"wrote {output}, {human_bytes(document['output_bytes'])}")
    out.result(document)


def tell(out: Output, found: ExtractResult) -> None:
    """Print what was computed and what was reused, for people."""
    columns = ("layer", "split", ">rows", ">columns", ">size", ">computed", ">reused")
    rows = [
        (e["layer"], e["split"], e["rows"], e["columns"], human_bytes(e["bytes"]), e["computed"], e["reused"])
        for e in found.layers
    ]
    out.table(columns, rows)
    for line in found.why:
        out.say(f"not reused: {line}")
    if found.images_per_second is None:
        out.say("reused everything, nothing was computed")
    else:
        out.say(f"{found.images_per_second:.1f} images/s, {found.device}, {found.precision}")
    out.skipped(found.skipped)
