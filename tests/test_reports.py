"""Runs side by side: rows, text, Markdown."""

from __future__ import annotations

from typing import Any

import pytest

from featx.reports import FIELDS, rows_of, to_markdown, to_text

FIT = {
    "kind": "fit",
    "created": "2026-01-02T03:04:05Z",
    "source": "cifar10",
    "backbone": "resnet18",
    "weights": "DEFAULT",
    "layer": "layer4:avg",
    "C": 0.01,
    "accuracy": {"train": 0.91234, "val": 0.8765, "test": 0.87},
    "loss": {"train": 0.2, "val": 0.4, "test": 0.41},
    "seconds": {"extract": 100.0, "read": 0.5, "fit": 9.3, "total": 110.25},
    "columns": 512,
    "bytes": 102_400_000,
    "images": 60_000,
    "seed": 0,
}
TRAIN = {
    **{key: value for key, value in FIT.items() if key not in ("layer", "C", "columns", "bytes")},
    "kind": "train",
    "mode": "finetune",
    "epochs": 10,
    "parameters": {"total": 11_181_642, "trainable": 11_181_642, "frozen": 0},
    "accuracy": {"train": 0.99, "val": 0.95, "test": 0.9501},
    "seconds": {"train": 3000.0, "total": 3175.4},
}


class Recorded:
    """A run that holds its record in memory."""

    def __init__(self, name: str, record: dict[str, Any]) -> None:
        self.id = name
        self.record = record

    def read(self) -> dict[str, Any]:
        return self.record


def rows(*records: dict[str, Any]) -> list[dict[str, Any]]:
    return rows_of(Recorded(f"20260102-03040{i}-{r.get('kind', 'fit')}-a1b{i}", r) for i, r in enumerate(records))


def test_rows_have_every_field_in_the_order_given() -> None:
    found = rows(FIT, TRAIN)
    assert [list(row) for row in found] == [list(FIELDS)] * 2
    assert found[0]["run"] == "20260102-030400-fit-a1b0"
    assert found[0]["accuracy"]["test"] == 0.87
    assert found[0]["mode"] is None
    assert found[1]["parameters"]["trainable"] == 11_181_642


def test_text_shows_what_differs_and_says_once_what_does_not() -> None:
    lines = to_text(rows(FIT, TRAIN)).splitlines()
    assert " ".join(lines[:2]) == (
        "same for all: source=cifar10, backbone=resnet18, weights=DEFAULT, images=60000, seed=0"
    )
    head, fit, train = (line for line in lines if line.startswith(("run", "2026")))
    assert head.split() == ["run", "model", "train", "val", "test", "seconds"]
    assert fit.split() == [
        "20260102-030400-fit-a1b0",
        "layer4:avg",
        "C=0.01",
        "0.9123",
        "0.8765",
        "0.8700",
        "110",
    ]
    assert train.split()[1:3] == ["finetune", "epochs=10"]
    assert train.split()[-2:] == ["0.9501", "3175"]


def test_text_names_in_each_row_what_the_runs_do_not_share() -> None:
    text = to_text(rows(FIT, {**FIT, "source": "digits", "seed": 3}))
    assert "source" not in text.splitlines()[0]
    assert "cifar10" in text
    assert "digits" in text
    assert "seed=3" in text


@pytest.mark.parametrize("n", [1, 2, 5])
def test_text_fits_80_columns_and_loses_no_word(n: int) -> None:
    wide = {
        **FIT,
        "source": "a/very/long/path/to/some/folder/of/photos",
        "layer": "features.denseblock4.x:avg",
    }
    text = to_text(rows(wide, *[TRAIN] * (n - 1)))
    assert max(map(len, text.splitlines())) <= 80
    assert "features.denseblock4.x:avg" in "".join(text.split())


def test_text_of_a_record_without_numbers_is_blank_there() -> None:
    row = to_text(rows({"kind": "fit", "accuracy": None, "seconds": 5})).splitlines()[-1]
    assert row.strip() == "20260102-030400-fit-a1b0"


def test_text_escapes_what_strangers_wrote() -> None:
    text = to_text(rows({**FIT, "source": "evil\x1b[31m\nrun 2"}))
    assert "\x1b" not in text
    assert "\\x1b" in "".join(text.split())


def test_markdown_is_a_table_of_the_filled_columns() -> None:
    lines = to_markdown(rows(FIT, TRAIN)).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    assert {len(line) for line in cells} == {len(cells[0])}
    assert cells[1][0] == "---"
    fit, train = (dict(zip(cells[0], line, strict=True)) for line in cells[2:])
    assert fit["test accuracy"] == "0.8700"
    assert fit["test loss"] == "0.4100"
    assert fit["layer"] == "layer4:avg"
    assert fit["trainable"] == ""
    assert train["trainable"] == "11181642"
    assert "head" not in cells[0]


def test_markdown_escapes_cells() -> None:
    text = to_markdown(rows({**FIT, "source": "a|b<script>&\n*x*_y_`[z](u)\\"}))
    line = text.splitlines()[2]
    assert len(text.splitlines()) == 3
    assert "a\\|b&lt;script&gt;&amp;\\\\n\\*x\\*\\_y\\_\\`\\[z\\](u)\\\\" in line
