"""What several rows of a recipe have in common, opened once: their images and their networks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from featx.cache.memo import Memo
from featx.core.specs import BackboneConfig, Progress, no_progress
from featx.data.opening import choose_rows, open_splits
from featx.data.source import Source
from featx.data.sources import thin_splits
from featx.data.split_options import SplitOptions
from featx.data.splits import Partition
from featx.errors import FeatxWarning
from featx.models.backbone import Backbone
from featx.models.backbones import look_up


class Opened:
    """Images and networks, each opened when it is first asked for; what there is to say of them is said once.

    Parameters
    ----------
    memo : Memo
        Remembers content hashes and networks between processes.
    say : callable
        Told what the user should know.
    """

    def __init__(self, memo: Memo, say: Callable[[str], None]) -> None:
        self.memo, self._say = memo, say
        self._said: set[str] = set()
        self._splits: dict[Any, dict[str, Source]] = {}
        self._parts: dict[Any, Partition] = {}
        self._networks: dict[Any, Backbone] = {}

    def say(self, line: str) -> None:
        """Say a line, unless it was said before."""
        if line not in self._said:
            self._said.add(line)
            self._say(line)

    def rows(
        self, source: str, how: SplitOptions, seed: int, on_error: str, progress: Progress = no_progress
    ) -> Partition:
        """Return the rows that train, validate and test.

        Raises
        ------
        OptionError, SourceError
            As `featx.data.opening`.
        """
        key = source, how, seed, on_error
        if key not in self._parts:
            found, notes = choose_rows(self._opened(source, how, seed, progress), how, seed, on_error)
            for line in notes:
                self.say(f"warning: {line}")
            self._parts[key] = found
        return self._parts[key]

    def _opened(self, source: str, how: SplitOptions, seed: int, progress: Progress) -> dict[str, Source]:
        """Return the splits, the rows that were asked for; what they are chosen of is opened once for all seeds."""
        whole = source, how.root
        if whole not in self._splits:
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always", FeatxWarning)
                self._splits[whole] = open_splits(source, SplitOptions(root=how.root), seed, self.memo, progress)
            for warning in heard:
                self.say(f"warning: {warning.message}")
        return thin_splits(source, self._splits[whole], limit=how.limit, per_class=how.per_class, seed=seed)

    def network(self, name: str, how: BackboneConfig, channels: int | None) -> Backbone:
        """Return a network.

        Raises
        ------
        OptionError, WeightsError, CorruptStoreError
            As `featx.models.backbones.look_up`.
        """
        key = name, how, channels
        if key not in self._networks:
            found = look_up(name, how, channels, self.memo)
            for line in found.notes:
                self.say(line)
            self._networks[key] = found
        return self._networks[key]
