"""What a run said of its test images, as its folder keeps it; anyone may have written the files."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from dataclasses import dataclass

from featx.core import atomic
from featx.core.csv_cells import FORMULA
from featx.core.run_folder import Run
from featx.errors import StoreError
from featx.reports.predictions import TABLE_FILE, TABLE_HEADS

MAX_BYTES = 256 << 20


@dataclass(frozen=True)
class Predicted:
    """One test image: its place among them, its id, the names of its class and of the predicted one, and how sure."""

    place: int
    id: str
    label: str
    predicted: str
    probability: float | None

    @property
    def is_right(self) -> bool:
        """Whether the predicted class is the image's own."""
        return self.label == self.predicted


def predicted_by(run: Run) -> list[Predicted]:
    """Return what a run said of its test images; empty where it kept nothing that can be read."""
    with suppress(StoreError, UnicodeError, csv.Error):
        text = atomic.read_bytes(run.path / TABLE_FILE, MAX_BYTES).decode("utf-8")
        lines = csv.DictReader(io.StringIO(text))
        if {*TABLE_HEADS} <= {*(lines.fieldnames or ())}:
            return [_one(i, line) for i, line in enumerate(lines)]
    return []


def _one(place: int, line: dict[str, str | None]) -> Predicted:
    found, label, predicted, share = (line.get(head) or "" for head in TABLE_HEADS)
    return Predicted(place, _plain(found), _plain(label), _plain(predicted), _share(share))


def _plain(cell: str) -> str:
    """Return a cell without the apostrophe that keeps spreadsheets from computing it."""
    return cell[1:] if cell.startswith("'") and cell[1:].lstrip().startswith(FORMULA) else cell


def _share(cell: str) -> float | None:
    with suppress(ValueError):
        value = float(cell)
        return value if 0 <= value <= 1 else None
    return None
