"""Which runs there are already, found by what their numbers depend on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from featx.core.run_folder import MODEL_FILE, Run, Runs
from featx.errors import StoreError
from featx.models.content import digests_of


@dataclass(frozen=True)
class _Told:
    identity: str = ""
    kind: Any = None
    seed: Any = None


class Finished:
    """The finished runs of a home, each record read once.

    Parameters
    ----------
    runs : Runs
        Where they are.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._told: dict[str, _Told] = {}

    def may_hold(self, kind: str, seed: int) -> bool:
        """Tell whether a run is of a kind and a seed: without one, nobody need know what exactly is looked for."""
        self._look()
        return any(told.identity and (told.kind, told.seed) == (kind, seed) for told in self._told.values())

    def find(self, identity: Mapping[str, Any], *, with_model: bool) -> Run | None:
        """Return the newest run with an identity; where its network is needed, one whose model was not removed."""
        digests = digests_of(identity)
        found = [run for run in self._look() if self._told[run.id].identity in digests]
        found = [run for run in found if not with_model or (run.path / MODEL_FILE).is_file()]
        return found[-1] if found else None

    def _look(self) -> list[Run]:
        runs = self._runs.list()
        for run in runs:
            if run.id not in self._told:
                self._told[run.id] = _read(run)
        return runs


def _read(run: Run) -> _Told:
    record: Mapping[str, Any] = {}
    with suppress(StoreError):
        record = run.read()
    return _Told(str(record.get("identity") or ""), record.get("kind"), record.get("seed"))
