"""Tables as lines of text; those of commands are tested with them."""

from __future__ import annotations

from recorded import FIT, rows

from featx.reports.confusion import Confusion
from featx.reports.formats import FORMATS
from featx.reports.tables import Head, fold_widths, table_lines, table_width, text_table


def test_heads_of_strangers_stay_as_they_are_and_none_is_markup() -> None:
    assert text_table([">a", "[b]x[/b]"], [["[i]1[/i]", "2"]], [True, False]) == (
        ">a        [b]x[/b]\n[i]1[/i]         2\n"
    )


def test_letters_of_double_width_stand_in_line() -> None:
    head, one, two = table_lines([Head("class"), Head("n", right=True)], [["猫猫猫", 1], ["cat", 22]])
    assert (head, one, two) == ("class    n", "猫猫猫   1", "cat     22")
    assert table_width([Head("class"), Head("n")], [["猫猫猫", "22"]]) == 10


def test_a_table_without_rows_is_its_heads() -> None:
    assert table_lines([Head("a"), Head("b")], []) == ["a  b"]


def test_only_columns_that_fold_give_way() -> None:
    heads = [Head("name", folds=True), Head("value")]
    lines = table_lines(heads, [["one two three four five", "v" * 20]], 36)
    assert lines == ["name            value", f"one two three   {'v' * 20}", "four five"]
    assert fold_widths([30, 30], [False, False], 20) == [30, 30]
    assert fold_widths([30, 12], [True, True], 24) == [12, 12]


def test_every_format_writes_runs_and_confusion_matrices() -> None:
    found = Confusion("a run", "test", ("cat", "dog"), ((3, 1), (0, 4)))
    for name, style in FORMATS.items():
        assert "resnet18" in style.runs(rows(FIT, FIT), None), name
        assert "0.87" in style.runs(rows(FIT), ["test accuracy"]), name
        assert "dog" in style.confusion(found), name
        assert "0.75" in style.confusion(found), name
