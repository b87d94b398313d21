"""Ways to call the command line, and a small store to call it on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from programs import store_features

from featx.cli.main import cli


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, not made yet, and an environment without the user's own wishes."""
    for name in ("COLUMNS", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "home"
    monkeypatch.setenv("FEATX_HOME", str(folder))
    return folder


@pytest.fixture
def featx(home: Path) -> Callable[..., Result]:
    """Call ``featx ARGUMENTS`` in this process; the result has exit_code, stdout and stderr."""
    return lambda *args, **how: CliRunner().invoke(cli, [str(arg) for arg in args], **how)


@pytest.fixture
def featx_json(featx: Callable[..., Result]) -> Callable[..., tuple[int, Any]]:
    """Call ``featx ARGUMENTS --json``; return the exit code and the one document."""

    def call(*args: object) -> tuple[int, Any]:
        result = featx(*args, "--json")
        return result.exit_code, json.loads(result.stdout)

    return call


@pytest.fixture
def shell(home: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python with `args` in a process of its own, outside the checkout; ``env`` is added to ours."""

    def call(*args: str, env: dict[str, str] | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, *args]
        together = {**os.environ, **(env or {})}
        return subprocess.run(command, cwd=tmp_path, env=together, text=True, check=False, **{**streams, **how})

    return call


@pytest.fixture
def stored(home: Path) -> dict[str, str]:
    """A store with a complete and an incomplete entry: layer -> digest."""
    return {
        "layer3:avg": store_features(home, "layer3:avg"),
        "layer4": store_features(home, "layer4", complete=False),
    }
