"""``featx demo``: the whole comparison from nothing, twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from programs import PROGRAM

from featx import demo
from featx.runs import Runs

NAMES = [
    *("trained on 0 to 4", "softmax on raw pixels", "softmax on random features", "softmax on frozen conv layers"),
    *("softmax on frozen fc layers", "fine-tuned", "from scratch"),
]


def test_from_an_empty_folder_and_again(shell: Any, home: Path, tmp_path: Path) -> None:
    first = shell(*PROGRAM, "demo", timeout=60)
    assert first.returncode == 0, first.stderr
    assert [name for name in NAMES[1:] if name not in first.stdout] == []
    with Image.open(tmp_path / "featx-demo.png") as image:
        image.load()
        assert image.format == "PNG"
        assert min(image.size) > 400
    assert sorted(p.name for p in tmp_path.iterdir()) == ["featx-demo.png", "home"]

    again = shell(*PROGRAM, "demo", "--json", "-o", "again.png", timeout=60)
    assert again.returncode == 0, again.stderr
    document = json.loads(again.stdout)
    assert [row["name"] for row in document["rows"]] == NAMES
    for row in document["rows"]:
        assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
        assert row["test_images"] > 400
    assert document["picture"] == "again.png"
    assert (tmp_path / "again.png").stat().st_size > 10_000
    scores = [run.read()["accuracy"] for run in Runs(home).list()]
    assert len(scores) == 2 * len(NAMES)
    assert scores[: len(NAMES)] == scores[len(NAMES) :]  # the same again

    # What a network has learnt before is worth having, whether it is kept as it is or trained on.
    accuracy = {row["name"]: row["accuracy"] for row in document["rows"]}
    assert accuracy["trained on 0 to 4"] > 0.9
    for name in ("softmax on frozen fc layers", "fine-tuned"):
        assert accuracy[name] > max(accuracy[n] for n in ("from scratch", "softmax on random features")) + 0.02
    assert accuracy["softmax on raw pixels"] == min(accuracy.values())


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
