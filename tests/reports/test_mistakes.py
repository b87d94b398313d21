"""The test images that a run got wrong, read from the predictions in its folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.core.run_folder import Run, Runs
from featx.errors import StoreError
from featx.reports.mistakes import Mistake, mistakes_csv, mistakes_of

HEADS = "id,label,predicted,probability\n"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Runs(tmp_path).new("fit", [])


def test_the_most_confident_come_first_and_those_without_a_probability_last(run: Run) -> None:
    lines = ["a,cat,dog,", "b,cat,dog,0.5", "c,cat,cat,0.9", "d,dog,cat,0.75", "e,dog,cat,"]
    run.write_text("predictions.csv", HEADS + "\n".join(lines) + "\n")
    found = mistakes_of(run)
    assert (found.run, found.images) == (run.id, 5)
    assert [one.id for one in found.wrong] == ["d", "b", "a", "e"]
    assert found.wrong[0] == Mistake("d", "dog", "cat", 0.75)
    assert found.wrong[2].probability is None


def test_cells_are_no_formulas_however_the_predictions_were_written(run: Run) -> None:
    run.write_text("predictions.csv", HEADS + '=HYPERLINK(1),@a,+b,0.5\n\'=1,-x,"y,\x1b",0.25\n')
    text = mistakes_csv(mistakes_of(run).wrong)
    assert text == HEADS + "'=HYPERLINK(1),'@a,'+b,0.5\n'=1,'-x,\"y,\\x1b\",0.25\n"


def test_a_run_without_predictions_says_how_to_get_some(run: Run) -> None:
    with pytest.raises(StoreError, match=r"has no predictions\.csv") as caught:
        mistakes_of(run)
    assert "run its command again" in caught.value.hint


@pytest.mark.parametrize(
    "text",
    ["", "id,label\n", HEADS + "a,b,c\n", HEADS + "a,b,c,many\n", HEADS + "a,b,c,nan\n", HEADS + 'a,b,c,"0.5\n'],
)
def test_damaged_predictions_are_an_error_of_one_line(run: Run, text: str) -> None:
    run.write_text("predictions.csv", text)
    with pytest.raises(StoreError, match="is damaged") as caught:
        mistakes_of(run)
    assert "\n" not in caught.value.message
