"""Docstrings say what the code takes, gives and raises: validated by numpydoc, and by rules of our own."""

from __future__ import annotations

import ast
import builtins
import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpydoc.docscrape import NumpyDocString, get_doc_object
from numpydoc.validate import ERROR_MSGS, validate

import featx
from featx import errors
from featx.errors import OptionError

ROOT = Path(__file__).resolve().parents[1]

OFF = {
    "GL01": "a summary begins beside its quotes, as ruff format leaves it",
    "ES01": "a summary that says it all needs no second paragraph",
    "SA01": "other names stand in the sentences, where they are linked",
    "EX01": "every public name has an example (test_doctests), not every method of it",
    "PR08": "descriptions begin with dtypes, units and formulas (float32, px, n / k)",
    "RT04": "as PR08",
}
"""What of numpydoc's checks is not asked of the public API, and why; all others are."""

PUBLIC = frozenset(ERROR_MSGS) - frozenset(OFF)
EVERYWHERE = frozenset(("GL03", "GL05", "GL06", "GL07", "GL08", "GL09", "GL10", "SS01", "SS02", "SS03", "SS04", "PR02"))
"""Asked of every function and class without an underscore. Most of these are internal: a sentence is enough for them,
and what is said beyond it has to be true (PR02: no parameter that is not there)."""

BESIDE = {
    "featx.audit.similarity": ("Similarity",),
    "featx.cache.entries": ("Entry",),
    "featx.cache.key": ("FeatureKey",),
    "featx.cache.matrix": ("FeatureMatrix",),
    "featx.core.specs": ("BackboneConfig", "ExtractConfig", "PreprocessSpec", "Views"),
    "featx.data.sources": ("Source", "load_splits"),
    "featx.errors": (
        *("CorruptStoreError", "DiskFullError", "FeatureError", "FeatxWarning", "ImageError", "OptionError"),
        *("OutOfMemoryError", "SourceError", "StoreError", "WeightsError"),
    ),
    "featx.portable": ("LinearModel", "read_model", "write_model"),
    "featx.probes.linear_classifier": ("LinearClassifier", "NotConvergedWarning"),
    "featx.training.config": ("TrainConfig",),
}
"""What public names take, give, raise and inherit from, and a user reads as much of. What only featx itself handles,
as the plan and the writer of a key, has the rules of all others."""

SHAPE = re.compile(r"\bshapes?\b")
ARRAY = re.compile(r"\b(NDArray|ndarray|Array|Floats|Hashes|Labels)\b")


def find_modules() -> list[str]:
    """All modules of the library and the store, by name."""
    found = []
    for package, folder in (("featx", ROOT / "featx"), ("featx.cache", ROOT / "cache")):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found.append(".".join([package, *(part for part in parts if part != "__init__")]))
    return sorted(found)


def function_of(member: Any) -> Any:
    """Return the function in a class method, a static method, or a method that is there on a condition."""
    for name in ("__func__", "fn"):
        member = getattr(member, name, member)
    return member


def methods_of(cls: type) -> Iterator[tuple[str, Any]]:
    """Yield a class's own public methods and properties."""
    for name, member in vars(cls).items():
        found = function_of(member)
        if not name.startswith("_") and (
            inspect.isfunction(found) or isinstance(found, property | functools.cached_property)
        ):
            yield name, found


def documented(module: str) -> dict[str, Any]:
    """Name -> function, class or method, of all that a module defines without an underscore."""
    found: dict[str, Any] = {}
    for name, value in vars(importlib.import_module(module)).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            found[f"{module}.{name}"] = value
        if inspect.isclass(value):
            found |= {f"{module}.{name}.{method}": function for method, function in methods_of(value)}
    return found


def public() -> dict[str, Any]:
    """The public API: featx's names and what stands beside them, with their methods."""
    beside = [getattr(importlib.import_module(module), name) for module, names in BESIDE.items() for name in names]
    values = [*(getattr(featx, name) for name in featx.__all__), *beside]
    wanted = {f"{value.__module__}.{value.__name__}" for value in values}
    modules = {name.rpartition(".")[0] for name in wanted}
    return {
        name: value
        for module in sorted(modules)
        for name, value in documented(module).items()
        if name in wanted or name.rpartition(".")[0] in wanted
    }


def numpydoc_says(value: Any, checks: frozenset[str]) -> list[str]:
    """Return what numpydoc finds, of these checks."""
    found = validate(get_doc_object(value))["errors"]
    if inspect.isclass(value) and (getattr(value, "_is_protocol", False) or "__init__" not in vars(value)):
        checks = checks - {"PR01"}  # what a constructor takes is documented where it is defined
    return [f"{code} {text}" for code, text in found if code in checks]


def own_says(value: Any) -> list[str]:
    """Return what is wrong by the rules that numpydoc does not know: shapes, attributes, errors, defaults."""
    doc = NumpyDocString(inspect.getdoc(value) or "")
    entries = [entry for section in ("Parameters", "Attributes", "Returns", "Yields") for entry in doc[section]]
    texts = {entry.name: f"{entry.type} {' '.join(entry.desc)}" for entry in entries}
    arrays = [entry for entry in entries if re.search(r"\barray|ndarray", entry.type)]
    found = [f"no shape: {entry.name or entry.type}" for entry in arrays if not is_shaped(entry)]
    found += [f"default in the text: {name}" for name, text in texts.items() if re.search(r"\bdefaults? [\d`'(]", text)]
    found += [f"no description: {entry.name}" for entry in doc["Attributes"] if not "".join(entry.desc).strip()]
    code = getattr(value, "fget", None) or getattr(value, "func", None) or value
    annotations = {} if inspect.isclass(code) else code.__annotations__
    for name in [name for name, kind in annotations.items() if ARRAY.search(str(kind))]:
        if not SHAPE.search(value.__doc__ if name == "return" else texts.get(name, "")):
            found.append(f"no shape: {name}")
    said = " ".join(entry.type for entry in doc["Raises"])
    return found + [f"not among the errors: {name}" for name in sorted(raised_by(code)) if not is_named(name, said)]


def is_shaped(entry: Any) -> bool:
    """Tell whether a section's entry gives a shape, beside its type or in its description."""
    return SHAPE.search(f"{entry.type} {' '.join(entry.desc)}") is not None


def is_named(error: str, said: str) -> bool:
    """Tell whether a Raises section names an error or what it is a kind of."""
    kind = getattr(errors, error, None) or getattr(builtins, error)
    return any(base.__name__ in re.findall(r"\w+", said) for base in kind.__mro__ if base.__name__.endswith("Error"))


def raised_by(code: Any) -> set[str]:
    """Names of the errors that a function, or a constructor, raises itself or by its module's private helpers."""
    if inspect.isclass(code):
        makers = [vars(code)[name] for name in ("__init__", "__post_init__") if name in vars(code)]
        return {error for maker in makers if not is_made(maker) for error in raised_by(maker)}
    functions = functions_in(code.__module__)
    found: set[str] = set()
    due: list[ast.AST] = [ast.parse(textwrap.dedent(inspect.getsource(code)))]
    seen: set[str] = set()
    while due:
        for node in ast.walk(due.pop()):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                found.add(last_name(node.exc.func))
            elif isinstance(node, ast.Call) and (name := last_name(node.func)).startswith("_") and name not in seen:
                seen.add(name)
                due += functions.get(name, [])
    return {name for name in found if name.endswith("Error")}


def is_made(function: Any) -> bool:
    """Tell whether a function has no source, as what ``dataclass`` and ``Protocol`` add."""
    return function.__module__ == "typing" or function.__code__.co_filename.startswith("<")


@functools.cache
def functions_in(module: str) -> dict[str, list[ast.AST]]:
    """Name -> definitions of a module's functions and methods."""
    found: dict[str, list[ast.AST]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(importlib.import_module(module)))):
        if isinstance(node, ast.FunctionDef):
            found.setdefault(node.name, []).append(node)
    return found


def last_name(node: ast.expr) -> str:
    """Return ``c`` for ``a.b.c``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


API = public()


@pytest.mark.parametrize("name", API)
def test_what_is_public_is_documented_whole(name: str) -> None:
    assert numpydoc_says(API[name], PUBLIC) + own_says(API[name]) == []


@pytest.mark.parametrize("module", find_modules())
def test_every_name_without_an_underscore_has_a_sentence_and_what_it_says_is_true(module: str) -> None:
    said = {name: numpydoc_says(value, EVERYWHERE) for name, value in documented(module).items()}
    assert {name: errors for name, errors in said.items() if errors} == {}


def _halve(X: np.ndarray[Any, Any], y: int) -> np.ndarray[Any, Any]:
    """halves X

    Parameters
    ----------
    X : ndarray
        What is halved (default 2).
    z
    """
    if not len(X):
        raise OptionError("X is empty")
    _check_count(y)
    return X / 2


def _check_count(y: int) -> None:
    if y < 1:
        raise ValueError("y is below 1")


def test_the_checks_see_what_is_wrong() -> None:
    codes = {line.split()[0] for line in numpydoc_says(_halve, PUBLIC)}
    assert codes >= {"SS02", "SS03", "PR01", "PR02", "PR04", "PR07", "RT01"}
    assert own_says(_halve) == [
        "no shape: X",
        "default in the text: X",
        "no shape: X",
        "no shape: return",
        "not among the errors: OptionError",
        "not among the errors: ValueError",
    ]
    assert numpydoc_says(_check_count, EVERYWHERE) == [f"GL08 {ERROR_MSGS['GL08']}"]


def test_an_error_is_named_by_what_it_is_a_kind_of() -> None:
    assert is_named("DiskFullError", "CorruptStoreError, StoreError")
    assert not is_named("StoreError", "DiskFullError")


def test_the_public_api_is_all_that_is_checked_as_such() -> None:
    names = {name.rpartition(".")[2] for name in API}
    assert names >= {*featx.__all__, "partial_fit", "iter_shuffled", "load_splits", "ids"}
    assert set(API) < {name for module in find_modules() for name in documented(module)}


def test_checks_that_are_off_exist() -> None:
    assert set(OFF) | EVERYWHERE <= set(ERROR_MSGS)
