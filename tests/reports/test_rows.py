"""Runs side by side: rows and text."""

from __future__ import annotations

import pytest
from recorded import FIT, TRAIN, rows

from featx.reports.rows import FIELDS, WORD, short_name, to_text


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


def test_words_that_have_no_room_beside_the_numbers_stand_below_unbroken() -> None:
    wide = {**FIT, "layer": "features.denseblock4.denselayer16.conv2:avg"}
    lines = to_text(rows(wide, {**TRAIN, "unfreeze_from": "features.denseblock4"})).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("run"))
    assert lines[at].split() == ["run", "train", "val", "test", "seconds"]
    assert lines[at + 1].split() == ["20260102-030400-fit-a1b0", "0.9123", "0.8765", "0.8700", "110"]
    assert lines[at + 2] == "  features.denseblock4.denselayer16.conv2:avg C=0.01"
    assert lines[at + 4] == "  finetune from features.denseblock4 epochs=10"


def test_text_of_a_record_without_numbers_is_blank_there() -> None:
    row = to_text(rows({"kind": "fit", "accuracy": None, "seconds": 5})).splitlines()[-1]
    assert row.strip() == "20260102-030400-fit-a1b0"


def test_text_escapes_what_strangers_wrote() -> None:
    text = to_text(rows({**FIT, "source": "evil\x1b[31m\nrun 2"}))
    assert "\x1b" not in text
    assert "\\x1b" in "".join(text.split())


def test_text_names_options_that_differ_and_no_others() -> None:
    text = to_text(rows({**TRAIN, "lr": 0.1, "augment": "flip"}, {**TRAIN, "lr": 0.01, "augment": "flip"}))
    assert "lr=0.1" in text
    assert "lr=0.01" in text
    assert "augment" not in text


def test_text_shows_half_of_an_interval() -> None:
    assert "0.8700 ± 0.0100" in to_text([{**rows(FIT)[0], "accuracy_interval": {"test": [0.86, 0.88]}}])


@pytest.mark.parametrize(
    ("source", "said"),
    [("/home/me/photos.zip", "photos.zip"), ("digits", "digits"), ("/a/pets/", "pets"), (None, "an unknown source")],
)
def test_a_source_is_called_by_its_name_without_its_folder(source: str | None, said: str) -> None:
    assert short_name(source) == said
    assert len(short_name("/x/" + "n" * 500)) == WORD
