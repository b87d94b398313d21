"""``predict --limit`` looks at a few images, chosen as every other command chooses them, and says so."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from command import document, featx


@pytest.fixture
def run(pets: Path) -> str:
    return str(document("fit", pets, "--pixels", "--size", "8")["run"])


def test_a_limit_keeps_the_shares_of_the_classes(run: str, pets: Path) -> None:
    found = document("predict", run, pets, "--limit", "5")
    assert Counter(one["label"] for one in found["predictions"]) == {"cat": 3, "dog": 2}
    assert (found["labelled"], found["left_out"]) == (5, 5)
    every = [one["id"] for one in document("predict", run, pets)["predictions"]]
    few = [one["id"] for one in found["predictions"]]
    assert few == [name for name in every if name in few]
    chosen = document("extract", pets, "-b", "pixels", "-l", "pixels", "--size", "8", "--limit", "5")
    assert chosen["layers"][0]["rows"] == 5


def test_a_limit_is_one_of_all_sources_together(run: str, pets: Path, pack: object) -> None:
    files = sorted(map(str, pets.rglob("*.png")))
    found = document("predict", run, *files[:4], pets, pets, "--limit", "6")
    assert len(found["predictions"]) == 6
    assert found["left_out"] == 18
    assert sum(one["id"] in files for one in found["predictions"]) == 1


def test_what_is_left_out_is_told(run: str, pets: Path) -> None:
    result = featx("predict", run, pets, "--limit", "3")
    assert "3 of 10 images" in result.stderr
    assert len(result.stdout.splitlines()) == 1 + 3 + 1
    assert len(featx("predict", run, pets, "--limit", "3", "--format", "csv").stdout.splitlines()) == 4
    whole = document("predict", run, pets, "--limit", "100")
    assert (len(whole["predictions"]), whole["left_out"]) == (10, 0)
    assert featx("predict", run, pets, "--limit", "0").exit_code == 2
