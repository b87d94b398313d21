"""``featx show``: a sheet of images as a network sees them."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options
from featx.cli.extract import check_target
from featx.cli.opening import open_backbone
from featx.cli.output import Output
from featx.specs import ExtractConfig


@click.command
@click.argument("source")
@options.backbone(required=False)
@click.option("-n", "--images", type=click.IntRange(1, 400), default=32, show_default=True, help="How many.")
@options.picture("featx-show.png")
@options.split
@options.seed
@options.weights("random:0")
@options.size
@options.resize
@options.interpolation
@options.common
def show(
    out: Output,
    home: Path,
    source: str,
    backbone: str | None,
    images: int,
    output: Path,
    split: str | None,
    seed: int,
    weights: str,
    size: int | None,
    resize: str | None,
    interpolation: str | None,
) -> None:
    """Write a sheet of images, as a network sees them.

    With --backbone they are resized and cropped as for that network, without it they are shown as decoded.
    Labels stand under them. No weights are needed; --weights only says whose preprocessing is meant.

    \b
    Examples:
      featx show digits
      featx show photos/ -b resnet18 --size 64 -o sheet.png
    """
    check_target(output, source)
    from featx.cache.atomic import write_bytes
    from featx.cache.memo import Memo
    from featx.sheet import draw_sheet
    from featx.sources import load_source

    memo = Memo(home)
    found = load_source(source, split, memo=memo)
    network = None
    if backbone is not None:
        config = ExtractConfig(weights=weights, size=size, resize=resize, interpolation=interpolation)
        network = open_backbone(out, backbone, config, found.channels, memo)
    seen = "as decoded" if network is None else f"as {network.name} sees them"
    title = f"{source}, {found.split}: {min(images, len(found))} of {len(found):,} images, {seen}"
    png, skipped = draw_sheet(
        found, None if network is None else network.preprocess, images=images, seed=seed, title=title
    )
    write_bytes(output, png)
    out.say(f"wrote {output}")
    out.skipped(skipped)
    out.result({"output": str(output), "images": min(images, len(found)), "split": found.split, "skipped": skipped})
