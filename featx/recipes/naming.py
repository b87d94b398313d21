"""What the rows of a recipe are called."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from featx.errors import OptionError, suggest
from featx.recipes.fields import FIT, MODE
from featx.recipes.recipe import RawRow

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


def name_of(row: RawRow, keys: Mapping[str, Any], told: Sequence[str]) -> str:
    """Return a row's name: its own, with placeholders filled in, and what else tells it from its likes.

    Parameters
    ----------
    row : RawRow
        As it was written: perhaps for several rows, perhaps without a name.
    keys : mapping
        Of this one row.
    told : sequence of str
        Keys whose values differ between the rows that were written as one.

    Raises
    ------
    OptionError
        A placeholder is none of the keys.
    """
    filled = _PLACEHOLDER.findall(row.name)
    for key in filled:
        if key not in keys:
            hint = suggest(key, keys) or f"keys are {', '.join(keys)}"
            raise OptionError(f"{row.place}: its name has {{{key}}}, and the row has no {key}", hint)
    base = _PLACEHOLDER.sub(lambda found: _text("", keys[found[1]]), row.name)
    usual = [] if base else [str(keys["backbone"]), str(keys[MODE] if keys[MODE] != FIT else keys.get("layer", ""))]
    own = [_text(key, keys[key]) for key in dict.fromkeys(told) if key not in filled]
    return ", ".join(dict.fromkeys(word for word in [base, *usual, *own] if word))


def _text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    said = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return f"{key}={said}" if key else said
