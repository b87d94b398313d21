"""Runs as tables for documents: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
import re

import pytest
from recorded import FIT, TRAIN, rows

from featx.core.metrics import SCALARS
from featx.errors import OptionError
from featx.reports.columns import SCORES, available
from featx.reports.formats import to_columns, to_csv, to_latex, to_markdown, values

NASTY = 'a|b<script>&\n*x*_y_`[z](u)\\~^$%#{}"'


def tables(text: str) -> list[list[dict[str, str]]]:
    """Return the rows of each Markdown table, by its heads."""
    found = []
    for block in text.split("\n\n"):
        cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in block.splitlines() if line[:2] == "| "]
        if cells:
            assert {len(line) for line in cells} == {len(cells[0])}
            assert set("".join(cells[1])) <= {"-", ":"}
            found.append([dict(zip(cells[0], line, strict=True)) for line in cells[2:]])
    return found


def joined(text: str) -> list[dict[str, str]]:
    """Return each run's cells of all tables."""
    return [{k: v for part in row for k, v in part.items()} for row in zip(*tables(text), strict=True)]


def test_markdown_is_a_table_of_the_filled_columns() -> None:
    text = to_markdown(rows(FIT, TRAIN))
    fit, train = joined(text)
    assert fit["test accuracy"] == "0.8700"
    assert fit["test loss"] == "0.4100"
    assert fit["layer"] == "layer4:avg"
    assert fit["trainable"] == ""
    assert train["trainable"] == "11,181,642"
    assert "head" not in fit
    assert max(map(len, text.splitlines())) <= 110


def test_what_is_the_same_for_all_stands_above_the_table() -> None:
    text = to_markdown(rows(FIT, {**FIT, "C": 1.0}))
    assert " ".join(text.split("\n\n")[0].split()) == (
        "Same for all 2: source cifar10; images 60000; seed 0; backbone resnet18; weights DEFAULT; layer layer4:avg; "
        "columns 512; bytes 102400000."
    )
    assert {"source", "seed", "weights", "columns"}.isdisjoint(joined(text)[0])
    assert [row["C"] for row in joined(text)] == ["0.01", "1"]
    latex = to_latex(rows(FIT, {**FIT, "C": 1.0}))
    assert latex.index("backbone resnet18") < latex.index(r"\begin{tabular}")


def test_scores_stay_in_the_table_where_they_are_the_same() -> None:
    assert [row["test accuracy"] for row in joined(to_markdown(rows(FIT, FIT)))] == ["0.8700", "0.8700"]


def test_balanced_accuracy_is_shown_unasked_where_it_is_another_than_accuracy() -> None:
    even, uneven = ({**FIT, "balanced_accuracy": {"test": value}, "macro_f1": {"test": 0.5}} for value in (0.86, 0.6))
    assert "balanced" not in to_markdown(rows(even, FIT))
    shown = joined(to_markdown(rows(even, {**uneven, "C": 1.0}, FIT)))
    assert [row["test balanced accuracy"] for row in shown] == ["0.8600", "0.6000", ""]
    assert "macro F1" not in to_csv(rows(uneven))


def test_a_table_wider_than_a_page_goes_on_with_its_rows_numbered() -> None:
    wide = [{**TRAIN, "lr": 0.1 * i, "augment": "flip" * i, "layer": "features.denseblock4" * i} for i in (1, 2)]
    text = to_markdown(rows(*wide))
    assert len(tables(text)) > 1
    assert all([row["#"] for row in table] == ["1", "2"] for table in tables(text))
    assert max(map(len, text.splitlines())) <= 110
    assert {"run", "lr", "augment", "layer", "test accuracy", "seconds"} <= set(joined(text)[0])
    latex = to_latex(rows(*wide))
    assert latex.count(r"\begin{tabular}") > 1
    assert latex.count("% 20260102-030400-train-a1b0") == 1


def test_sources_are_told_by_name_with_the_folders_that_tell_them_apart() -> None:
    names = ["/home/ann/data/photos.zip", "/home/ann/a/pets", "/home/ann/b/pets", "digits"]
    found = joined(to_markdown(rows(*({**FIT, "source": name} for name in names))))
    assert [row["source"] for row in found] == ["photos.zip", "a/pets", "b/pets", "digits"]
    assert "/home" not in to_latex(rows(*({**FIT, "source": name, "weights": name} for name in names)))
    assert "/home/ann/a/pets" in to_csv(rows(*({**FIT, "source": name} for name in names)))


def test_columns_that_are_asked_for_stand_in_their_order_and_in_one_table() -> None:
    names = ["test_accuracy", "Layer", "source", "seconds", "backbone", "weights", "run", "train accuracy", "bytes"]
    text = to_markdown(rows(FIT, FIT), names)
    heads = ["test accuracy", "layer", *names[2:]]
    assert [list(row) for row in tables(text)[0]] == [heads, heads]
    assert len(text.splitlines()) == 4
    assert to_csv(rows(FIT), ["layer", "C"]) == "layer,C\nlayer4:avg,0.01\n"
    assert values(rows(FIT), ["val loss", "mode"]) == [{"val loss": 0.4, "mode": None}]
    shown = to_columns(rows(FIT, FIT), names).splitlines()
    assert max(map(len, shown)) <= 80
    with pytest.raises(OptionError, match="no column 'test acuracy'") as caught:
        to_latex(rows(FIT), ["test acuracy"])
    assert "test accuracy" in caught.value.hint


def test_intervals_stand_behind_their_scores_where_programs_read() -> None:
    many = {**rows(FIT)[0], "accuracy_interval": {"test": [0.8, 0.94]}, "loss_interval": {"test": [0.4, 0.42]}}
    both = [many, *rows(FIT)]
    lines = list(csv.DictReader(io.StringIO(to_csv(both))))
    heads = list(lines[0])
    assert heads[heads.index("test accuracy") + 1] == "test accuracy interval"
    assert [line["test loss interval"] for line in lines] == ["[0.4, 0.42]", ""]
    assert "train accuracy interval" not in heads
    assert "interval" not in to_csv(rows(FIT))
    assert "interval" not in to_markdown(both)
    names = ["test_accuracy_interval", "test accuracy"]
    assert values(both, names) == [
        {"test accuracy interval": [0.8, 0.94], "test accuracy": 0.87},
        {"test accuracy interval": None, "test accuracy": 0.87},
    ]
    assert values(both, ["test accuracy"])[0] == {"test accuracy": 0.87, "test accuracy interval": [0.8, 0.94]}
    assert "0.8000 to 0.9400" in to_columns(both, names)


def test_markdown_escapes_cells() -> None:
    text = to_markdown(rows({**FIT, "source": "a|b<script>&\n*x*_y_`[z](u)\\"}), ["run", "source"])
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
    shown = joined(to_markdown(rows(slow, {**slow, "parameters": {}, "parameter_bytes": {}, "processor": "x"})))[0]
    assert [shown[n] for n in ("MB", "trainable MB", "frozen MB")] == ["60.50", "1.64", "58.86"]
    assert [shown[n] for n in ("ms/image", "images/s", "s/epoch")] == ["0.2144", "4,664", "7.70"]
    assert shown["processor"] == "NVIDIA A100-SXM4-40GB"


@pytest.mark.parametrize("write", [to_markdown, to_latex, to_csv])
def test_options_are_columns_where_they_differ(write: object) -> None:
    assert callable(write)
    one, other = {**TRAIN, "lr": 0.1, "augment": "flip"}, {**TRAIN, "lr": 0.01, "augment": "flip"}
    lines = [re.split(r" \| | & |,| \\\\", line.strip("| ")) for line in write(rows(one, other)).splitlines()]
    heads = next(cells for cells in lines if "lr" in cells)
    body = [cells for cells in lines[lines.index(heads) + 1 :] if len(cells) == len(heads)]
    column = [cells[heads.index("lr")] for cells in body]
    assert [text for text in column if text[:1].isdigit()] == ["0.1", "0.01"]
    assert not any("augment" in cells for cells in lines)


def test_csv_gives_numbers_in_full_and_quotes_what_strangers_wrote() -> None:
    text = to_csv(rows({**FIT, "source": 'a,b"c\nd'}))
    (line,) = csv.DictReader(io.StringIO(text))
    assert line["train accuracy"] == "0.91234"
    assert line["source"] == 'a,b"c\\nd'


def test_csv_holds_no_formula_that_a_spreadsheet_would_compute() -> None:
    formulas = ["=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", " =1", "a=1", "-1e"]
    text = to_csv(rows(*({**FIT, "source": name} for name in formulas)), ["source", "C"])
    found = [line[0] for line in csv.reader(io.StringIO(text))][1:]
    assert found == ["'=HYPERLINK(1)", "'+1", "'-1", "'@SUM(A1)", "' =1", "a=1", "'-1e"]
    assert to_csv([{"C": -1.0}], ["C"]) == "C\n-1.0\n"


def test_latex_escapes_cells() -> None:
    line = to_latex(rows({**FIT, "source": NASTY}), ["run", "source"]).splitlines()[4]
    assert (
        r"a\textbar{}b\textless{}script\textgreater{}\&\textbackslash{}n*x*\_y\_\textasciigrave{}[z](u)"
        r"\textbackslash{}\textasciitilde{}\textasciicircum{}\$\%\#\{\}\symbol{34}"
    ) in line
    assert line.endswith(r"\\")


@pytest.mark.parametrize("name", ["*.zip", "[old]"])
def test_a_cell_does_not_belong_to_the_end_of_the_line_before(name: str) -> None:
    line = to_latex(rows({**FIT, "source": name}), ["source", "run"]).splitlines()[4]
    assert line.startswith("{}" + name)


def test_every_line_of_latex_has_as_many_cells() -> None:
    lines: list[str] = []
    for line in to_latex(rows(FIT, TRAIN)).splitlines():
        lines += [line] if line.startswith(r"\begin{tabular}") or line.endswith(r"\\") else []
    align = ""
    for line in lines:
        if line.startswith(r"\begin"):
            align = line.rpartition("{")[2].rstrip("}")
        else:
            assert line.replace(r"\&", "").count("&") + 1 == len(align)


def test_every_score_of_a_record_has_columns() -> None:
    assert tuple(SCORES) == SCALARS
    assert {f"{part} {name}" for part in ("train", "val", "test") for name in SCORES.values()} <= set(available([]))
