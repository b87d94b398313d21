"""The images that a model is wrong about and surest of, as thumbnails, where they can still be found unchanged."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.core.run_folder import Runs
from featx.errors import FeatxError
from featx.reports.html.content import DAMAGE, Content, ReadRun
from featx.reports.html.markup import Safe, esc, joined, name
from featx.reports.html.predicted import Predicted, predicted_by

if TYPE_CHECKING:
    from featx.data.sources import Source

MOST = 24
SIDE = 96
"""So many thumbnails, of so many pixels at most."""

STRANGE = "Images are not shown: the run is none of this home, and what a stranger's record names is not opened."

DATA = "data:image/"
"""What the address of a picture begins with that a page holds itself."""

TINY = 32
"""Images of at most so many pixels keep every one."""


def mistakes(content: Content, home: Path | None) -> Safe:
    """Return the surest mistakes of the most accurate row of each set of test images."""
    parts = []
    for place, run in content.best():
        every = predicted_by(run)
        wrong = [one for one in every if not one.is_right]
        if every:
            head = f"<h3>{name(content.label(place), 120)}</h3>"
            parts.append(f"{head}{_of_run(run, wrong, len(every), home)}")
    return joined(parts)


def _of_run(run: ReadRun, wrong: Sequence[Predicted], total: int, home: Path | None) -> Safe:
    if not wrong:
        return Safe(f'<p class="note">None of the {total:,} test images of run {esc(run.id)} is classified wrong.</p>')
    sorted_by = sorted(wrong, key=lambda one: (-(one.probability or 0.0), one.place))
    shown = sorted_by[:MOST]
    images, why = _images(run, shown, home)
    said = f"{len(wrong):,} of {total:,} test images of run {run.id} are wrong; "
    said += f"here the {len(shown)} that it is surest of."
    items = joined(f"<li>{_item(one, images.get(one.place))}</li>" for one in shown)
    note = f'<p class="note">{esc(said)}{f" {esc(why, 600)}" if why else ""}</p>'
    return Safe(f'{note}<ul class="thumbs">{items}</ul>')


def _item(one: Predicted, image: str | None) -> Safe:
    sure = "" if one.probability is None else f" ({one.probability:.3f})"
    words = f"<strong>{name(one.predicted, 60)}</strong>{sure}, is <strong>{name(one.label, 60)}</strong>"
    return Safe(
        f'<figure>{image or ""}<figcaption>{words}<br><span class="dim">{name(one.id, 80)}</span></figcaption></figure>'
    )


def _images(run: ReadRun, wanted: Sequence[Predicted], home: Path | None) -> tuple[dict[int, str], str]:
    """Return pictures by place, as HTML, and why some cannot be shown."""
    if home is None or run.path.absolute().parent != Runs(home).folder:
        return {}, STRANGE
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what the source holds beside images was said when the run was made
            source = _open(run.record, home)
            found = _pictures(source, _hashes(run), wanted)
    except (FeatxError, OSError, *DAMAGE) as exc:
        why = exc.message if isinstance(exc, FeatxError) else "the record or the predictions are damaged"
        return {}, f"Images cannot be shown: {why}."
    lacking = len(wanted) - len(found)
    return found, f"{lacking} of these images cannot be shown: they changed, or are gone." if lacking else ""


def _open(record: Mapping[str, Any], home: Path) -> Source:
    """Open the split that a run was tested on; nothing is downloaded for it."""
    from featx.cache.memo import Memo
    from featx.data.datasets import is_here
    from featx.data.sources import at_bits, load_splits
    from featx.errors import SourceError

    asked = record.get("asked") if isinstance(record.get("asked"), dict) else {}
    spec = str((asked or {}).get("source") or record["source"])
    if not is_here(spec):
        raise SourceError(f"data set {spec} is not on this machine any more")
    sources = load_splits(spec, root=(asked or {}).get("root"), memo=Memo(home))
    return at_bits(sources[record["splits"]["test"]], (record.get("preprocess") or {}).get("bits"))


def _hashes(run: ReadRun) -> Any:
    from featx.reports.predictions import load_predictions

    return load_predictions(run)["hashes"]


def _pictures(source: Source, hashes: Any, wanted: Sequence[Predicted]) -> dict[int, str]:
    """Return the pictures whose content is what the run was tested on."""
    import numpy as np

    ids = {one.id for one in wanted}
    rows = {name: row for row, name in enumerate(source.ids) if name in ids}
    known = [one for one in wanted if one.id in rows and one.place < len(hashes)]
    if not known:
        return {}
    part = source.subset(np.array([rows[one.id] for one in known], np.int64))
    same = (part.row_hashes() == hashes[[one.place for one in known]]).all(axis=1)
    return {one.place: _picture(part[i][0], one) for i, one in enumerate(known) if same[i]}


def _picture(pixels: Any, one: Predicted) -> str:
    """Return an image as HTML that holds it."""
    from PIL import Image

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    is_tiny = max(image.size) <= TINY
    image.thumbnail((SIDE, SIDE))
    data = io.BytesIO()
    image.save(data, "PNG" if is_tiny else "JPEG", **({"optimize": True} if is_tiny else {"quality": 80}))
    kind, text = "png" if is_tiny else "jpeg", base64.b64encode(data.getvalue()).decode("ascii")
    alt = f"test image of class {one.label}"
    mark = ' class="tiny"' if is_tiny else ""
    size = f'width="{image.width}" height="{image.height}"'
    return f'<img{mark} {size} alt="{esc(alt, 100)}" src="{DATA}{kind};base64,{text}">'
