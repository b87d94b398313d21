"""The HTML report: whole, self-contained, of real runs, and of records that a stranger wrote."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import document, featx
from pages import Page, read_page
from predicting import predicting

from featx.core.run_folder import Run, Runs
from featx.errors import OptionError, StoreError
from featx.reports import beyond_chance
from featx.reports.html.page import LARGEST, page
from featx.reports.kept_rows import kept_rows

NASTY = "<script>alert(1)</script>\"'>&\u202egnp.\x1b[31m\x00"
LENET = ("-b", "lenet5", "--per-class", "20")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of every kind: fits of two seeds, a sweep, several layers, trainings of two seeds."""
    place = tmp_path_factory.mktemp("reported")
    at = ("--home", place)
    for seed in ("0", "1"):
        document("fit", "digits", "--pixels", "--per-class", "20", "--seed", seed, *at)
        document("train", "digits", *LENET, "--mode", "scratch", "--epochs", "3", "--seed", seed, *at)
    document("fit", "digits", *LENET, "--weights", "random:0", "-l", "pool1", "-l", "pool2", "--seed", "0", *at)
    document("fit", "digits", "--pixels", "--sweep", "clip", "--per-class", "20", "--seed", "0", *at)
    return place


@pytest.fixture
def copied(home: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    return Path(shutil.copytree(home, tmp_path / "copy"))


def test_every_pair_is_tested_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hard = np.random.default_rng(0).random(400)
    runs = [predicting(tmp_path, hard < share)[1] for share in (0.5, 0.7, 0.9)]
    tested: list[Any] = []
    monkeypatch.setattr(beyond_chance, "kept_rows", lambda *how: tested.append(how) or kept_rows(*how))
    text = page(runs)
    assert len(tested) == 1
    assert "by Holm among 3 pairs" in text  # the answer
    assert "3 of 3 pairs are clear" in text  # the section


def whole(home: Path, **how: Any) -> Page:
    return read_page(page(Runs(home).all(), home=home, **how))


def rewrite(run: Run, changes: dict[str, Any]) -> None:
    """Change a record by hand, as a stranger might."""
    path = run.path / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes), encoding="utf-8")


def test_it_has_every_part_and_asks_for_nothing(home: Path) -> None:
    text = page(Runs(home).all(), home=home)
    found = read_page(text)
    assert found.texts["h1"] == ["featx: 6 runs on digits"]
    assert found.texts["h2"] == [
        "Results",
        "Which differences are beyond chance",
        "Accuracy and cost",
        "Learning curves",
        "Layers",
        "Sweeps",
        "What is taken for what",
        "Most confident mistakes",
        "How sure, and how often right",
        "Data",
        "Options, versions, devices and keys",
        "Commands",
    ]
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert not re.search(r"https?:|url\(|@import", text)
    assert len(text.encode()) < LARGEST


def test_figures_are_told_to_those_who_do_not_see_them(home: Path) -> None:
    text = page(Runs(home).all(), home=home)
    found = read_page(text)
    assert found.count["svg"] >= 9
    assert text.count('role="img"') == found.count["svg"]
    assert len(found.texts["desc"]) == found.count["svg"]
    assert all(found.texts["desc"])
    assert all(found.texts["title"])
    # Each figure has its numbers as a table, each table a caption, each head a scope.
    assert found.texts["summary"].count("The numbers as a table") == text.count('<div class="panels">')
    assert found.count["caption"] == found.count["table"]
    assert text.count("scope=") == found.count["th"]


def test_runs_that_differ_in_their_seed_are_one_row(home: Path) -> None:
    found = whole(home)
    results = [line for line in found.texts["tr"] if "lenet5 from scratch" in line]
    assert "0, 1" in results[0]
    assert "6 runs in 4 rows" in found.texts["caption"]


def test_commands_are_as_a_shell_reads_them(copied: Path) -> None:
    for i, run in enumerate(Runs(copied).list()):
        rewrite(run, {"command": ["featx", "fit", "my photos", f"--seed={i}"]})
    assert "featx fit 'my photos' --seed=0" in "\n".join(whole(copied).texts["pre"])


def test_where_files_lie_is_nobodys_business(copied: Path) -> None:
    for run in Runs(copied).list():
        rewrite(
            run, {"source": "/home/ann/photos.zip", "weights_file": "/home/ann/w.pth", "weights": "/home/ann/w.pth"}
        )
    text = page(Runs(copied).list(), home=copied)
    assert "/home/ann" not in text
    assert str(copied) not in text
    assert "photos.zip" in text


def test_rows_of_other_test_images_are_not_ranked_together(home: Path) -> None:
    document("fit", "digits", "--pixels", "--per-class", "20", "--seed", "5", "--home", home)
    runs = Runs(home).list()
    shutil.move(runs[-1].path, home / runs[-1].id)
    found = read_page(page([*runs[:-1], Run(home / runs[-1].id)]))
    assert any("3 different sets of test images" in text for text in found.texts["p"])
    assert "test images" in found.texts["th"]


def test_one_run_is_told_in_one_sentence(home: Path) -> None:
    found = read_page(page(Runs(home).list()[:1], home=home))
    assert re.match(
        r"Softmax on raw pixels gets [0-9.]+ % of the test images right \(95 % interval", found.texts["p"][0]
    )


def test_mistakes_are_shown_where_the_images_are_what_they_were(home: Path, tmp_path: Path) -> None:
    wrong = [run for run in Runs(home).list() if "-train-" in run.id]
    found = read_page(page(wrong[:1], home=home))
    assert 1 <= len(found.images) <= 24
    assert "digits/" in "".join(found.texts["figcaption"])
    strange = read_page(page(wrong[:1], home=tmp_path))
    assert strange.images == []
    assert any("a stranger's record" in text for text in strange.texts["p"])


def test_images_that_changed_are_not_shown(home: Path, pets: Path) -> None:
    run = document("fit", pets, "--pixels", "--size", "8", "--seed", "1", "--home", home)["run"]
    runs = [Runs(home).open(run)]
    for path in pets.rglob("*.png"):
        shutil.copy(next(pets.rglob("cat/0.png")), path.with_suffix(".tmp"))
        os.replace(path.with_suffix(".tmp"), path)
    wrong = [
        line
        for line in (runs[0].path / "predictions.csv").read_text().splitlines()[1:]
        if len(set(line.split(",")[1:3])) > 1
    ]
    text = page(runs, home=home)
    assert not wrong or "cannot be shown" in text
    shutil.rmtree(pets)
    found = read_page(page(runs, home=home))
    assert not wrong or any("cannot be shown: there is no file or folder" in text for text in found.texts["p"])
    shutil.rmtree(runs[0].path)


def test_what_strangers_wrote_is_text(copied: Path) -> None:
    for run in Runs(copied).list():
        record = run.read()
        classes = [f"{NASTY}{i}" for i in range(len(record["classes"]))]
        words = dict.fromkeys(("source", "layer", "backbone"), NASTY)
        rewrite(run, words | {"classes": classes, "command": ["featx", NASTY], "notes": [NASTY]})
        table = (run.path / "predictions.csv").read_text()
        (run.path / "predictions.csv").write_text(table.replace("digits/", '"><script>alert(1)</script>'))
    text = page(Runs(copied).all(), home=copied)
    found = read_page(text)
    assert "script" not in found.count
    assert not {"\u202e", "\x1b", "\x00"} & set(text)
    assert any(r"\u202egnp.\x1b[31m" in cell for cell in found.texts["bdi"])


@pytest.mark.parametrize(
    "changes",
    [
        {"accuracy": None},
        {"accuracy": {"test": 7}, "loss": [], "seconds": "x", "parameters": [1]},
        {"classes": None, "rows": [], "splits": 5, "confusion": {"test": [[1]]}},
        {"history": [{"epoch": None, "train_loss": 1e308, "val_loss": "x"}, 5], "best_epoch": {}},
        {"layers": [{"layer": [], "accuracy": {"val": 2}}, {}], "search": {"values": [0, "x"], "accuracy": 3}},
        {"asked": 3, "source": ["a"], "command": "rm", "created": 7, "seed": {"a": 1}, "recipe": 5},
        {"fingerprints": 1, "labels": {"all": []}, "missing_classes": {"val": 3}, "versions": [], "run": 8},
    ],
)
def test_damaged_records_do_not_stop_it(copied: Path, changes: dict[str, Any]) -> None:
    for run in Runs(copied).list()[:4]:
        rewrite(run, changes)
    assert "Results" in whole(copied).texts["h2"]


def test_what_is_left_out_is_said(copied: Path) -> None:
    runs = Runs(copied).list()
    (runs[0].path / "run.json").unlink()
    (runs[1].path / "run.json").write_text("{")
    said = "\n".join(whole(copied).texts["p"])
    assert f"1 run without a record: not finished, or still at work: {runs[0].id}" in said
    assert f"1 run with a damaged record: {runs[1].id}" in said
    for run in runs[2:]:
        (run.path / "run.json").unlink()
    with pytest.raises(StoreError, match="none of these runs has a record"):
        page(runs)


def test_without_validation_rows_or_with_a_class_missing(copied: Path) -> None:
    for run in Runs(copied).list():
        record = run.read()
        parts = {name: {k: v for k, v in record[name].items() if k != "val"} for name in ("accuracy", "loss", "rows")}
        lines = [{k: v for k, v in line.items() if not k.startswith("val")} for line in record.get("history") or []]
        counts = record["confusion"]["test"]
        counts[3] = [0] * len(counts)
        more: dict[str, Any] = {"test": counts, "train": record["confusion"]["train"]}
        missing = {"test": ["3"], "val": record["classes"]}
        rewrite(run, parts | {"history": lines, "confusion": more, "missing_classes": missing})
    found = whole(copied)
    cells = "\n".join(found.texts["td"])
    assert "1 of 10 classes have no test images: 3" in cells
    assert "no images" in cells


def test_columns_are_those_that_were_asked_for(home: Path) -> None:
    found = whole(home, columns=["val accuracy", "layer"])
    assert next(line for line in found.texts["tr"] if line.startswith("#")) == "#howval accuracylayer"
    with pytest.raises(OptionError, match="no column 'lare'"):
        page(Runs(home).all(), home=home, columns=["lare"])


def test_many_runs_stay_small(copied: Path) -> None:
    """Of 120 trainings, 100 epochs each, no two alike, what does not fit is left out, and that is said."""
    run = next(run for run in Runs(copied).list() if "-train-" in run.id)
    record = run.read()
    line = record["history"][0]
    history = [line | {"epoch": i + 1, "val_loss": 2 / (i + 1)} for i in range(100)]
    for n in range(120):
        folder = copied / "runs" / f"20270101-{n // 60:06d}-train-{n:04x}"
        folder.mkdir()
        own = {
            "lr": 0.001 * (n + 1),
            "history": history,
            "options": {"channels": n, "note": "x" * 300, **{f"option{i}": n + i for i in range(60)}},
        }
        (folder / "run.json").write_text(json.dumps(record | own))
    text = page(Runs(copied).list(), home=copied)
    found = read_page(text)
    assert len(text.encode()) <= LARGEST
    assert any("left out" in note for note in found.texts["p"])
    assert "trainings. Solid lines" in "".join(found.texts["figcaption"])


def test_the_command_writes_it(home: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    told = featx("report", "--format", "html", "-o", file, "--home", home)
    assert (told.exit_code, told.stdout) == (0, f"wrote {file}, {len(Runs(home).list())} runs\n")
    shown = featx("report", "--format", "html", "--home", home)
    assert shown.stdout == file.read_text(encoding="utf-8")
    run = Runs(home).list()[0].id
    matrix = read_page(featx("report", run, "--confusion", "--format", "html", "--home", home).stdout)
    assert matrix.texts["caption"][0].startswith("True class down")
    columns = read_page(featx("report", "--columns", "layer", "--format", "html", "--home", home).stdout)
    assert "#howlayer" in columns.texts["tr"]


def test_rows_alone_are_a_page_too(home: Path) -> None:
    from featx.reports.formats import FORMATS
    from featx.reports.rows import rows_of

    found = read_page(FORMATS["html"].runs(rows_of(Runs(home).list()), None))
    assert found.count["table"] >= 2


def test_rows_of_a_recipe_keep_their_names(home: Path) -> None:
    runs = Runs(home).all()
    names = {run.id: "first look <at> pixels" for run in runs if run.read().get("sweep") == "clip"}
    assert len(names) == 1
    found = whole(home, names=names)
    assert any("first look <at> pixels" in cell for cell in found.texts["td"] + found.texts["th"] + found.texts["bdi"])
