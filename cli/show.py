"""``featx show``: a sheet of images as a network sees them."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options
from featx.cli.given import refuse
from featx.cli.opening import check_backbone, of_shapes, open_backbone, opening_source
from featx.cli.output import Output
from featx.cli.targets import check_target
from featx.core.specs import BackboneConfig

OF_A_VIEW = ("weights", "stem", "size", "resize", "interpolation", "crops", "flip", "scales")
"""Options that say how a network sees images."""


@click.command
@click.argument("source")
@options.backbone(required=False)
@click.option("-n", "--images", type=click.IntRange(1, 400), default=32, show_default=True, help="How many.")
@options.picture("featx-show.png")
@options.split
@options.root
@options.seed
@options.gather(
    "network",
    BackboneConfig,
    (options.weights("random:0"), options.stem, options.resizing, options.views),
    ("weights", "stem", "size", "resize", "interpolation", "bits", "views"),
)
@options.common
def show(
    out: Output,
    home: Path,
    source: str,
    backbone: str | None,
    images: int,
    output: Path,
    split: str | None,
    root: str | None,
    seed: int,
    network: BackboneConfig,
) -> None:
    """Draw a sheet of images as a network sees them.

    With --backbone they are resized and cropped as for that network, without it they are shown as decoded.
    Labels are shown below. If several views are averaged, each is shown, with a label below the first. No weights
    are loaded; --weights only selects the preprocessing.

    \b
    Examples:
      featx show digits
      featx show photos/ -b resnet18 --size 64 -o sheet.png
    """
    check_target(output, source)
    if backbone is None:
        refuse(OF_A_VIEW, "without --backbone: images are shown as decoded")
    else:
        check_backbone(backbone, of_shapes(backbone, network), home)
    from featx.cache.memo import Memo
    from featx.core.outputs import write_output
    from featx.data.sources import at_bits, load_source

    memo = Memo(home)
    with opening_source(out) as progress:
        found = at_bits(load_source(source, split, root=root, memo=memo, progress=progress), network.bits)
    preprocess, seen = None, "as decoded"
    if backbone is not None:
        opened = open_backbone(out, backbone, of_shapes(backbone, network), found.channels, memo)
        preprocess, seen = opened.preprocess, f"as {opened.name} sees them"
        seen += f" ({network.views})" if str(network.views) else ""
    from featx.data.contact_sheet import draw_sheet, shown_images  # heavy

    images = min(shown_images(images, preprocess), len(found))
    title = f"{found.spec}, {found.split}: {images} of {len(found):,} images, {seen}"
    png, skipped = draw_sheet(found, preprocess, images=images, seed=seed, title=title)
    write_output(output, png)
    out.say(f"wrote {output}")
    out.skipped(skipped)
    out.result({"output": str(output), "images": images, "split": found.split, "skipped": skipped})
