"""Scores without leaked test images are those of the other images, by whatever pairs a list has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from predicting import predicting

from featx.audit.duplicates import components
from featx.audit.findings import Leak, as_csv
from featx.core.bootstrap import Resampled, RowScore
from featx.core.csv_cells import csv_line
from featx.core.run_folder import Run
from featx.errors import OptionError
from featx.reports.leak_list import LeakList, read_leaks
from featx.reports.without_leaks import restricted, without_leaks

N = 400


def scored(home: Path, right: np.ndarray, order: np.ndarray | None = None, split: str = "test") -> tuple[dict, Run]:  # type: ignore[type-arg]
    """A row, and a run that kept its predictions with ids."""
    row, run = predicting(home, right, losses=1.0 - right, order=order)
    where = np.arange(len(right)) if order is None else order
    lines = [csv_line([f"{i}.png", "a", "a", None]) for i in where]
    run.write_text("predictions.csv", "".join([csv_line(["id", "label", "predicted", "probability"]), *lines]))
    splits = {"train": "train", "test": split}
    run.write({**run.read(), "splits": splits})
    return {**row, "splits": splits}, run


def leaks_of(rows: list[int], split: str = "test", other: str = "train") -> LeakList:
    return LeakList("list.csv", tuple(((other, f"far{i}.png"), (split, f"{i}.png")) for i in rows))


def test_scores_are_those_of_the_others_in_whatever_order_runs_kept_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    leaked = np.arange(40) * 3
    right = rng.random(N) < 0.6
    right[leaked[:38]] = True
    one, first = scored(tmp_path, right)
    two, second = scored(tmp_path, right, rng.permutation(N))
    found, reasons = without_leaks([one, two], {run.id: run for run in (first, second)}, leaks_of(leaked.tolist()))
    assert not reasons
    others = np.setdiff1d(np.arange(N), leaked)
    by_score = {(one.row, one.score): one for one in found}
    assert set(by_score) == {(row, score) for row in (0, 1) for score in ("accuracy", "loss")}
    for one in found:
        assert (one.images, one.leaked) == (N, 40)
        share = float(right[others].mean())
        assert one.on_others == pytest.approx(share if one.score == "accuracy" else 1 - share, abs=1e-6)
        assert one.interval is not None
        assert one.interval[0] < one.difference < one.interval[1]
    assert by_score[0, "accuracy"].interval == pytest.approx(by_score[1, "accuracy"].interval)


def test_intervals_cover_what_leaks_add() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        leaked = np.arange(N) % 5 == 0
        right = (rng.random(N) < np.where(leaked, 0.95, 0.7)).astype(np.float64)[:, None]
        scores = [RowScore(right), restricted(RowScore(right), (~leaked).astype(np.float64)[:, None])]
        low, high = Resampled(scores, np.zeros(N, int), draws=500, seed=seed).difference(0, 1) or (0.0, 0.0)
        covered += low <= 0.2 * 0.25 <= high
    assert 180 <= covered <= 199


def test_an_image_that_is_held_out_of_the_split_of_its_like_leaked(tmp_path: Path) -> None:
    row, run = scored(tmp_path, np.arange(N) % 2 == 0, split="train")
    # 1 and 2 are both tested; 3 is like an image of the same split that is not.
    pairs = ((("train", "1.png"), ("train", "2.png")), (("train", "3.png"), ("train", "elsewhere.png")))
    found, _ = without_leaks([row], {run.id: run}, LeakList("list.csv", pairs))
    assert {one.leaked for one in found} == {1}


def test_where_nothing_or_all_leaked_it_is_said(tmp_path: Path) -> None:
    row, run = scored(tmp_path, np.arange(N) % 2 == 0)
    for leaks, word in ((leaks_of([], "test"), "none"), (leaks_of([*range(N)]), "all"), (leaks_of([1], "val"), "none")):
        found, reasons = without_leaks([row], {run.id: run}, leaks)
        assert not found
        assert reasons[0].startswith(word)
    (run.path / "predictions.csv").unlink()
    assert "predictions.csv" in without_leaks([row], {run.id: run}, leaks_of([1]))[1][0]


def test_lists_are_read_as_audit_writes_them(tmp_path: Path) -> None:
    """Also where a training image is the same as two test images, and its name looks like a formula."""
    pairs = [("=a", "b", "train", "test"), ("=a", "c", "train", "test"), ("c", "b", "test", "test")]
    leaks = [Leak(a, b, s, t, "near", 0.9, False, 0, 1).finding() for a, b, s, t in pairs]
    path = tmp_path / "findings.csv"
    path.write_text(as_csv(leaks) + "test,d,label,0.5,,,is it?\n", encoding="utf-8")
    assert read_leaks(str(path)).leaked("test", ["b", "c", "d"]).tolist() == [True, True, False]
    path.write_text("id,split\na,test\n", encoding="utf-8")
    with pytest.raises(OptionError, match="no column kind"):
        read_leaks(str(path))


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)).filter(lambda pair: pair[0] != pair[1])))
def test_no_list_loses_which_images_hang_together_or_can_be_left_out(pairs: list[tuple[int, int]]) -> None:
    split = ["test"] * 4 + ["val"] * 4 + ["train"] * 4
    leaks = [
        Leak(f"{a}", f"{b}", split[a], split[b], "near", 0.9, False, a, b).finding()
        for a, b in dict.fromkeys((min(pair), max(pair)) for pair in pairs)
    ]
    lines = [line.split(",") for line in as_csv(leaks).splitlines()[1:]]
    assert {line[1] for line in lines} == {leak.ids[0] for leak in leaks}
    kept = components(12, [(int(line[1]), int(line[5])) for line in lines])
    assert kept.tolist() == components(12, [*map(tuple, pairs)]).tolist()  # type: ignore[arg-type]
