"""What is remembered of a network: whole after a way through JSON, and no longer than it holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from featx.cache.memo import Memo
from featx.core.specs import PreprocessSpec, Views
from featx.models import inspection
from featx.models.backbones import resolve
from featx.models.facts import Inspection, NetworkFacts, stamps_of

FACTS = NetworkFacts(
    name="own.py:make",
    weights="w.pth",
    weights_sha256="ab" * 32,
    preprocess=PreprocessSpec(40, 32, 1, (0.5,), (0.25,), views=Views(crops=5, scales=(1.0, 1.5)), bits=12),
    options={"stem": "cifar", "channels": 1},
    head="fc",
    head_width=84,
    left_out=("fc",),
    notes=("one", "another"),
    file="/w.pth",
    code="cd" * 32,
    origin="/own.py:make",
)


def through_json(found: Inspection) -> Any:
    return json.loads(json.dumps(found.as_json()))


def test_facts_are_the_same_after_a_way_through_json() -> None:
    for facts in (FACTS, NetworkFacts("lenet5", "random:0", "ef" * 32, PreprocessSpec(None, None))):
        found = Inspection(facts, {"/w.pth": [1, 2, 3, 4]})
        assert Inspection.from_json(through_json(found)) == found


@pytest.mark.parametrize("lost", ["weights", "files", "preset", "left_out"])
def test_what_an_older_version_wrote_is_not_half_read(lost: str) -> None:
    known = through_json(Inspection(FACTS, {}))
    del known[lost]
    assert Inspection.from_json(known) is None
    assert Inspection.from_json(known | {"more": 1}) is None


def test_facts_hold_until_a_file_changes_or_goes(tmp_path: Path) -> None:
    weights, code = tmp_path / "w.pth", tmp_path / "own.py"
    for path in (weights, code):
        path.write_text("as it was")
    found = Inspection(FACTS, stamps_of([str(weights), None, code]))
    assert set(found.stamps) == {str(weights), str(code)}
    assert found.is_current()
    code.write_text("as it is now")
    assert not found.is_current()
    alone = Inspection(FACTS, stamps_of([weights]))
    assert alone.is_current()
    weights.unlink()
    assert not alone.is_current()


def test_facts_of_an_older_version_are_found_out_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memo, kept = Memo(tmp_path), []
    monkeypatch.setattr(
        Memo, "put", lambda self, kind, about, value, put=Memo.put: (kept.append(about), put(self, kind, about, value))
    )
    expected = resolve("lenet5", weights="random:0", memo=memo)
    (about,) = kept
    old = memo.get("backbone", about)
    del old["weights"]
    memo.put("backbone", about, old)
    assert resolve("lenet5", weights="random:0", memo=memo) == expected
    monkeypatch.setattr(inspection, "inspect", lambda *_: pytest.fail("looked again"))
    assert resolve("lenet5", weights="random:0", memo=memo) == expected
