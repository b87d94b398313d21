"""A recipe's file: TOML that says which rows a table has. It is read and checked here; `expand` makes the rows."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featx.core import atomic
from featx.core.backbone_names import PIXELS
from featx.errors import OptionError, suggest
from featx.recipes.experiment import ROW as OF_ROW
from featx.recipes.fields import (
    FIT,
    HINTS,
    KEYS,
    LAYERS,
    MODE,
    OF_A_NETWORK,
    ROW_ONLY,
    TRAIN,
    check_key,
    checked,
    spelt,
)
from featx.recipes.overrides import ROW, Override

MAX_BYTES = 256 << 10
MAX_TITLE = 200

HEAD: dict[str, Any] = {"name": str, "title": str, "needs": str, "draw": Sequence[str], "columns": Sequence[str]}
"""Keys of ``[recipe]``."""

DRAWN = ("curves", "layers")
"""Pictures beside the report: all learning curves over each other; the layer map of each fit on several layers."""

TABLES = ("recipe", "defaults", FIT, TRAIN, ROW)
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,40}")


@dataclass
class RawRow:
    """A ``[[row]]`` as it was written; `place` is what errors call it."""

    place: str
    name: str
    keys: dict[str, Any]


@dataclass
class Raw:
    """A recipe as it was written, with its keys checked and the call's changes made.

    Parameters
    ----------
    name, title, needs : str
        What files are named by; one line for people; what images it is for, where it names none.
    draw, columns : tuple of str
        Pictures, of `DRAWN`; columns of the table beside its own, as ``featx report --columns`` takes them.
    defaults : dict
        Of every row, by key.
    of_kind : dict
        Of every fit and of every training.
    rows : list of RawRow
        The rows.
    """

    name: str
    title: str
    needs: str
    draw: tuple[str, ...]
    columns: tuple[str, ...]
    defaults: dict[str, Any]
    of_kind: dict[str, dict[str, Any]]
    rows: list[RawRow] = field(default_factory=list)


def read_file(path: Path) -> str:
    """Return a recipe's text.

    Raises
    ------
    OptionError
        It is not there, too large, or no text.
    """
    try:
        data = atomic.read_bytes(path, MAX_BYTES, "name a recipe's .toml file")
        return data.decode("utf-8-sig")  # editors of Windows begin a file with a mark
    except UnicodeDecodeError as exc:
        raise OptionError(f"recipe {path} is not UTF-8 text", "save it as UTF-8") from exc


def parse(text: str, where: str, overrides: Sequence[Override] = ()) -> Raw:
    """Read a recipe and make the call's changes.

    Parameters
    ----------
    text : str
        TOML.
    where : str
        What errors call it.
    overrides : sequence of Override
        Changes: a key's is made in the defaults and in each row that says otherwise.

    Raises
    ------
    OptionError
        It is no TOML; a key that is none; a value of another kind; names the place.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:  # a whole number of thousands of digits is no TOMLDecodeError
        raise OptionError(
            f"recipe {where} is not TOML: {str(exc)[:200]}", "see docs/recipes.md for the format"
        ) from exc
    for key in document:
        check_key(f"recipe {where}", key, TABLES)
    head = _table(document, "recipe", HEAD, "[recipe]")
    raw = _headed(where, {key: checked("[recipe]", key, head[key], HEAD[key]) for key in head})
    raw.defaults = _table(document, "defaults", HINTS, "[defaults]")
    raw.of_kind = {kind: _table(document, kind, _but_mode(kind), f"[{kind}]") for kind in (FIT, TRAIN)}
    raw.rows = _rows(where, document.get(ROW))
    for change in overrides:
        _change(raw, change)
    return raw


def _but_mode(kind: str) -> dict[str, Any]:
    return {key: hint for key, hint in KEYS[kind].items() if key != MODE}


def _headed(where: str, head: Mapping[str, Any]) -> Raw:
    name = head.get("name", "")
    if not _NAME.fullmatch(name):
        raise OptionError(
            f"[recipe]: name is {name!r:.60}, expected lower-case letters, digits and '-', since files are named by it",
            f'for example name = "{_NAME.sub("", "my-table") or "my-table"}"',
        )
    title = head.get("title", name)
    if len(title) > MAX_TITLE:
        raise OptionError(f"[recipe]: title has {len(title)} characters, expected at most {MAX_TITLE}", "shorten it")
    draw = head.get("draw", ())
    for word in draw:
        check_key("[recipe]: draw", word, DRAWN)
    needs = head.get("needs", "images")
    return Raw(name, title, needs, draw, head.get("columns", ()), {}, {})


def _table(document: Mapping[str, Any], name: str, keys: Mapping[str, Any], place: str) -> dict[str, Any]:
    found = document.get(name, {})
    if not isinstance(found, dict):
        raise OptionError(f"{name} is a {type(found).__name__}, expected a table", f"write it as {place}")
    spelled: dict[str, Any] = {}
    for key, value in found.items():
        check_key(place, spelt(key), keys)
        if spelt(key) in spelled:
            raise OptionError(f"{place} has {spelt(key)} twice, with - and with _", "leave one out")
        spelled[spelt(key)] = value
    return spelled


def _rows(where: str, found: Any) -> list[RawRow]:
    if not isinstance(found, list) or not found or not all(isinstance(row, dict) for row in found):
        raise OptionError(f"recipe {where} has no rows, expected [[row]] tables", "write each row below a line [[row]]")
    rows = []
    for number, row in enumerate(found, 1):
        name = row.get("name", "")
        place = f"row {number}" + (f" ({name!r:.60})" if isinstance(name, str) and name else "")
        keys = _table({ROW: row}, ROW, {**HINTS, **ROW_ONLY}, place)
        name = " ".join(checked(place, "name", keys.pop("name", ""), str).split())
        if len(name) > MAX_TITLE:
            raise OptionError(f"{place}: name has {len(name)} characters, expected at most {MAX_TITLE}", "shorten it")
        rows.append(RawRow(place, name, keys))
    return rows


def kinds_of(raw: Raw, row: RawRow) -> set[str]:
    """Return whether a row is of fits, of trainings, or, with a list of modes, of both."""
    modes = row.keys.get(MODE, raw.defaults.get(MODE, FIT))
    return {FIT if mode == FIT else TRAIN for mode in (modes if isinstance(modes, list) else [modes])}


def _change(raw: Raw, change: Override) -> None:
    if change.where == ROW:
        _row_named(raw, change).keys[change.key] = change.value
        return
    kinds = {change.where} if change.where else {FIT, TRAIN}
    if not any(_takes(raw, row, change.key, kinds) for row in raw.rows):
        raise OptionError(f"{change.place}: no row has a use for it", "leave it out")
    for kind in kinds if change.where else ():
        raw.of_kind[kind][change.key] = change.value
    if not change.where:
        raw.defaults[change.key] = change.value
        for keys in raw.of_kind.values():
            _replace(keys, change)
    for row in raw.rows:
        if kinds_of(raw, row) & kinds and not _is_its_own(row, change.key):
            _replace(row.keys, change)


def _takes(raw: Raw, row: RawRow, key: str, kinds: set[str]) -> bool:
    """Tell whether a change of a key, in all rows of some kinds, is one for a row."""
    other = key in LAYERS and key not in row.keys and any(name in row.keys for name in LAYERS)
    used = any(key in KEYS[kind] for kind in kinds_of(raw, row) & kinds)
    return used and not other and not _is_its_own(row, key)


def _is_its_own(row: RawRow, key: str) -> bool:
    """Tell whether a row goes without the networks that others share, and a key is of those."""
    backbone = row.keys.get("backbone")
    is_pixels, is_row = backbone == PIXELS, isinstance(backbone, str) and backbone.startswith(OF_ROW)
    return (key == "backbone" and (is_pixels or is_row)) or (is_pixels and (key in OF_A_NETWORK or key in LAYERS))


def _replace(keys: dict[str, Any], change: Override) -> None:
    if change.key in keys:
        keys[change.key] = change.value


def _row_named(raw: Raw, change: Override) -> RawRow:
    row = next((row for row in raw.rows if row.name and row.name == change.row), None)
    if row is None:
        names = [row.name for row in raw.rows if row.name]
        hint = suggest(change.row, names) or f"rows with a name: {', '.join(names) or 'none'}"
        raise OptionError(f"{change.place}: there is no row {change.row!r:.80}", hint)
    return row
