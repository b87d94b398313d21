"""The examples in docstrings give what they say; every public class has one."""

from __future__ import annotations

import doctest
import importlib.util
import pkgutil
import warnings
from pathlib import Path

import pytest

import featx

WITH_EXAMPLES = sorted(
    module.name
    for package in ("featx", "featx.cache")
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
    if not module.ispkg and ">>> " in Path(str(importlib.util.find_spec(module.name).origin)).read_text("utf-8")
)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_give_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize("name", featx.__all__)
def test_every_public_name_has_an_example(name: str) -> None:
    assert ">>> " in (getattr(featx, name).__doc__ or "")
