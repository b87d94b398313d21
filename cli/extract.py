"""``featx extract``: images -> features in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import cluster_options, options
from featx.cli.extract_array import TASKS, write_script
from featx.cli.given import OF_A_NETWORK, is_given, refuse
from featx.cli.headings import NETWORK, OUTPUT, WHERE, Headed, typed, under
from featx.cli.opening import check_backbone, open_backbone, open_sources
from featx.cli.output import Output
from featx.cli.targets import check_target
from featx.cli.text import class_line, human_bytes
from featx.core.backbone_names import PIXELS
from featx.core.concatenation import Feature, parts_of
from featx.core.executors.job_arrays import MOST
from featx.core.specs import BackboneConfig, ExtractConfig
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.extraction.extract import ExtractResult


@click.command(cls=Headed)
@click.argument("source")
@under(NETWORK, options.backbone(), options.layers(joined=True))
@options.selection
@options.backbone_config
@options.extraction
@cluster_options.cluster
@cluster_options.shard
@under(
    WHERE,
    click.option(
        "--array", type=click.Path(path_type=Path), metavar="FILE", help="Write the script of a job array, and stop."
    ),
    click.option(
        "--tasks",
        type=click.IntRange(1, MOST),
        metavar="N",
        default=TASKS,
        show_default=True,
        help="Jobs of that array.",
    ),
)
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
    layers: tuple[Feature, ...],
    selection: options.RowSelection,
    network: BackboneConfig,
    config: ExtractConfig,
    cluster: str | None,
    shard: str | None,
    array: Path | None,
    tasks: int,
    output: Path | None,
) -> None:
    """Compute a backbone's features and store them.

    SOURCE is a data set's name (digits, cifar10, flowers102, ...), a folder, a .zip or .tar, a list (.csv, .tsv), a
    .parquet file, or a file of arrays (.npz, .npy, .h5). What the store already has is reused; an interrupted
    extraction resumes where it stopped.

    FILE is .h5 with all layers and splits, or .npz, .npy (the features alone) or .parquet with one of each.

    The workers of a cluster see the source and --home under the same names. The parts of --shard share a store, or
    each has its own --home, which `featx cache merge` joins.

    \b
    Examples:
      featx extract digits -b resnet18 --weights random:0 -l layer3:avg
      featx extract photos/ -b resnet50 -l layer4:avg -l layer3:avg2 -o out.h5
      featx extract photos/ -b net.py:make --weights net.pth -l 'layer*:avg'
      featx extract photos/ -b resnet50 -l layer4:avg --cluster tcp://host:8786
      featx extract photos/ -b resnet50 -l layer4:avg --array job.sh --tasks 16
    """
    layers = tuple(dict.fromkeys(part for layer in layers for part in parts_of(layer)))  # each is stored by itself
    where = cluster_options.executor_name(cluster, shard)
    if array is None and is_given("tasks"):
        refuse(("tasks",), "without --array")
    if backbone == PIXELS:
        refuse(OF_A_NETWORK, "on raw pixels")
    check_backbone(backbone, network, home, layers)
    if array is not None:
        from featx.data.sources import check_source

        check_source(source)
        _write_array(out, array, home, tasks)
        return
    from featx.cache.export import check_one, export, format_of
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore
    from featx.data.coverage import check_readable
    from featx.extraction import extract as engine

    if output is not None:
        check_target(output, source)
        format_of(output)
    memo = Memo(home)
    sources = open_sources(out, source, selection, memo)
    if output is not None:
        check_one(format_of(output), len(sources) * len(layers))
    if config.on_error == "raise":  # all at once, and before hours of work
        check_readable(sources.values())
    opened = open_backbone(out, backbone, network, next(iter(sources.values())).channels, memo)
    out.kept = "finished shards are kept in the store, the same command resumes from there"
    with out.progress() as progress:
        found = engine.extract(sources, opened, layers, FeatureStore(home), config, progress, where)
    classes = next(iter(sources.values())).classes
    document = found.as_dict() | {"classes": list(classes)}
    if output is not None:
        _check_whole(found)
        names = [(entry["layer"], entry["split"]) for entry in found.layers]
        written = export(output, [(layer, split, found.tables[split, layer]) for layer, split in names])
        document |= {"output": str(output), "output_bytes": written}
    if classes:
        out.say(class_line(classes))
    tell(out, found)
    if output is not None:
        out.say(f"wrote {output}, {human_bytes(document['output_bytes'])}")
    out.result(document)


def _write_array(out: Output, path: Path, home: Path, tasks: int) -> None:
    refuse(("cluster", "shard", "output"), "in a job array: its jobs compute a part each")
    write_script(path, typed(), home, tasks)
    out.say(f"wrote {path}, an array of {tasks} jobs: `sbatch {path}` (Slurm) or `qsub {path}` (PBS) submits it")
    out.say("afterwards the same command without --array opens the whole, and computes what a lost job left")
    out.result({"array": str(path), "tasks": tasks})


def _check_whole(found: ExtractResult) -> None:
    if found.part is not None and found.part["left"]:
        raise OptionError(
            f"--output needs the whole, and {found.part['left']} of {found.part['blocks']} blocks are still missing",
            "use it without --shard once all parts have run",
        )


def tell(out: Output, found: ExtractResult) -> None:
    """Print what was computed and what was reused, for people."""
    if found.part is not None:
        _tell_part(out, found.part)
    columns = ("layer", "split", ">rows", ">columns", ">size", ">computed", ">reused")
    rows = [
        (e["layer"], e["split"], e["rows"], e["columns"], human_bytes(e["bytes"]), e["computed"], e["reused"])
        for e in found.layers
    ]
    if rows:
        out.table(columns, rows)
    for line in found.why:
        out.say(f"not reused: {line}")
    if found.images_per_second is None:
        out.say("reused everything, nothing was computed")
    else:
        where = "" if found.executor["name"] == "here" else f", {found.executor['name']}"
        out.say(f"{found.images_per_second:.1f} images/s, {found.device}, {found.precision}{where}")
    cluster_options.tell_lost(out, found.executor["lost"])
    out.skipped(found.skipped)


def _tell_part(out: Output, part: dict[str, Any]) -> None:
    """Say what a part of a job array did, and what is left to others."""
    left = f"{part['left']} are left in this store" if part["left"] else "none is left"
    of = f"of {part['own']} blocks computed here, of {part['blocks']} in all"
    out.say(f"shard {part['shard']}: {part['done']} {of}; {left}")
