"""``featx similarity``: how similar layers' representations of the same images are."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.audit.similarity_config import SimilarityConfig
from featx.cli import options
from featx.cli.given import OF_A_NETWORK, is_given, refuse
from featx.cli.headings import NETWORK, OUTPUT, Headed, under
from featx.cli.networks import networks_of
from featx.cli.opening import check_backbone, open_networks, open_sources
from featx.cli.output import Output
from featx.cli.targets import PICTURE_NAMES, PICTURES, check_target, is_device, picture_kind
from featx.cli.text import counted
from featx.core.backbone_names import PIXELS
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.audit.layer_features import LayerFeatures
    from featx.audit.similarity import Similarity

COMPARISON = "Comparison"


@click.command(cls=Headed)
@click.argument("source")
@under(NETWORK, options.backbone(several=True), options.layers(), options.weights(several=True))
@options.gather(
    "comparison",
    SimilarityConfig,
    (
        under(
            COMPARISON,
            options.number(
                SimilarityConfig,
                "--sample",
                click.IntRange(SimilarityConfig.LEAST, SimilarityConfig.MOST),
                "Rows whose distances and neighbours are compared; CKA takes all.",
            ),
            options.number(SimilarityConfig, "--neighbours", click.IntRange(min=1), "Nearest neighbours of a row."),
        ),
    ),
)
@options.selection
@options.of_all_networks
@options.extraction
@under(
    OUTPUT,
    click.option(
        "-o",
        "--output",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Plot CKA of layers against layers: .png, .svg, .pdf.",
    ),
)
@options.common
def similarity(
    out: Output,
    home: Path,
    source: str,
    backbones: tuple[str, ...],
    layers: tuple[LayerSpec, ...],
    weights: tuple[str, ...],
    comparison: SimilarityConfig,
    selection: options.RowSelection,
    network: BackboneConfig,
    config: ExtractConfig,
    output: Path | None,
) -> None:
    """Compare layers' representations of the same images.

    By CKA, RSA and mutual nearest neighbours; features that the store lacks are extracted first. Linear CKA is
    estimated without bias from all rows: 0 on average for layers that have nothing in common, 1 for layers that are
    the same up to an orthogonal map. The biased estimate is shown beside it. RSA and nearest neighbours are of
    --sample rows.

    Of several networks, each gives those of the layers that it has.

    \b
    Examples:
      featx similarity digits -b lenet5 --weights random:0 -l 'pool*' -l fc1
      featx similarity photos/ -b resnet18 -b resnet50 -l 'layer*:avg' -o map.png
      featx similarity digits -b lenet5 --weights random:0 -l 'pool*' -l fc1
    """
    wanted = networks_of(backbones, weights)
    if all(name == PIXELS for name, _ in wanted):
        refuse([name for name in OF_A_NETWORK if name != "keep_weights"], "on raw pixels")
    if output is not None:
        _check_picture(output, source)
    if len(wanted) * len(layers) == 1 and not layers[0].is_pattern:
        raise OptionError("one layer was given to compare, expected two or more", "give several --layer, or a pattern")
    for name, which in wanted:  # which layers each of several has is found where they are read
        check_backbone(name, replace(network, weights=which), home, layers if len(wanted) == 1 else ())
    began = time.perf_counter()
    found = _features(out, home, source, wanted, layers, selection, network, config)
    extracted = time.perf_counter()
    from featx.audit.similarity import similarity as compare

    with out.progress("rows") as progress:
        result = compare(
            found.features,
            sample=comparison.sample,
            neighbours=comparison.neighbours,
            seed=selection.seed,
            progress=progress,
        )
    seconds = {"extract": extracted - began, "compare": time.perf_counter() - extracted}
    _tell(out, found, result, comparison)
    out.say(
        f"extract {seconds['extract']:.2f} s, compare {seconds['compare']:.2f} s; "
        f"{found.computed} rows computed, {found.reused} reused"
    )
    if output is not None:
        _draw(out, result, source, found, output)
    out.skipped(found.skipped)
    document = {"source": source, **result.as_dict(), "splits": found.rows, "rows_left_out": found.lacking}
    document |= {"skipped": found.skipped, "computed": found.computed, "reused": found.reused, "seconds": seconds}
    out.result(document | {"notes": found.notes, "output": output})


def _check_picture(output: Path, source: str) -> None:
    if not picture_kind(output) and not is_device(output):
        raise OptionError(f"--output is {output.name}, expected a name ending in {PICTURE_NAMES}", "give another name")
    check_target(output, source, "map.png")


def _features(
    out: Output,
    home: Path,
    source: str,
    wanted: Sequence[tuple[str, str]],
    layers: Sequence[LayerSpec],
    selection: options.RowSelection,
    network: BackboneConfig,
    config: ExtractConfig,
) -> LayerFeatures:
    """Open the images and the networks, and extract what is missing; say what is left out."""
    from featx.audit.layer_features import layer_features
    from featx.cache.memo import Memo
    from featx.cache.store import FeatureStore
    from featx.data.coverage import check_readable

    memo = Memo(home)
    sources = open_sources(out, source, selection, memo)
    if config.on_error == "raise":  # all at once, and before hours of work
        check_readable(sources.values())
    channels = next(iter(sources.values())).channels
    opened = open_networks(out, wanted, network, channels, memo)
    out.kept = "finished shards are kept in the store, the same command resumes from there"
    with out.progress() as progress:
        found = layer_features(sources, opened, layers, FeatureStore(home), config, progress)
    for line in found.notes:
        out.note(f"warning: {line}")
    return found


def _tell(out: Output, found: LayerFeatures, result: Similarity, asked: SimilarityConfig) -> None:
    """Print what was compared and how similar it is, for people."""
    splits = f" ({', '.join(f'{split} {rows:,}' for split, rows in found.rows.items())})" if len(found.rows) > 1 else ""
    out.say(f"{len(result.names)} layers, {counted(result.rows, 'row', 'rows')}{splits}")
    if found.lacking:
        out.say(f"{counted(found.lacking, 'row was', 'rows were')} left out of all layers: the image was skipped")
    for name, why in result.undefined.items():
        out.note(f"warning: {name} is similar to nothing, which is shown as '-': {why}")
    if result.neighbours < asked.neighbours:
        said = "were asked for" if is_given("neighbours") else "are the default"
        out.note(
            f"warning: {asked.neighbours} neighbours {said}, and {result.sample} rows are compared: "
            f"{result.neighbours} are used"
        )
    of = counted(result.sample, "row", "rows")
    _matrix(out, "linear CKA, unbiased estimate", result.names, result.cka.tolist())
    _matrix(out, f"linear CKA, biased estimate{_floor(result)}", result.names, result.biased.tolist())
    _matrix(out, f"RSA, Pearson's r of the distances of {of}", result.names, result.pearson.tolist())
    _matrix(out, f"RSA, Spearman's rho of the distances of {of}", result.names, result.spearman.tolist())
    chance = f"{result.knn_shuffled:.3f} by chance"
    _matrix(out, f"mutual {result.neighbours}-nearest neighbours of {of}, {chance}", result.names, result.knn.tolist())


def _floor(result: Similarity) -> str:
    """Say what the biased estimate shows of layers that have nothing in common."""
    below = [value for i, row in enumerate(result.biased_shuffled.tolist()) for value in row[:i]]
    known = sorted(value for value in below if not math.isnan(value))
    ends = list(dict.fromkeys(f"{value:.3f}" for value in known[:1] + known[-1:]))
    return f"; with one layer's rows shuffled it still is {' to '.join(ends)}" if ends else ""


def _matrix(out: Output, title: str, names: Sequence[str], values: Sequence[Sequence[float]]) -> None:
    if out.json:  # which has them whole
        return
    out.say(f"{title}:")
    columns = (">", "layer", *(f">{i}" for i in range(1, len(names) + 1)))
    out.table(
        columns,
        [(i, name, *map(_cell, row)) for i, (name, row) in enumerate(zip(names, values, strict=True), 1)],
    )


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}".replace("-0.000", "0.000")


def _draw(out: Output, result: Similarity, source: str, found: LayerFeatures, output: Path) -> None:
    from featx.core.outputs import write_output
    from featx.reports.similarity_map import similarity_map

    title = f"{Path(source).name}, {counted(result.rows, 'row', 'rows')}"  # whose folders are nobody's business
    if len(found.rows) == 1 and "all" not in found.rows:
        title += f" of split {next(iter(found.rows))}"
    kind = picture_kind(output) or PICTURES[0]  # what goes to a device has no ending
    write_output(output, similarity_map(result, title, kind))
    out.say(f"wrote {output}")
