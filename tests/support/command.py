"""The command line, in this process and in one of its own, on the home that each test has."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result
from programs import PROGRAM

from featx.cli.main import cli
from featx.core.paths import home_folder


def featx(*args: object) -> Result:
    """Call ``featx ARGUMENTS`` in this process."""
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def document(*args: object, code: int = 0) -> Any:
    """Call ``featx ARGUMENTS --json`` and return the one document."""
    result = featx(*args, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def process(*args: object, env: Mapping[str, str] | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """Run ``featx ARGUMENTS`` in a process of its own."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, *PROGRAM, *map(str, args)]
    together = {**os.environ, **(env or {})}
    return subprocess.run(command, env=together, text=True, check=False, timeout=120, **{**streams, **how})


def folder_of(run: str) -> Path:
    """Return a run's folder."""
    return home_folder() / "runs" / run
