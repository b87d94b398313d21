"""``--set key=value``: what is changed in a recipe for one call."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from featx.errors import OptionError
from featx.recipes.fields import FIT, HINTS, KEYS, TRAIN, check_key, is_text, spelt

ROW = "row"
EVERYWHERE = ""
_OF_ROW = re.compile(r"\s*row\.(?P<row>.+?)\.(?P<key>[\w-]+)\s*=", re.DOTALL)
"""What a change of one row begins with; its name may hold ``.`` and ``=``."""


@dataclass(frozen=True)
class Override:
    """One change.

    Parameters
    ----------
    where : str
        ``fit``, ``train``, ``row``, or empty for every row.
    row : str
        Name of the row, where it is one.
    key : str
        As a row writes it.
    value : object
        As TOML has it.
    """

    where: str
    row: str
    key: str
    value: Any

    @property
    def label(self) -> str:
        """What is changed, as it was given."""
        return ".".join(part for part in (self.where, self.row, self.key) if part)

    @property
    def place(self) -> str:
        """What an error calls it."""
        return f"`--set {self.label}`"


def parse_override(text: str) -> Override:
    """Read ``key=value``, ``fit.key=value``, ``train.key=value`` or ``row.NAME.key=value``.

    The value is TOML's; words need no quotes, and numbers with commas no brackets: ``size=64``, ``weights=random:0``,
    ``layer=[layer3:avg, avgpool]``, ``seeds=0,1,2``.

    Raises
    ------
    OptionError
        For something else, and for a key that is none.
    """
    of_row = _OF_ROW.match(text)
    path, equals, value = text.partition("=") if of_row is None else ("", "=", text[of_row.end() :])
    if not equals or not (path.strip() or of_row):
        raise OptionError(f"`--set` {text!r:.80}, expected key=value", "for example `--set size=64`")
    where, _, rest = path.strip().partition(".")
    if of_row is not None:
        where, row, key = ROW, of_row["row"].strip(), of_row["key"]
    elif where in (FIT, TRAIN) and rest:
        row, key = "", rest
    else:
        where, row, key = EVERYWHERE, "", path.strip()
    key = spelt(key)
    allowed: Mapping[str, Any] = KEYS.get(where, HINTS)
    check_key("`--set`", key, allowed)
    return Override(where, row, key, _value(key, value.strip()))


def parse_overrides(texts: Sequence[str]) -> list[Override]:
    """Read several; of two of the same key the last counts.

    Raises
    ------
    OptionError
        As `parse_override`.
    """
    found = [parse_override(text) for text in texts]
    last = {(it.where, it.row, it.key): it for it in found}
    return list(last.values())


def _value(key: str, text: str) -> Any:
    for spelling in (text, f"[{text}]") if "," in text else (text,):
        with suppress(ValueError, RecursionError):  # see `featx.recipes.recipe.parse`
            found = tomllib.loads(f"v = {spelling}") if "\n" not in spelling else {}
            if list(found) == ["v"]:
                plain = isinstance(found["v"], (str, list)) or not is_text(key)
                return found["v"] if plain else text
    if text.startswith("[") and text.endswith("]"):  # bare words
        return [part.strip() for part in text[1:-1].split(",") if part.strip()]
    return text
