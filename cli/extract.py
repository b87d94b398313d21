"""``featx extract``: images -> features in the store."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.cli import options
from featx.cli.opening import open_backbone
from featx.cli.output import Output
from featx.cli.text import human_bytes
from featx.errors import OptionError
from featx.specs import ExtractConfig, LayerSpec

if TYPE_CHECKING:
    from featx.extract import ExtractResult


@click.command
@click.argument("source")
@options.backbone()
@options.layers()
@options.pick
@options.extraction
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Also write one plain HDF5 file.")
@options.common
def extract(
    out: Output,
    home: Path,
    source: str,
    backbone: str,
    layers: tuple[LayerSpec, ...],
    pick: options.Pick,
    config: ExtractConfig,
    output: Path | None,
) -> None:
    """Compute a backbone's features and store them.

    SOURCE is digits, a folder, a .zip or .tar, a .csv list, or a file of arrays (.npz, .npy, .h5). What the
    store has already is read back, not computed; an interrupted extraction goes on where it stopped.

    \b
    Examples:
      featx extract digits -b resnet18 --weights random:0 -l layer3:avg
      featx extract photos/ -b resnet50 -l layer4:avg -l layer3:avg2 -o out.h5
      featx extract photos/ -b net.py:make --weights net.pth -l 'layer*:avg'
    """
    if output is not None:
        check_target(output, source)
    from featx import extract as engine
    from featx.cache.export import write_h5
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore
    from featx.sources import load_splits

    memo = Memo(home)
    sources = load_splits(
        source, split=pick.split, limit=pick.limit, per_class=pick.per_class, seed=pick.seed, memo=memo
    )
    network = open_backbone(out, backbone, config, next(iter(sources.values())).channels, memo)
    out.kept = "finished shards stay in the store, the same command goes on from there"
    with out.progress() as progress:
        found = engine.extract(sources, network, layers, FeatureStore(home), config, progress)
    document = found.as_dict()
    if output is not None:
        names = [(entry["layer"], entry["split"]) for entry in found.layers]
        written = write_h5(output, [(layer, split, found.tables[split, layer]) for layer, split in names])
        document |= {"output": str(output), "output_bytes": written}
    tell(out, found)
    if output is not None:
        out.say(f"wrote {output}, {human_bytes(document['output_bytes'])}")
    out.result(document)


def check_target(path: Path, source: str) -> None:
    """Raise OptionError unless a file can be written at `path`: known before the work, not after it."""
    folder = path.absolute().parent
    if path.is_dir():
        example = path / "features.h5"
        raise OptionError(f"--output {path} is a folder, expected a file", f"for example {example}")
    if not folder.is_dir():
        raise OptionError(f"the folder of --output {path} does not exist", f"make {folder} first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OptionError(f"the folder of --output {path} cannot be written to", "choose another folder")
    if path.exists() and os.path.exists(source) and os.path.samefile(path, source):
        raise OptionError(f"--output {path} is the source itself", "choose another file")


def tell(out: Output, found: ExtractResult) -> None:
    """Print what was computed and what was reused, for people."""
    columns = ("layer", "split", ">rows", ">columns", ">size", ">computed", ">reused")
    rows = [
        (e["layer"], e["split"], e["rows"], e["columns"], human_bytes(e["bytes"]), e["computed"], e["reused"])
        for e in found.layers
    ]
    out.table(columns, rows)
    if found.images_per_second is None:
        out.say("reused everything, nothing was computed")
    else:
        out.say(f"{found.images_per_second:.1f} images/s, {found.device}, {found.precision}")
    out.skipped(found.skipped)
