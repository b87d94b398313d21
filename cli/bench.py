"""``featx bench``: how quick a network is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.completion import complete_network
from featx.cli.opening import of_shapes, open_backbone
from featx.cli.output import Output
from featx.cli.text import counted, human_bytes, human_count
from featx.core.backbone_names import RUN
from featx.core.concatenation import Feature, parse_feature
from featx.core.specs import PRECISIONS, BackboneConfig
from featx.errors import OptionError
from featx.extraction.benchmark_config import BenchConfig

if TYPE_CHECKING:
    from featx.cache.memo import Memo
    from featx.models.backbones import Backbone


def _sizes(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    parts = value.split(",")
    if not all(part.isascii() and part.isdecimal() and 0 < int(part) < 1 << 20 for part in parts):
        raise click.BadParameter(f"{value!r}, expected numbers separated by commas", ctx, param)
    return tuple(dict.fromkeys(map(int, parts)))


def _precisions(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(value.split(",")))
    if not set(parts) <= set(PRECISIONS):
        raise click.BadParameter(f"{value!r}, expected some of {','.join(PRECISIONS)}", ctx, param)
    return parts


@click.command
@click.argument("network", metavar="RUN|BACKBONE", shell_complete=complete_network)
@options.gather(
    "config",
    BenchConfig,
    (
        click.option(
            "--batch-sizes",
            metavar="NUMBERS",
            callback=_sizes,
            default=",".join(map(str, BenchConfig.batch_sizes)),
            show_default=True,
            help="Images per batch.",
        ),
        click.option(
            "--precisions",
            metavar="NAMES",
            callback=_precisions,
            default=",".join(BenchConfig.precisions),
            show_default=True,
            help="Precisions of the arithmetic.",
        ),
        click.option(
            "--seconds",
            type=float,
            metavar="X",
            default=BenchConfig.seconds,
            show_default=True,
            help="Time to measure each combination for.",
        ),
        options.device,
    ),
)
@options.shapes
@options.common
def bench(
    out: Output,
    home: Path,
    network: str,
    config: BenchConfig,
    wanted: BackboneConfig,
) -> None:
    """Time a network's forward pass.

    A trained run's network is timed as a whole, that of a `featx fit` run up to its layer. The time is the median of
    many passes after a warm-up, without decoding and copying to the device. No weights are downloaded.

    \b
    Examples:
      featx bench resnet18 --size 64
      featx bench 20261121 --batch-sizes 1,256 --precisions fp32
    """
    from featx.cache.memo import Memo

    backbone, layer = open_network(out, network, of_shapes(network, wanted), Memo(home))
    from featx.extraction.benchmark import bench as run_bench  # heavy

    with out.progress("steps") as progress:
        found = run_bench(backbone, layer, config, progress)
    about = {"backbone": backbone.name, "layer": None if layer is None else str(layer)}
    tell(out, {**about, **found})
    out.result({**about, **found})


def open_network(out: Output, name: str, config: BackboneConfig, memo: Memo) -> tuple[Backbone, Feature | None]:
    """Look up what is to be timed: a run's network, where a run is called so, else a backbone."""
    from featx.core.run_folder import Runs
    from featx.runs.predict import fitted_on

    try:
        run = Runs(memo.home).open(name.removeprefix(RUN))
    except OptionError:
        return open_backbone(out, name, config, None, memo), None
    record = run.read()
    if record.get("kind") != "fit":
        known = name if name.startswith(RUN) else f"{RUN}{name}"
        config = BackboneConfig(stem=config.stem, size=config.size)
        return open_backbone(out, known, config, None, memo), None
    return fitted_on(run, record, memo, config.size), parse_feature(record["layer"])


def tell(out: Output, found: dict[str, Any]) -> None:
    """Print the timings for people."""
    rows = [
        (t["precision"], t["batch_size"], *_numbers(t["ms_per_image"], t["images_per_second"]))
        for t in found["timings"]
    ]
    out.table(("precision", ">batch", ">ms/image", ">images/s"), rows)
    channels, height, width = found["shape"]
    upto = f" up to {found['layer']}" if found["layer"] else ""
    out.say(
        f"{found['backbone']}{upto}, {channels} x {height} x {width}: {human_count(found['macs'])} multiply-adds per "
        f"image, {found['parameters']['total']:,} parameters, {human_bytes(found['bytes'])}"
    )
    threads = f", {counted(found['threads'], 'thread', 'threads')}" if found["threads"] else ""
    out.say(f"{found['device']} {found['processor']}".strip() + threads)


def _numbers(ms: float | None, rate: float | None) -> tuple[str, str]:
    return ("out of memory", "") if ms is None or rate is None else (f"{ms:.3g}", f"{rate:.4g}")
