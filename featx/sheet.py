"""A sheet of images as a network sees them, labels under them: the quickest check of a source and a preprocessing."""

from __future__ import annotations

import io
import math

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from featx.errors import ImageError
from featx.images import Pixels, prepare
from featx.sources import Source
from featx.specs import PreprocessSpec
from featx.splits import thin

COLUMNS = 8
TILE_INCHES = 1.4
LABEL_CHARACTERS = 18


def draw_sheet(
    source: Source, preprocess: PreprocessSpec | None, *, images: int, seed: int, title: str
) -> tuple[bytes, list[dict[str, str]]]:
    """Draw some images, stratified by class, after resizing and cropping and before normalisation.

    Parameters
    ----------
    source : Source
        Of the images.
    preprocess : PreprocessSpec or None
        What they go through; None shows them as they were decoded.
    images : int
        How many.
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
    rows = thin(source.ids, source.labels, limit=images, seed=seed)
    height = math.ceil(len(rows) / COLUMNS)
    figure = Figure(figsize=(COLUMNS * TILE_INCHES, height * (TILE_INCHES + 0.35) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    # Names come from strangers: a dollar sign in one is no formula.
    figure.suptitle(title, parse_math=False, fontsize=10)
    skipped = []
    for axes, row in zip(
        figure.subplots(height, COLUMNS, squeeze=False).flat, [*rows, *[None] * COLUMNS], strict=False
    ):
        axes.set_axis_off()
        if row is None:
            continue
        try:
            picture = _picture(source, int(row), preprocess)
        except ImageError as exc:
            skipped.append({"id": source.ids[row], "reason": exc.message})
            axes.plot([0, 1], [0, 1], [0, 1], [1, 0], color="#aa3333")
            axes.set_box_aspect(1)
            axes.set_title("cannot be decoded", y=-0.2, fontsize=8)
            continue
        axes.imshow(picture, interpolation="nearest", vmin=0, vmax=255, cmap="gray")
        axes.set_title(_label(source, int(row)), y=-0.2, fontsize=8, parse_math=False)
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110, metadata={"Software": None})
    return png.getvalue(), skipped


def _picture(source: Source, row: int, preprocess: PreprocessSpec | None) -> Pixels:
    image, _ = source[row]
    if preprocess is not None:
        image = prepare(image, preprocess, source.ids[row])
    return np.squeeze(image, 2) if image.shape[2] == 1 else image


def _label(source: Source, row: int) -> str:
    label = source.labels[row]
    name = source.classes[label] if label >= 0 else source.ids[row]
    shown = "".join(c if c.isprintable() else "?" for c in name)
    return shown if len(shown) <= LABEL_CHARACTERS else shown[: LABEL_CHARACTERS - 1] + "…"
