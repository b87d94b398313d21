"""A sheet of images as a network sees them, labels under them: the quickest check of a source and a preprocessing."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from featx.core.specs import PreprocessSpec, Views
from featx.data.decoding import Pixels, prepare_views
from featx.data.sources import Source, at_bits
from featx.data.splits import subsample
from featx.errors import ImageError, SourceError

COLUMNS = 8
TILE_INCHES = 1.4
LABEL_CHARACTERS = 18
TITLE_CHARACTERS = 18
"""Of the title, above each tile's width."""

TILES = 120
"""Most tiles of a sheet with several views an image: fewer images are shown, so that one need not wait for it."""

PLACES = ("centre", "top left", "top right", "bottom left", "bottom right")
"""What `prepare_views` gives at each scale."""


def draw_sheet(
    source: Source, preprocess: PreprocessSpec | None, *, images: int, seed: int, title: str
) -> tuple[bytes, list[dict[str, str]]]:
    """Draw some images, stratified by class, after resizing and cropping and before normalisation.

    Each view that is averaged has a tile; the label is shown below an image's first one.

    Parameters
    ----------
    source : Source
        Of the images.
    preprocess : PreprocessSpec or None
        What they go through; None shows them as they were decoded.
    images : int
        How many; see `shown_images`.
    seed : int
        Which.
    title : str
        Above the sheet.

    Returns
    -------
    bytes
        A PNG.
    list of dict
        ``id`` and ``reason`` of images that cannot be decoded; their tiles are crossed out.
    """
    views = preprocess.views if preprocess else Views()
    source = at_bits(source, preprocess.bits if preprocess else None)
    names, width = _view_names(views), _columns(views)
    rows = subsample(source.ids, source.labels, limit=images, seed=seed)
    height = math.ceil(len(rows) * len(names) / width)
    above = textwrap.wrap(title, width * TITLE_CHARACTERS)
    inches = height * (TILE_INCHES + 0.35) + 0.4 + 0.2 * len(above)
    figure = Figure(figsize=(width * TILE_INCHES, inches), layout="constrained")
    FigureCanvasAgg(figure)
    # Names are untrusted: a dollar sign in one is not a formula.
    figure.suptitle("\n".join(above), parse_math=False, fontsize=10)
    skipped = []
    tiles = figure.subplots(height, width, squeeze=False).ravel()
    for axes in tiles:
        axes.set_axis_off()
    for axes, row in zip(np.split(tiles, range(len(names), len(tiles), len(names))), map(int, rows), strict=False):
        try:
            pictures = list(_pictures(source, row, preprocess))
        except ImageError as exc:
            skipped.append({"id": source.ids[row], "reason": exc.reason})
            _cross_out(axes[0])
            continue
        for tile, picture, name in zip(axes, pictures, [_label(source, row), *names[1:]], strict=True):
            tile.imshow(picture, interpolation="nearest", vmin=0, vmax=255, cmap="gray")
            tile.set_title(name, y=-0.2, fontsize=8, parse_math=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    return png.getvalue(), skipped


def shown_images(images: int, preprocess: PreprocessSpec | None) -> int:
    """Return how many images a sheet shows if this many are wanted: all, or what `TILES` allows with several views."""
    views = len(_view_names(preprocess.views)) if preprocess else 1
    return images if views == 1 else min(images, max(1, TILES // views))


def _view_names(views: Views) -> list[str]:
    """Return a name for each view of an image, in the order of `_pictures`."""
    scales = [f" x {scale:g}" if len(views.scales) > 1 else "" for scale in views.scales]
    places = [name for place in PLACES[: views.crops] for name in (place, *["mirrored"] * views.flip)]
    return [place + scale for scale in scales for place in places]


def _columns(views: Views) -> int:
    """Return how many tiles stand side by side: whole images, else the views of one scale."""
    a_scale = views.crops * (1 + views.flip)
    an_image = a_scale * len(views.scales)
    return COLUMNS // an_image * an_image or COLUMNS // a_scale * a_scale or a_scale


def _pictures(source: Source, row: int, preprocess: PreprocessSpec | None) -> Iterator[Pixels]:
    image, _ = source[row]
    if image.shape[2] not in (1, 3):
        raise SourceError(
            f"images of {source.spec} have {image.shape[2]} channels, expected 1 or 3", "select three of them"
        )
    flip = preprocess is not None and preprocess.views.flip
    for view in [image] if preprocess is None else prepare_views(image, preprocess, source.ids[row]):
        picture = np.squeeze(view, 2) if view.shape[2] == 1 else view
        yield from (picture, picture[:, ::-1]) if flip else (picture,)


def _cross_out(axes: Axes) -> None:
    axes.plot([0, 1], [0, 1], [0, 1], [1, 0], color="#aa3333")
    axes.set_box_aspect(1)
    axes.set_title("cannot be decoded", y=-0.2, fontsize=8)


def _label(source: Source, row: int) -> str:
    label = source.labels[row]
    name = source.classes[label] if label >= 0 else source.ids[row]
    shown = "".join(c if c.isprintable() else "?" for c in name)
    return shown if len(shown) <= LABEL_CHARACTERS else shown[: LABEL_CHARACTERS - 1] + "…"
