"""An audit as one HTML page: findings with their images, what can be done, and the numbers."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from featx.audit.audit import Audit
from featx.audit.findings import Finding
from featx.audit.images import AuditedImages
from featx.reports.html.markup import Safe, esc, joined, listed, name, within
from featx.reports.html.page import document
from featx.reports.html.tables import table

SHOWN = 60
"""Findings of a kind that are shown with their images."""

THUMBNAIL_BYTES = 1_500_000
"""Of all images of one kind of finding."""

HEADINGS = {
    "exact": "The same file",
    "same pixels": "The same pixels in another encoding",
    "near": "The same shot",
    "label": "Doubtful labels",
    "outlier": "Far from all others",
}
"""By kind of finding, in the page's order; others come after them under their own names."""


def audit_page(found: Audit, images: AuditedImages, source: str) -> str:
    """Return the page; names are escaped, and images are in it.

    Parameters
    ----------
    found : Audit
        What was found.
    images : AuditedImages
        Looked at: their thumbnails are shown.
    source : str
        What it is of; of a path the last part is shown.
    """
    rows = {(split, image): row for row, (split, image) in enumerate(zip(images.splits, images.ids, strict=True))}
    by_kind: dict[str, list[Finding]] = {kind: [] for kind in HEADINGS}
    for finding in found.findings():
        by_kind.setdefault(finding.kind, []).append(finding)
    parts = [_summary(found, by_kind), _scores(found)]
    parts += [_kind(kind, some, images, rows) for kind, some in by_kind.items() if some]
    parts += [_classes(found), _confused(found)]
    shown = Path(source).name or source
    return document(f"featx audit of {shown}", joined(parts))


def _summary(found: Audit, by_kind: dict[str, list[Finding]]) -> Safe:
    splits = ", ".join(f"{esc(split)} {rows:,}" for split, rows in found.rows.items())
    across = sum(leak.crosses for leak in found.leaks.pairs)
    lines = [Safe(f"{splits} images; features: {', '.join(esc(layer) for layer in found.layers)}")]
    lines += [Safe(f"{esc(HEADINGS.get(kind, kind))}: {len(some):,}") for kind, some in by_kind.items()]
    lines.append(Safe(f"Pairs of the same image or shot across splits: {across:,}"))
    if found.leaks.left_out:
        lines.append(Safe(f"Pairs whose pixels were not compared (--most): {found.leaks.left_out:,}"))
    return joined([listed(lines, kind="answer"), *(f'<p class="note">{esc(line, 600)}</p>' for line in found.notes)])


def _scores(found: Audit) -> Safe:
    scores = found.scores
    if scores is None:
        return Safe("")
    lines = [
        ["all", f"{scores.rows:,}", f"{scores.accuracy:.4f}"],
        ["without leaked ones", f"{scores.rows - scores.leaked:,}", f"{scores.without:.4f}"],
    ]
    heading = "<h2>Scores with and without leaked test images</h2>"
    shown = table(
        "Softmax regression on the first layer", ["test images", "rows", "accuracy"], lines, [True, False, False]
    )
    return Safe(f"{heading}{shown}<p>{esc(scores.said(), 400)}</p>")


def _kind(kind: str, some: Sequence[Finding], images: AuditedImages, rows: dict[tuple[str, str], int]) -> Safe:
    items = [_item(finding, images, rows) for finding in some[:SHOWN]]
    kept, _ = within(items, THUMBNAIL_BYTES)
    said = f"{len(some):,} in all, of which {len(kept):,} are shown" if len(kept) < len(some) else f"{len(some):,}"
    more = "; -o findings.csv and --json have all" if len(kept) < len(some) else ""
    cells = "".join(f"<li>{item}</li>" for item in kept)
    heading = esc(HEADINGS.get(kind, kind.capitalize()))
    return Safe(f'<h2>{heading}</h2><p class="note">{said}{more}.</p><ul class="thumbs">{cells}</ul>')


def _item(finding: Finding, images: AuditedImages, rows: dict[tuple[str, str], int]) -> str:
    numbers = [rows[where] for where in zip(finding.splits, finding.ids, strict=True)]
    pictures = "".join(_picture(small) for small in images.thumbnails(numbers))
    places = "<br>".join(
        f'{_beside(split, image)}<span class="dim">{name(image, 80)}</span>'
        for split, image in zip(finding.splits, finding.ids, strict=True)
    )
    score = f"{finding.score:.3f}: " if finding.score else ""
    return f"<figure>{pictures}<figcaption>{places}<br>{score}{esc(finding.remedy)}</figcaption></figure>"


def _beside(split: str, image: str) -> Safe:
    """Return what tells an image's split, unless its id begins with it."""
    return Safe("") if image.startswith(f"{split}/") else Safe(f"{esc(split)} ")


def _picture(small: Any) -> str:
    data = io.BytesIO()
    Image.fromarray(np.moveaxis(small, 0, 2)).save(data, "PNG")
    text = base64.b64encode(data.getvalue()).decode("ascii")
    return f'<img class="tiny" width="32" height="32" alt="" src="data:image/png;base64,{text}">'


def _classes(found: Audit) -> Safe:
    splits = list(found.rows)
    lines = [
        [name(one.name, 80), *(f"{one.rows.get(split, 0):,}" for split in splits), esc("; ".join(one.remarks))]
        for one in found.classes.classes
    ]
    heads = ["class", *splits, "remark"]
    words = [True, *(False for _ in splits), True]
    return joined(["<h2>Classes</h2>", table("Images by class and split", heads, lines, words), *_silent(found)])


def _silent(found: Audit) -> Iterator[Safe]:
    for layer, columns in found.columns.items():
        if columns.dead or columns.constant:
            zero = f"{len(columns.dead)} of {columns.columns} columns are zero in every image"
            yield Safe(f'<p class="note">{esc(layer)}: {zero}, {len(columns.constant)} constant.</p>')


def _confused(found: Audit) -> Safe:
    if found.labels is None or not found.labels.confused:
        return Safe("")
    heads = list(found.labels.confused[0].__dataclass_fields__)
    lines = [
        [name(value, 80) if isinstance(value, str) else f"{value:.4g}" for value in vars(pair).values()]
        for pair in found.labels.confused[:SHOWN]
    ]
    words = [isinstance(value, str) for value in vars(found.labels.confused[0]).values()]
    return joined(["<h2>Classes taken for others</h2>", table("By confident learning", heads, lines, words)])
