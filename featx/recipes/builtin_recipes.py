"""The recipes that come with featx, and recipes found by name or path."""

from __future__ import annotations

import textwrap
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from featx.core.paths import expanded
from featx.errors import OptionError, suggest
from featx.recipes.expand import Recipe, expand
from featx.recipes.overrides import Override, parse_overrides
from featx.recipes.recipe import MAX_TITLE, parse, read_file

SUFFIX = ".toml"


def _folder() -> Traversable:
    return resources.files("featx.recipes").joinpath("builtin")


def built_in() -> dict[str, str]:
    """Return the titles of the recipes that come with featx, by name."""
    return {name: str(tomllib.loads(_text(name))["recipe"]["title"]) for name in _names()}


def _names() -> list[str]:
    found = (file.name for file in _folder().iterdir())
    return sorted(name.removesuffix(SUFFIX) for name in found if name.endswith(SUFFIX))


def _text(name: str) -> str:
    return _folder().joinpath(f"{name}{SUFFIX}").read_text(encoding="utf-8")


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe that comes with featx, or a file's.

    Parameters
    ----------
    name : str
        Of a recipe, or a path that ends in ``.toml``.
    changes : sequence of str
        ``key=value``, see `featx.recipes.overrides.parse_override`.

    Raises
    ------
    OptionError
        There is none, or it is wrong; says where.
    StoreError
        The file cannot be read.
    """
    names = _names()
    if name in names:
        text = _text(name)
    elif name.endswith(SUFFIX) and expanded(name).is_file():
        text = read_file(expanded(name))
    else:
        here = [path.name for path in Path().glob(f"*{SUFFIX}") if path.is_file()] if Path().is_dir() else []
        hint = suggest(name, [*names, *here]) or "`featx run --list` shows those that come with featx"
        raise OptionError(f"there is no recipe {name!r:.80}, expected a name or a {SUFFIX} file", hint)
    overrides = parse_overrides(changes)
    recipe = expand(parse(text, name, overrides))
    return replace(recipe, title=_changed(recipe.title, overrides))


def _changed(title: str, overrides: Sequence[Override]) -> str:
    """Return a title that says what was changed; of paths only the names, whose folders are nobody's business."""
    told = [f"{it.label}={Path(str(it.value)).name}" for it in overrides if it.key != "source"]
    return textwrap.shorten(f"{title}; with {', '.join(told)}", 3 * MAX_TITLE) if told else title
