"""What a recipe's rows may say: options of fits and trainings by name, and what kind of value each takes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from featx.core.specs import BackboneConfig, ExtractConfig, Views
from featx.data.split_options import SplitOptions
from featx.errors import OptionError, suggest
from featx.probes.config import FitConfig
from featx.training.config import MODES, Mode, TrainConfig

FIT, TRAIN = "fit", "train"
"""The kinds of rows."""

KINDS: dict[str, tuple[type, ...]] = {
    FIT: (SplitOptions, BackboneConfig, Views, ExtractConfig, FitConfig),
    TRAIN: (SplitOptions, BackboneConfig, TrainConfig),
}
"""Whose fields are the options of each."""

ELSEWHERE = ("seed", "mode", "views")
"""Fields that a recipe writes otherwise: `seeds`, `mode` of either kind, and the views' own three."""

MODE = "mode"
WHAT: tuple[str, ...] = (FIT, *MODES)
"""What ``mode`` says."""

OWN: dict[str, Any] = {
    "source": str,
    "backbone": str,
    MODE: Literal[FIT, *MODES],
    "seeds": Sequence[int],
}
"""Keys of every row, beside options."""

OWN_OF: dict[str, dict[str, Any]] = {
    FIT: {"layer": str, "best_of": Sequence[str]},
    TRAIN: {"bench": bool},
}
"""Keys of rows of one kind, beside options."""

LAYERS = ("layer", "best_of")
"""A fit has one of them."""

ROW_ONLY: dict[str, Any] = {"name": str}

OF_A_NETWORK = {field.name for cls in (BackboneConfig, Views) for field in dataclasses.fields(cls)} | {"precision"}
"""What rows on raw pixels, and on another row's network, do not take from the defaults."""

NUMBERS = {int: "a whole number", float: "a number", bool: "true or false", str: 'text in quotes, such as "x"'}


def _hints(cls: type) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls) if f.name not in ELSEWHERE}


def _keys(kind: str) -> dict[str, Any]:
    options = {name: hint for cls in KINDS[kind] for name, hint in _hints(cls).items()}
    return {**OWN, **OWN_OF[kind], **options}


KEYS: dict[str, dict[str, Any]] = {kind: _keys(kind) for kind in KINDS}
"""Every key of a row by its kind, and what it takes."""

HINTS: dict[str, list[Any]] = {
    name: [KEYS[kind][name] for kind in KINDS if name in KEYS[kind]] for kind in KINDS for name in KEYS[kind]
}


def spelt(key: str) -> str:
    """Return a key as a field is called: ``per-class`` is ``per_class``."""
    return key.replace("-", "_")


def check_key(place: str, key: str, allowed: Mapping[str, Any] | Sequence[str]) -> None:
    """Raise OptionError for a key that is none; names the nearest."""
    if key not in allowed:
        hint = suggest(key, allowed) or f"keys are {', '.join(allowed)}"
        raise OptionError(f"{place} has no key {key!r:.80}", hint)


def is_sequence(key: str) -> bool:
    """Tell whether a list is one value of a key: then a list of lists multiplies rows."""
    return any(_is_sequence(hint) for hint in HINTS.get(key, ()))


def is_text(key: str) -> bool:
    """Tell whether a key takes text alone."""
    return all(set(_alternatives(hint)) == {str} for hint in HINTS.get(key, (int,)))


def checked(place: str, key: str, value: Any, hint: Any) -> Any:
    """Return a value as an option takes it.

    Raises
    ------
    OptionError
        It is of another kind; says where, and what was expected.
    """
    for kind in _alternatives(hint):
        if _is_sequence(kind):
            inner = get_args(kind)[0]
            parts = value if isinstance(value, list) else [value]
            if parts and all(_fits(part, inner) for part in parts):
                return tuple(float(part) if inner is float else part for part in parts)
        elif _fits(value, kind):
            return value
    raise OptionError(f"{place}: {key} is {_shown(value)}, expected {_expected(hint)}", _near(value, hint))


def _alternatives(hint: Any) -> list[Any]:
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [part for part in parts if part is not NoneType]


def _is_sequence(hint: Any) -> bool:
    return any(get_origin(kind) not in (None, Literal) for kind in _alternatives(hint))


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return any(type(value) is type(choice) and value == choice for choice in get_args(kind))
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and _is_float(value)
    return type(value) is kind


def _is_float(value: Any) -> bool:
    """Tell whether a number is no whole one beyond any float."""
    return isinstance(value, float) or bool(abs(value) <= sys.float_info.max)


def _choices(hint: Any) -> list[Any]:
    return [c for kind in _alternatives(hint) if get_origin(kind) is Literal for c in get_args(kind)]


def _expected(hint: Any) -> str:
    choices = _choices(hint)
    if choices:
        return f"one of {', '.join(map(str, choices))}"
    if _is_sequence(hint):
        return f"a list, each {NUMBERS[get_args(_alternatives(hint)[0])[0]]}"
    return " or ".join(NUMBERS[kind] for kind in _alternatives(hint))


def _near(value: Any, hint: Any) -> str:
    return suggest(value, map(str, _choices(hint))) if isinstance(value, str) else ""


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 and not isinstance(value, dict) else f"a {type(value).__name__}"


__all__ = ["KEYS", "KINDS", "Mode", "check_key", "checked", "is_sequence", "is_text", "spelt"]
