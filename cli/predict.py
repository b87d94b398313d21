"""``featx predict``: what a run's model says of images."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.completion import complete_run
from featx.cli.opening import opening_source
from featx.cli.output import Output
from featx.cli.predict_mistakes import write_mistakes
from featx.cli.text import counted
from featx.core.backbone_names import is_run
from featx.core.specs import ExtractConfig, OnError
from featx.errors import OptionError, printable

if TYPE_CHECKING:
    from featx.runs.predict import Prediction
    from featx.runs.predictors import Predictor

FORMATS = ("text", "csv")


@click.command
@click.argument("run", shell_complete=complete_run)
@click.argument("images", metavar="[IMAGE]...", nargs=-1)
@click.option("--top", type=click.IntRange(min=1), metavar="K", default=1, show_default=True, help="Classes per image.")
@options.choice("--format", FORMATS, "text", "Format of the table.")
@click.option(
    "--mistakes",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the run's own misclassified test images to a .csv, the most confident first; takes no IMAGE.",
)
@options.split
@options.root
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N images, in the classes' proportions.")
@click.option(
    "--weights",
    metavar="FILE",
    help="File with the weights that the run was fitted on, if they have moved; they must be the same.",
)
@options.batch_size(text=f"Images per batch.{options.BY_SIZE}")
@options.device
@options.workers
@options.on_error
@options.common
def predict(
    out: Output,
    home: Path,
    run: str,
    images: tuple[str, ...],
    top: int,
    format: str,
    mistakes: Path | None,
    split: str | None,
    root: str | None,
    limit: int | None,
    weights: str | None,
    batch_size: int | None,
    device: str,
    workers: int | None,
    on_error: OnError,
) -> None:
    """Predict the classes of images with a run's model.

    RUN is the id, or the folder, of a run of `featx fit` or `featx train`; IMAGE an image file, a folder, an archive
    or any other source. Images are preprocessed as the run's were. If a source has labels that the run knows, the
    accuracy is shown. A run that depends on a weights file expects it at its old path; --weights gives a new one (also
    run:ID). --mistakes needs neither images nor weights: the run kept what it said of its test images.

    \b
    Examples:
      featx predict 20261121 photo.jpg scan.png
      featx predict 20261121 photos.zip --top 3 --format csv > photos.csv
      featx predict 20261121 --mistakes mistakes.csv
    """
    from featx.cache.memo import Memo
    from featx.core.run_folder import Runs
    from featx.data.coverage import check_readable
    from featx.runs import predict as engine

    if mistakes is not None:
        return write_mistakes(out, Runs(home).open(run), images, mistakes)
    if not images:
        raise OptionError("no image was given to predict", "give IMAGE..., or --mistakes for the run's own test images")
    if out.json and format != FORMATS[0]:
        raise OptionError(f"--json and --format {format} were given", "leave one of them out")
    memo, found = Memo(home), Runs(home).open(run)
    if weights is not None and not is_run(weights) and not Path(weights).expanduser().is_file():
        engine.open_predictor(found, memo, weights)  # says which ones are wanted, before the images are opened
    config = ExtractConfig(batch_size=batch_size, device=device, workers=workers, on_error=on_error)
    with opening_source(out) as progress:
        sources = engine.image_sources(images, split, root=root, memo=memo, progress=progress)
    predictor = engine.open_predictor(found, memo, weights)
    check_device(predictor, found.id, device)
    offered = sum(map(len, sources))
    sources = sources if limit is None else engine.limited(sources, limit)
    if on_error == "raise":
        check_readable(sources)
    left_out = offered - sum(map(len, sources))
    if left_out:
        out.note(f"{offered - left_out} of {counted(offered, 'image', 'images')}, limited by --limit")
    top = min(top, len(predictor.classes))
    tally = Tally(frozenset(predictor.classes))
    with out.progress() as progress:
        every = (p for s in sources for p in engine.predict(predictor, s, top=top, config=config, progress=progress))
        kept: list[Prediction] = []
        if format == "csv":
            for line in csv_lines(tally.count(every), top):
                click.echo(line, nl=False)
        else:
            kept += tally.count(every)
    if format == "text":
        show(out, kept, top)
    tell = out.note if format == "csv" else out.say
    if tally.labelled:
        share = tally.right / tally.labelled
        tell(f"accuracy {share:.4f} of {counted(tally.labelled, 'image', 'images')} with a label")
    if tally.foreign:
        out.note(f"{counted(tally.foreign, 'image has', 'images have')} a label that the run does not know")
    out.skipped(tally.skipped, beside=format == "csv")
    predictions = [document(p) for p in kept if not p.reason]
    return out.result({"run": found.id, "predictions": predictions, **tally.as_dict(), "left_out": left_out})


def check_device(predictor: Predictor, run: str, device: str) -> None:
    """Raise OptionError if a device is given that the run's model does not use."""
    if device not in ("auto", "cpu") and not predictor.uses_device:
        raise OptionError(
            f"run {run} was fitted on pixels, --device {device} would have no effect", "leave --device out"
        )


class Tally:
    """Counts predictions as they pass by.

    Parameters
    ----------
    known : frozenset of str
        The run's classes.

    Attributes
    ----------
    labelled, right, foreign : int
        Images with a label that the run knows; those of them that were predicted right; images with another label.
    skipped : list of dict
        ``id`` and ``reason``.
    """

    def __init__(self, known: frozenset[str]) -> None:
        self._known = known
        self.labelled = self.right = self.foreign = 0
        self.skipped: list[dict[str, str]] = []

    def count(self, predictions: Iterable[Prediction]) -> Iterator[Prediction]:
        """Give the predictions on."""
        for one in predictions:
            if one.reason:
                self.skipped.append({"id": one.id, "reason": one.reason})
            elif one.label in self._known:
                self.labelled += 1
                self.right += one.label == one.classes[0]
            elif one.label is not None:
                self.foreign += 1
            yield one

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` says at the end."""
        accuracy = self.right / self.labelled if self.labelled else None
        return {"accuracy": accuracy, "labelled": self.labelled, "skipped": self.skipped}


def document(one: Prediction) -> dict[str, Any]:
    """Return a prediction's JSON entry."""
    return {name: value for name, value in asdict(one).items() if name != "reason"}


def show(out: Output, predictions: list[Prediction], top: int) -> None:
    """Print a line an image, for people."""
    labels = any(one.label is not None for one in predictions)
    ranked = [name for k in range(top) for name in (f"class{_rank(k)}", f">probability{_rank(k)}")]
    columns = ["image", *ranked, *["label"] * labels]
    rows = [
        [one.id, *_cells(one), *[one.label if one.label is not None else ""] * labels]
        for one in predictions
        if not one.reason
    ]
    if rows:
        out.table(columns, rows)


def csv_lines(predictions: Iterable[Prediction], top: int) -> Iterator[str]:
    """Give the lines of a CSV table as the predictions come: id, classes and probabilities, label."""
    ranked = [name for k in range(top) for name in (f"class{_rank(k)}", f"probability{_rank(k)}")]
    yield _csv_line(["image", *ranked, "label"])
    for one in predictions:
        if not one.reason:
            yield _csv_line([one.id, *_cells(one, ".6g"), one.label or ""])


def _cells(one: Prediction, style: str = ".4f") -> list[str]:
    pairs = zip(one.classes, one.probabilities, strict=True)
    return [cell for name, share in pairs for cell in (name, "" if math.isnan(share) else format(share, style))]


def _rank(k: int) -> str:
    return f"_{k + 1}" if k else ""


def _csv_line(cells: list[str]) -> str:
    # Names are untrusted: a control character in one must not reach a terminal.
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(printable, cells))
    return line.getvalue()
