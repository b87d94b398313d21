"""A confusion matrix counts, is read from records that strangers may have written, and stands in tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from recorded import FIT, Recorded
from sklearn.metrics import precision_recall_fscore_support

from featx.errors import OptionError
from featx.reports.confusion import Confusion, confusion_of, fits, said_of

COUNTS = ((5, 2, 1), (0, 4, 0), (3, 3, 3))


def found(*names: str, counts: tuple[tuple[int, ...], ...] = COUNTS, note: str = "") -> Confusion:
    return Confusion("a run", "test", names or ("ant", "bee", "cat"), counts, note)


def record(**fields: Any) -> Recorded:
    whole = {**FIT, "classes": ["ant", "bee", "cat"], "confusion": {"train": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}}
    return Recorded("a run", {**whole, **fields})


def test_recall_and_precision_are_scikit_learns() -> None:
    true, taken = (np.repeat(which.ravel(), np.ravel(COUNTS)) for which in np.indices((3, 3)))
    precision, recall, _, rows = precision_recall_fscore_support(true, taken)
    one = found()
    assert one.rows == rows.tolist()
    assert one.right == [5, 4, 3]
    assert one.recall == pytest.approx(recall)
    assert one.precision == pytest.approx(precision)
    assert one.as_dict()["mean_recall"] == pytest.approx(recall.mean())


def test_a_class_without_rows_has_no_recall_and_one_that_is_never_taken_no_precision() -> None:
    one = found("a", "b", counts=((2, 0), (0, 0)))
    assert (one.recall, one.precision) == ([1.0, None], [1.0, None])
    assert one.as_dict()["mean_recall"] == 1.0
    assert found("a", "b", counts=((0, 0), (0, 0))).as_dict()["mean_recall"] is None


def test_each_class_says_what_it_is_most_often_taken_for() -> None:
    heads, lines, _ = found().by_class()
    assert heads == ["class", "rows", "recall", "precision", "most often taken for"]
    assert lines == [
        ["ant", "8", "0.6250", "0.6250", "bee (2), cat (1)"],
        ["bee", "4", "1.0000", "0.4444", ""],
        ["cat", "9", "0.3333", "0.7500", "ant (3), bee (3)"],
    ]
    many = found(*"abcd", counts=((0, 3, 1, 2), *[(0, 0, 0, 0)] * 3)).by_class()[1]
    assert many[0][-1] == "b (3), d (2)"


def test_long_names_are_numbered_and_short_ones_stand_for_themselves() -> None:
    assert found("ant", "bee", "cat").matrix()[0] == ["class", "ant", "bee", "cat"]
    heads, lines, _ = found("anteater", "bee", "cat").matrix()
    assert heads == ["#", "class", "0", "1", "2"]
    assert lines[0] == ["0", "anteater", "5", "2", "1"]
    heads, lines, _ = found("anteaters of old", "bee", "cat").by_class()
    assert heads[:2] == ["#", "class"]
    assert [line[-1] for line in lines] == ["#1 (2), #2 (1)", "", "#0 (3), #1 (3)"]


def test_a_matrix_of_few_classes_fits_a_page_and_one_of_many_does_not() -> None:
    for k, narrow in ((3, True), (40, False)):
        names = tuple(f"c{i}" for i in range(k))
        assert fits(found(*names, counts=tuple((1,) * k for _ in names)).matrix()) is narrow


def test_what_stands_above_counts_all_rows() -> None:
    assert said_of(found()) == "run a run, test rows: 12 of 21 right (0.5714)"
    assert said_of(found(counts=((0, 0, 0),) * 3)) == "run a run, test rows: 0 of 0 right"
    assert said_of(found(note="of\x1b two")).endswith("; of\\x1b two")


def test_the_test_rows_come_first_then_those_that_validated() -> None:
    assert confusion_of(record()).part == "train"
    both = {"train": [[1, 0, 0]] * 3, "val": [[2, 0, 0]] * 3}
    assert confusion_of(record(confusion=both)).counts == ((2, 0, 0),) * 3
    assert confusion_of(record(confusion={**both, "test": [[3, 0, 0]] * 3})).part == "test"
    assert confusion_of(record(confusion={**both, "test": []})).part == "val"


def test_a_run_of_few_labels_says_of_which_draw_it_is() -> None:
    assert confusion_of(record()).note == ""
    assert "first of 5 draws" in confusion_of(record(shots=4, draws=5)).note


@pytest.mark.parametrize(
    "fields",
    [
        {"confusion": None},
        {"confusion": {}},
        {"confusion": {"test": [[1, 0], [0, 1]]}},
        {"confusion": {"test": [[1, 0, 0], [0, 1, 0], [0, 0]]}},
        {"confusion": {"test": [[1, 0, 0], [0, -1, 0], [0, 0, 1]]}},
        {"confusion": {"test": [[1, 0, 0], [0, True, 0], [0, 0, 1]]}},
        {"confusion": {"test": [[1, 0, 0], [0, 1.5, 0], [0, 0, 1]]}},
        {"confusion": {"test": "abc"}},
        {"classes": 3},
        {"classes": [], "confusion": {"test": []}},
    ],
    ids=str,
)
def test_what_is_no_matrix_is_refused_by_the_runs_name(fields: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="run a run has no confusion matrix"):
        confusion_of(record(**fields))
