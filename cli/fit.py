"""``featx fit``: softmax regression on a layer's features, or on raw pixels."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from featx.cli import options
from featx.cli.opening import open_backbone, open_partition
from featx.cli.output import Output
from featx.cli.text import human_bytes
from featx.errors import OptionError
from featx.specs import ExtractConfig, FitConfig, LayerSpec

PIXELS = "pixels"
SHOWN = (
    *("run", "path", "source", "backbone", "layer", "accuracy", "loss", "converged", "gradient_norm"),
    *("objective", "n_iter", "C", "columns", "bytes", "rows", "computed", "reused", "skipped", "seconds"),
    *("views", "batch_size", "notes"),
)
"""What ``--json`` shows of the record."""


@click.command
@click.argument("source")
@options.backbone(required=False)
@options.layers(required=False, several=False)
@click.option("--pixels", is_flag=True, help="Fit on raw pixels, values in 0..1, instead of a layer.")
@options.gather(
    "probe",
    FitConfig,
    (
        click.option(
            "--C", "C", type=float, metavar="X", default=FitConfig.C, show_default=True, help="Inverse penalty."
        ),
        click.option(
            "--standardize/--no-standardize",
            default=FitConfig.standardize,
            show_default=True,
            help="Give every feature mean 0 and deviation 1.",
        ),
        click.option(
            "--fit-intercept/--no-fit-intercept",
            default=FitConfig.fit_intercept,
            show_default=True,
            help="Fit a constant for each class.",
        ),
        click.option(
            "--tol", type=float, metavar="X", default=FitConfig.tol, show_default=True, help="Gradient norm to reach."
        ),
        click.option(
            "--max-iter", type=int, metavar="N", default=FitConfig.max_iter, show_default=True, help="At most N steps."
        ),
        options.seed,
    ),
)
@options.parts
@options.extraction
@options.common
def fit(
    out: Output,
    home: Path,
    source: str,
    backbone: str | None,
    layers: tuple[LayerSpec, ...],
    pixels: bool,
    probe: FitConfig,
    parts: options.Parts,
    config: ExtractConfig,
) -> None:
    """Fit softmax regression on stored features or raw pixels.

    Features that the store lacks are extracted first. A tenth of the training rows is held out for
    validation; the test split is scored once.

    \b
    Examples:
      featx fit digits --pixels
      featx fit cifar10.zip -b resnet18 -l layer3:avg --C 0.01
    """
    name, layer = _what(backbone, layers, pixels)
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore
    from featx.probe import fit_probe
    from featx.records import new_run, record_fit

    memo = Memo(home)
    chosen = open_partition(out, source, parts, probe.seed, memo)
    network = open_backbone(out, name, config, chosen.train.source.channels, memo)
    out.kept = "finished shards stay in the store, the same command goes on from there"
    with new_run(home, "fit", ["featx", *sys.argv[1:]]) as run:
        with out.progress() as progress:
            result = fit_probe(chosen, network, layer, FeatureStore(home), config, probe, progress)
        record = record_fit(run, chosen, network, layer, config, probe, result)
    tell(out, record)
    out.skipped(record["skipped"])
    out.result({name: record[name] for name in SHOWN})


def _what(backbone: str | None, layers: tuple[LayerSpec, ...], pixels: bool) -> tuple[str, LayerSpec]:
    if pixels:
        if backbone or layers:
            raise OptionError("--pixels goes without --backbone and --layer", "leave one or the other out")
        return PIXELS, LayerSpec(PIXELS)
    if not backbone:
        raise OptionError("nothing to fit on, expected -b BACKBONE -l LAYER, or --pixels", "for example --pixels")
    if len(layers) != 1:
        raise OptionError(
            f"{len(layers)} layers were given, expected one -l LAYER", f"`featx layers {backbone}` lists them"
        )
    return backbone, layers[0]


def tell(out: Output, record: dict[str, Any]) -> None:
    """Print a fit's result for people."""
    seconds, accuracy, loss = record["seconds"], record["accuracy"], record["loss"]
    parts = [name for name in ("train", "val", "test") if name in accuracy]
    rows = [(p, record["rows"][p], f"{accuracy[p]:.4f}", f"{loss[p]:.4f}") for p in parts]
    out.table(("part", ">rows", ">accuracy", ">loss"), rows)
    reached = "converged" if record["converged"] else "NOT converged"
    out.say(
        f"{reached} in {record['n_iter']} iterations, gradient norm {record['gradient_norm']:.1e}; "
        f"{record['columns']} columns, {human_bytes(record['bytes'])}"
    )
    stages = ", ".join(f"{stage} {seconds[stage]:.2f} s" for stage in ("extract", "read", "fit", "score"))
    out.say(f"{stages}; {record['computed']} rows computed, {record['reused']} reused")
    out.say(f"run {record['run']}")
    if record["shared_with_test"]:
        out.note(f"warning: {record['shared_with_test']} test images also stand in the training rows")
