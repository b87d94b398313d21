"""``featx fit``: softmax regression, or another classifier, on layers' features, or on raw pixels."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from featx.cli import choosing, cluster_options, fit_options, options, repeats
from featx.cli.checked import tell_checks
from featx.cli.fit_text import tell
from featx.cli.given import OF_A_NETWORK, refuse
from featx.cli.headings import NETWORK, OUTPUT, SEEDS, Headed, under
from featx.cli.importing import importing
from featx.cli.networks import networks_of
from featx.cli.opening import check_backbone, open_networks, open_partition
from featx.cli.output import Output
from featx.cli.targets import PICTURE_NAMES, PICTURES, check_target, is_device, picture_kind
from featx.core.backbone_names import PIXELS
from featx.core.concatenation import Feature
from featx.core.executors.executor import Executor
from featx.core.executors.registry import executing
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec
from featx.data.split_options import SplitOptions
from featx.errors import OptionError
from featx.probes.config import SWEEPS, FitConfig

SHOWN = (
    *("accuracy", "loss", "top5", "balanced_accuracy", "macro_f1", "brier", "ece", "rms_calibration_error"),
    *("calibrate", "calibration"),
    *("run", "path", "source", "backbone", "layer", "head", "seed", "converged", "gradient_norm"),
    *("objective", "objective_gap", "n_iter", "C", "k", "sweep", "search", "standardize", "normalize", "shots"),
    *("val_size", "readout", "halving", "choice"),
    *("draw_scores", "columns", "bytes", "rows", "computed", "reused", "skipped", "seconds", "views", "batch_size"),
    *("classes", "missing_classes", "unlabelled", "conflicting", "shared_with_test", "excluded_rows", "notes"),
)
"""What ``--json`` shows of the record; beside it, ``layers`` without the test scores of those not chosen."""


@click.command(cls=Headed)
@click.argument("source")
@under(
    NETWORK,
    options.backbone(required=False, several=True, where=" with --halving"),
    options.layers(required=False, joined=True),
    options.weights(several=True),
    choosing.readout,
    click.option("--pixels", is_flag=True, help="Fit on raw pixels, values in 0..1, instead of a layer."),
)
@fit_options.probe
@under(SEEDS, repeats.repeat, repeats.seeds)
@options.split_options
@options.of_all_networks
@options.extraction
@cluster_options.cluster
@under(
    OUTPUT,
    options.keep_weights,
    click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Plot accuracy by layer, or over a sweep's C: .png, .svg, .pdf.",
    ),
)
@options.common
def fit(
    out: Output,
    home: Path,
    source: str,
    backbones: tuple[str, ...],
    layers: tuple[Feature, ...],
    weights: tuple[str, ...],
    readout: str | None,
    pixels: bool,
    probe: FitConfig,
    repeat: int,
    seeds: tuple[int, ...] | None,
    split_options: SplitOptions,
    network: BackboneConfig,
    config: ExtractConfig,
    cluster: str | None,
    keep_weights: bool,
    output: Path | None,
) -> None:
    """Fit softmax regression on stored features or raw pixels.

    Features that the store lacks are extracted first. A tenth of the training rows (--val-size) is held out for
    validation; the test split is scored once. Of several layers, the one with the best validation score is the
    result, and the others' test scores are not shown. The workers of a cluster extract, and fit a layer each, or a
    draw of --shots.

    Of several networks with --halving, each is a candidate with those of the layers that it has.

    \b
    Examples:
      featx fit digits --pixels
      featx fit cifar10.zip -b resnet18 -l layer3:avg --C 0.01
      featx fit cifar10.zip -b resnet18 -l 'layer*:avg' --sweep dinov2 -o map.png
      featx fit photos/ -b resnet18 -l layer3:avg+layer4:avg --val-size 0
      featx fit cifar10.zip -b resnet18 -l 'layer*:avg' --halving
      featx fit photos/ -b resnet18 -b resnet50 -l 'layer*:avg' --halving
      featx fit photos/ -b timm:vit_small_patch14_dinov2 --readout dinov2-4
      featx fit cifar10.zip -b resnet18 -l layer4:avg --head knn --shots 10
      featx fit photos/ -b resnet50 -l 'layer*:avg' --cluster tcp://host:8786
      featx fit cifar10.zip --pixels --per-class 100 --seeds 0,1,2
    """
    fit_options.check_sweep(probe)
    fit_options.check_head(probe)
    where = cluster_options.executor_name(cluster)
    choosing.check_readout(readout, layers, pixels=pixels)
    networks, wanted = _what(backbones, weights, layers, pixels, is_read_out=readout is not None)
    choosing.check_networks(networks, readout, halving=probe.halving)
    raw = all(name == PIXELS for name, _ in networks)
    if raw:
        refuse(OF_A_NETWORK, "on raw pixels")
    fit_options.check_machine(probe.head, config.device, pixels=raw, note=out.note)
    if keep_weights and probe.head == "knn":
        raise OptionError("--head knn keeps no model, --keep-weights would have no effect", "leave --keep-weights out")
    several = len(networks) > 1 or len(wanted) > 1 or any(layer.is_pattern for layer in wanted)
    split_options.check_choices((*probe.choosers, *(("the choice of a layer",) if several else ())))
    numbers = repeats.seeds_of(probe.seed, repeat, seeds)
    if output is not None:
        _check_picture(
            output, source, drawable=(several and not probe.halving) or probe.sweep in SWEEPS, one=len(numbers) == 1
        )
    for name, which in networks:  # which layers each of several has is found where they are read
        check_backbone(name, replace(network, weights=which), home, wanted if len(networks) == 1 else ())
    request = FitRequest(source, networks, wanted, split_options, network, config, keep_weights, readout)
    if where is not None and probe.halving:
        out.note("--cluster computes the features; --halving fits here, for what is fitted depends on the fits before")
    with executing(where) as executor:
        records = [_one(out, home, request, replace(probe, seed=seed), executor) for seed in numbers]
    cluster_options.tell_lost(out, executor.lost)
    if output is not None:
        _draw(out, records[0], output)
    skipped = {image["id"]: image for record in records for image in record["skipped"]}
    documents = [
        {name: record[name] for name in SHOWN} | {"layers": _without_test(record["layers"])} for record in records
    ]
    document = documents[0] if len(records) == 1 else repeats.together(out, records, documents)
    checks = tell_checks(out, home, records)
    out.skipped(list(skipped.values()))
    out.result({**document, "checks": checks})


@dataclass(frozen=True)
class FitRequest:
    """What a fit is of, whatever its seed."""

    source: str
    networks: list[tuple[str, str]]
    layers: tuple[Feature, ...]
    split_options: SplitOptions
    network: BackboneConfig
    extraction: ExtractConfig
    keep_weights: bool
    readout: str | None


def _one(out: Output, home: Path, request: FitRequest, probe: FitConfig, executor: Executor) -> dict[str, Any]:
    """Fit with one seed, tell it, and return the record."""
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore

    memo, config = Memo(home), request.extraction
    chosen = open_partition(out, request.source, request.split_options, probe.seed, memo, config.on_error)
    opened = open_networks(out, request.networks, request.network, chosen.train.source.channels, memo)
    own, readout = choosing.layers_of(out, opened, request.layers, chosen.train.source, memo), None
    if request.readout is not None:
        for name, network in opened.items():  # there is one
            feature, readout = choosing.read(out, request.readout, network)
            own[name] = (feature,)
    with importing():  # not before there is something to fit
        from featx.probes.several_networks import NetworkLayers, fit_networks
        from featx.runs.fit_identity import fit_identity
        from featx.runs.record import new_run, record_fit

    networks = [NetworkLayers(name, network, own[name]) for name, network in opened.items()]
    out.kept = "finished shards are kept in the store, the same command resumes from there"
    with new_run(home, "fit", ["featx", *sys.argv[1:]]) as run:
        with out.progress() as progress:
            best = fit_networks(chosen, networks, FeatureStore(home), config, probe, progress, executor)
        record = record_fit(
            run,
            chosen,
            best.chosen.backbone,
            best.layer,
            config,
            best.result,
            best.layers,
            identity=fit_identity(chosen, networks[0].backbone, networks[0].layers, config, probe, networks[1:]),
            keep_weights=request.keep_weights,
            readout=readout,
            choice=best,
        )
    tell(out, record)
    return record


def _check_picture(output: Path, source: str, *, drawable: bool, one: bool) -> None:
    """Raise OptionError where there is nothing to draw, or no place to draw it, before anything is computed."""
    if not drawable:
        raise OptionError(
            "nothing to plot: one layer and no sweep, or a halving, whose candidates are fitted on different rows",
            "give several --layer, or --sweep, or leave -o out",
        )
    if not one:
        raise OptionError("-o plots one fit, and several seeds were given", "give one --seed, or leave -o out")
    if not picture_kind(output) and not is_device(output):
        raise OptionError(f"--output is {output.name}, expected a name ending in {PICTURE_NAMES}")
    check_target(output, source)


def _what(
    backbones: tuple[str, ...],
    weights: tuple[str, ...],
    layers: tuple[Feature, ...],
    pixels: bool,
    *,
    is_read_out: bool,
) -> tuple[list[tuple[str, str]], tuple[Feature, ...]]:
    """Return the networks with their weights, and the layers."""
    if pixels:
        if any(backbones) or layers:
            raise OptionError("--pixels was given with --backbone or --layer", "leave one or the other out")
        return networks_of((PIXELS,), weights), (LayerSpec(PIXELS),)
    if not any(backbones):
        raise OptionError("nothing to fit on, expected -b BACKBONE -l LAYER, or --pixels", "for example --pixels")
    if not layers and not is_read_out:
        raise OptionError("no layer was given, expected -l LAYER", f"`featx layers {backbones[0]}` lists them")
    return networks_of(backbones, weights), layers


def _draw(out: Output, record: Mapping[str, Any], output: Path) -> None:
    from featx.core.outputs import write_output
    from featx.reports.figures import layer_map, sweep_curve

    title = f"{record['backbone']} on {Path(record['source']).name}"  # whose folders are nobody's business
    kind = picture_kind(output) or PICTURES[0]  # what goes to a device has no ending
    if record["layers"]:
        data = layer_map(record["layers"], record["layer"], title, kind)
    else:
        data = sweep_curve(record["search"], f"{title}, {record['layer']}, sweep {record['sweep']}", kind)
    write_output(output, data)
    out.say(f"wrote {output}")


def _without_test(lines: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    if lines is None:
        return None
    parts = ("accuracy", "loss")
    return [
        {
            **line,
            **{part: {name: value for name, value in line[part].items() if name != "test"} for part in parts},
        }
        for line in lines
    ]
