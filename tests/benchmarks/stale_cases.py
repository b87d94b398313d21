"""What is extracted, what is changed then, and whether the next extraction gives what a fresh home gives."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from faults_child import Outcome, in_child
from faults_table import Line

from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.file_stamps import SETTLED_SECONDS
from featx.core.specs import ExtractConfig
from featx.data.sources import load_splits
from featx.extraction.extract import extract
from featx.models.backbones import resolve

LENET = {"weights": "random:0", "size": 32, "channels": 1}
CONFIG = {"batch_size": 4, "device": "cpu", "workers": 1}


@dataclass(frozen=True)
class Recipe:
    """What an extraction is asked for; run in a child, as a command would be."""

    source: Path
    backbone: str = "lenet5"
    asked: Mapping[str, Any] = field(default_factory=lambda: LENET)
    layer: str = "conv1:avg"
    config: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, home: Path) -> tuple[dict[str, bytes], list[Any], int]:
        """Return features by split, labels by id, and the rows that went through the network."""
        memo = Memo(home)
        sources = load_splits(self.source, memo=memo, **self.splits)
        network = resolve(self.backbone, memo=memo, **self.asked)
        found = extract(sources, network, [self.layer], FeatureStore(home), ExtractConfig(**{**CONFIG, **self.config}))
        features = {split: np.asarray(table.X).tobytes() for (split, _), table in found.tables.items()}
        labels = [[t.ids, [t.classes[i] if i >= 0 else None for i in t.y.tolist()]] for t in found.tables.values()]
        return features, labels, sum(line["computed"] for line in found.layers)


@dataclass
class Case:
    """A recipe, what is changed after it was run, and the recipe that is run then.

    With `same`, nothing that a feature depends on is changed: nothing may be computed again.
    """

    name: str
    home: Path
    before: Recipe
    change: Callable[[], Any]
    after: Recipe
    same: bool = False


def attempt(title: str, cases: list[Case]) -> list[Line]:
    """Run all recipes until everything about them is remembered, change, and compare with homes of their own."""
    time.sleep(SETTLED_SECONDS + 0.2)
    for case in cases:
        _done(in_child(partial(case.before, case.home), 60))
        assert _done(in_child(partial(case.before, case.home), 60))[2] == 0, case.name
    faults = {"stale": 0, "computed in vain": 0, "other errors": 0}
    rows = 0
    for case in cases:
        case.change()
        outcomes = [in_child(partial(case.after, home), 60) for home in (case.home, case.home.with_name("fresh"))]
        shutil.rmtree(case.home.with_name("fresh"), ignore_errors=True)
        if any(outcome.kind != "ok" for outcome in outcomes):
            found = "other errors"
        else:
            (got, names, computed), (wanted, right, _) = (outcome.value for outcome in outcomes)
            # A row that was lent was computed in a batch of other rows: its last bits may differ.
            close = all(_close(got[split], wanted[split], case.after) for split in wanted)
            found = "" if close and names == right else "stale"
            found = found or ("computed in vain" if case.same and computed else "")
            rows += computed
        if found:
            faults[found] += 1
            print(f"  {found}: {title}: {case.name}: {[o.value for o in outcomes if o.kind != 'ok']}", flush=True)
    return [Line("never stale", title, len(cases), faults, {"rows computed": rows})]


def _done(outcome: Outcome) -> Any:
    assert outcome.kind == "ok", outcome
    return outcome.value


def _close(got: bytes, wanted: bytes, recipe: Recipe) -> bool:
    dtype = recipe.config.get("dtype", "float32")
    a, b = (np.frombuffer(data, dtype).astype(np.float64) for data in (got, wanted))
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-5, atol=1e-6))


def arrays(n: int = 12, side: int = 8) -> tuple[Any, Any]:
    return np.random.default_rng(1).integers(0, 256, (n, side, side), np.uint8), np.arange(n) // (n // 2)
