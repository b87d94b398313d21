"""``featx demo``: the whole comparison from nothing, twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from featx.core.run_folder import Runs
from featx.runs import demo

NAMES = [
    *("trained on 0 to 4", "softmax on raw pixels", "softmax on random features", "softmax on frozen conv layers"),
    *("softmax on frozen fc layers", "fine-tuned", "from scratch"),
]


@pytest.mark.usefixtures("one_thread")
def test_from_an_empty_folder(featx: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = featx("demo")
    assert done.exit_code == 0, done.stderr
    assert [name for name in NAMES[1:] if name not in done.stdout] == []
    assert f"picture {home / 'demo.png'}; " in done.stdout
    with Image.open(home / "demo.png") as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 400
    # The current folder is left as it was.
    assert [p.name for p in tmp_path.iterdir()] == ["home"]

    # What a network has learnt before is worth having, whether it is kept as it is or trained on.
    accuracy = {name: run.read()["accuracy"]["test"] for name, run in zip(NAMES, Runs(home).list(), strict=True)}
    assert accuracy["trained on 0 to 4"] > 0.9
    for name in ("softmax on frozen fc layers", "fine-tuned"):
        assert accuracy[name] > max(accuracy[n] for n in ("from scratch", "softmax on random features")) + 0.02
    assert accuracy["softmax on raw pixels"] == min(accuracy.values())


@pytest.mark.usefixtures("one_thread")
def test_again_it_gives_the_same(featx: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PRETRAIN", "FINETUNE", "SCRATCH"):
        monkeypatch.setattr(demo, name, replace(getattr(demo, name), epochs=1))
    documents = []
    for picture in ("first.png", "again.png"):
        result = featx("demo", "--json", "-o", tmp_path / picture)
        assert result.exit_code == 0, result.stderr
        documents.append(json.loads(result.stdout))
        assert documents[-1]["picture"] == str(tmp_path / picture)
        assert (tmp_path / picture).stat().st_size > 10_000
    assert not (home / "demo.png").exists()
    first, again = (
        [{key: row[key] for key in ("name", "accuracy", "interval")} for row in d["rows"]] for d in documents
    )
    assert first == again
    assert [row["name"] for row in first] == NAMES
    for row in documents[1]["rows"]:
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
        assert row["test_images"] > 400
    scores = [run.read()["accuracy"] for run in Runs(home).list()]
    assert len(scores) == 2 * len(NAMES)
    assert scores[: len(NAMES)] == scores[len(NAMES) :]


def test_impossible_picture_is_found_before_any_work(featx: Any, home: Path, tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "none" / "a.png"):
        result = featx("demo", "-o", wrong)
        assert result.exit_code == 2
        assert str(wrong) in result.stderr
    assert not home.exists()


@pytest.mark.usefixtures("one_thread")
def test_interrupted_demo_leaves_no_picture_and_no_half_run(
    featx: Any, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "fit_probe", interrupt)
    monkeypatch.setattr(demo, "PRETRAIN", replace(demo.PRETRAIN, epochs=1))
    result = featx("demo", "-o", tmp_path / "demo.png")
    assert result.exit_code == 130
    assert not (tmp_path / "demo.png").exists()
    assert [run.read()["kind"] for run in Runs(home).list()] == ["train"]
    assert len(list((home / "runs").iterdir())) == 1
