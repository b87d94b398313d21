"""Runs as tables for documents: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io

import pytest
from recorded import FIT, TRAIN, rows

from featx.report_tables import to_csv, to_latex, to_markdown

NASTY = 'a|b<script>&\n*x*_y_`[z](u)\\~^$%#{}"'


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
    assert train["trainable"] == "11,181,642"
    assert "head" not in cells[0]


def test_markdown_escapes_cells() -> None:
    text = to_markdown(rows({**FIT, "source": "a|b<script>&\n*x*_y_`[z](u)\\"}))
    line = text.splitlines()[2]
    assert len(text.splitlines()) == 3
    assert "a\\|b&lt;script&gt;&amp;\\\\n\\*x\\*\\_y\\_\\`\\[z\\](u)\\\\" in line


def test_what_a_network_costs_fills_columns_of_its_own() -> None:
    slow = {
        **TRAIN,
        "parameters": {"total": 15_124_488, "trainable": 409_800, "frozen": 14_714_688},
        "parameter_bytes": {"total": 60_497_952, "trainable": 1_639_200, "frozen": 58_858_752},
        "inference": {"ms_per_image": 0.2144, "images_per_second": 4664.2},
        "seconds_per_epoch": 7.7,
        "processor": "NVIDIA A100-SXM4-40GB",
    }
    (line,) = csv.DictReader(io.StringIO(to_csv(rows(slow))))
    assert [line[name] for name in ("parameters", "trainable", "frozen")] == ["15124488", "409800", "14714688"]
    head, _, body = (row.strip("| ").split(" | ") for row in to_markdown(rows(slow)).splitlines())
    shown = dict(zip(head, body, strict=True))
    assert [shown[n] for n in ("MB", "trainable MB", "frozen MB")] == ["60.50", "1.64", "58.86"]
    assert [shown[n] for n in ("ms/image", "images/s", "s/epoch")] == ["0.2144", "4,664", "7.70"]
    assert shown["processor"] == "NVIDIA A100-SXM4-40GB"


@pytest.mark.parametrize("write", [to_markdown, to_latex, to_csv])
def test_options_are_columns_where_they_differ(write: object) -> None:
    assert callable(write)
    one, other = {**TRAIN, "lr": 0.1, "augment": "flip"}, {**TRAIN, "lr": 0.01, "augment": "flip"}
    head = write(rows(one, other)).replace("toprule\n", "").splitlines()
    assert any("lr" in line for line in head[:3])
    assert not any("augment" in line for line in head)


def test_csv_gives_numbers_in_full_and_quotes_what_strangers_wrote() -> None:
    text = to_csv(rows({**FIT, "source": 'a,b"c\nd'}))
    (line,) = csv.DictReader(io.StringIO(text))
    assert line["train accuracy"] == "0.91234"
    assert line["source"] == 'a,b"c\\nd'


def test_latex_escapes_cells() -> None:
    line = to_latex(rows({**FIT, "source": NASTY})).splitlines()[4]
    assert (
        r"a\textbar{}b\textless{}script\textgreater{}\&\textbackslash{}n*x*\_y\_`[z](u)"
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\$\%\#\{\}\textquotedbl{}"
    ) in line
    assert line.endswith(r"\\")


def test_every_line_of_latex_has_as_many_cells() -> None:
    lines = to_latex(rows(FIT, TRAIN)).splitlines()
    align = lines[0].rpartition("{")[2].rstrip("}")
    assert {line.replace(r"\&", "").count("&") + 1 for line in lines if line.endswith(r"\\")} == {len(align)}
