"""``featx audit``: leaks, doubtful labels, odd images and classes of a data set, on one page."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.audit.leaks_config import LeaksConfig
from featx.cli import options
from featx.cli.given import OF_A_NETWORK, refuse
from featx.cli.headings import NETWORK, OUTPUT, Headed, under
from featx.cli.opening import check_backbone, open_backbone, open_sources
from featx.cli.output import Output
from featx.cli.targets import check_report
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.audit.audit import Audit, LayersOf
    from featx.audit.images import AuditedImages
    from featx.cache.memo import Memo

NEAR_DUPLICATES = "Near-duplicates"
ENDINGS = (".html", ".htm", ".csv")


@click.command(cls=Headed)
@click.argument("source")
@under(NETWORK, options.backbone(required=False), options.layers(required=False))
@options.gather(
    "leaks",
    LeaksConfig,
    (
        under(
            NEAR_DUPLICATES,
            options.number(
                LeaksConfig,
                "--neighbours",
                click.IntRange(min=1),
                "Images most similar by features whose pixels are compared with each one's.",
            ),
            options.number(
                LeaksConfig,
                "--threshold",
                click.FloatRange(0, 1),
                "Score from which on two images are the same shot.",
                metavar="X",
            ),
            options.number(LeaksConfig, "--most", click.IntRange(min=1), "Compare the pixels of at most N pairs."),
            options.number(
                LeaksConfig,
                "--exact-rows",
                click.IntRange(min=1),
                "Find neighbours among all of up to N images; of more, among similar ones only.",
            ),
        ),
    ),
)
@options.selection
@options.backbone_config
@options.extraction
@under(
    OUTPUT,
    click.option(
        "-o",
        "--output",
        "outputs",
        multiple=True,
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write a page with images (.html), or findings for --exclude (.csv); can be given several times.",
    ),
)
@options.common
def audit(
    out: Output,
    home: Path,
    source: str,
    backbone: str | None,
    layers: tuple[LayerSpec, ...],
    leaks: LeaksConfig,
    selection: options.RowSelection,
    network: BackboneConfig,
    config: ExtractConfig,
    outputs: tuple[Path, ...],
) -> None:
    """Look for leaks, doubtful labels, odd images and small classes.

    Images that are there twice are found by their bytes, by their pixels, and, where they were shifted, cropped,
    mirrored, recompressed or changed in colour, by the pixels of those that features find similar: those of the first
    --layer, or of thumbnails without a network. Labels are judged by all layers.

    Findings can be written as a CSV, filtered by hand, and given to fit, train and compare with --exclude.

    \b
    Examples:
      featx audit photos/
      featx audit photos/ -b resnet18 -l layer3:avg -o audit.html -o audit.csv
      featx fit cifar10.zip -b resnet18 -l layer3:avg --exclude findings.csv
    """
    for file in outputs:
        if file.suffix.lower() not in ENDINGS:
            raise OptionError(f"--output is {file.name}, expected a name ending in .html or .csv", "give another name")
        check_report(file, "--output", "audit.html")
    if (backbone is None) != (not layers):
        given, lacks = ("--layer", "--backbone") if backbone is None else ("--backbone", "--layer")
        raise OptionError(f"{given} was given without {lacks}", "give both, or neither: then thumbnails are compared")
    if backbone is None:
        refuse([name for name in OF_A_NETWORK if name != "keep_weights"], "without a network")
    else:
        check_backbone(backbone, network, home, layers)
    with _audited(out, home, source, backbone, layers, leaks, selection, network, config) as (images, found):
        from featx.cli.audit_text import tell
        from featx.core.outputs import write_output

        tell(out, found)
        for file in outputs:
            write_output(file, _written(file, source, images, found).encode("utf-8", "backslashreplace"))
            out.say(f"wrote {file}")
        out.result({"source": source, **found.as_dict(), "outputs": list(map(str, outputs))})


def _written(file: Path, source: str, images: AuditedImages, found: Audit) -> str:
    if file.suffix.lower() == ".csv":
        from featx.audit.findings import as_csv

        return as_csv(found.findings())
    from featx.reports.html.audit import audit_page

    return audit_page(found, images, source)


@contextlib.contextmanager
def _audited(
    out: Output,
    home: Path,
    source: str,
    backbone: str | None,
    layers: tuple[LayerSpec, ...],
    leaks: LeaksConfig,
    selection: options.RowSelection,
    network: BackboneConfig,
    config: ExtractConfig,
) -> Iterator[tuple[AuditedImages, Audit]]:
    """Open the images and the network, extract what is missing, and look at all of it."""
    from featx.audit.audit import audit as look_at
    from featx.audit.images import AuditedImages
    from featx.audit.out_of_fold import JudgeConfig
    from featx.cache.memo import Memo
    from featx.data.coverage import check_readable

    memo = Memo(home)
    sources = open_sources(out, source, selection, memo)
    if config.on_error == "raise":
        check_readable(sources.values())
    with AuditedImages(sources, config.workers) as images:
        found = _features(out, home, images, backbone, layers, network, config, memo)
        with out.progress("images") as progress:
            yield images, look_at(images, found, leaks, JudgeConfig(seed=selection.seed), progress)


def _features(
    out: Output,
    home: Path,
    images: AuditedImages,
    backbone: str | None,
    layers: tuple[LayerSpec, ...],
    network: BackboneConfig,
    config: ExtractConfig,
    memo: Memo,
) -> LayersOf:
    import numpy as np

    from featx.audit.audit import LayersOf

    if backbone is None:
        return LayersOf({}, np.empty(0, np.int64))
    from featx.audit.features import audited_features
    from featx.cache.store import FeatureStore

    channels = next(iter(images.sources.values())).channels
    opened = open_backbone(out, backbone, network, channels, memo)
    out.kept = "finished shards are kept in the store, the same command resumes from there"
    with out.progress() as progress:
        found, skipped = audited_features(images, opened, layers, FeatureStore(home), config, progress)
    out.skipped(skipped)
    return found
