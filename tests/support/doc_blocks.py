"""The fenced blocks of a Markdown page: what a reader would copy, and how to try it.

A block below the comment ``<!-- parsed, not run: REASON -->`` needs something that a test has not: its options and
names are checked, and nothing is run.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from featx.cli.main import cli
from featx.core.paths import home_folder
from featx.core.run_folder import Runs

SHELLS = ("sh", "console")

_FENCE = re.compile(r"^ *```(\w*)")
_MARK = re.compile(r"<!-- parsed, not run: (\S.*) -->")
_CALL = re.compile(r"(?:\$ )?(?:\.venv/bin/)?featx ")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it begins, its language, its lines, and why it cannot be run here (else empty)."""

    place: str
    language: str
    text: str
    only_parsed: str


@dataclass(frozen=True)
class Command:
    """A call of featx, and what the page shows below it (``console`` blocks)."""

    words: tuple[str, ...]
    shown: str


def blocks(page: Path) -> Iterator[Block]:
    """Give a page's blocks in order."""
    lines = iter(enumerate(page.read_text("utf-8").splitlines(), 1))
    mark = ""
    for number, line in lines:
        fence = _FENCE.match(line)
        if fence:
            inside = []
            for _, each in lines:
                if _FENCE.match(each):
                    break
                inside.append(each)
            yield Block(f"{page.name}:{number}", fence[1], "\n".join(inside) + "\n", mark)
        if line.strip():
            found = _MARK.search(line)
            mark = found[1] if found else ""


def commands(block: Block) -> Iterator[Command]:
    """Give a shell block's calls of featx, up to what a shell does with their output."""
    lines = block.text.replace("\\\n", " ").splitlines()
    for i, line in enumerate(lines):
        if not _CALL.match(line):
            continue
        words = shlex.split(line.removeprefix("$ "), comments=True)
        end = next((i for i, word in enumerate(words) if word in ("|", ">", "&&", ";")), len(words))
        shown = []
        for each in lines[i + 1 :] if block.language == "console" else ():
            if each.startswith("$ "):
                break
            shown.append(each)
        yield Command(tuple(words[1:end]), "\n".join(shown) + "\n" if shown else "")


def parse(words: Sequence[str]) -> None:
    """Read a command line as click does, without running it; click.UsageError for what does not exist."""
    command: click.Command = cli
    name, rest, parent = "featx", list(words), None
    while True:
        parent = command.make_context(name, rest, parent=parent)
        if not isinstance(command, click.Group):
            return
        found, below, rest = command.resolve_command(parent, [*getattr(parent, "_protected_args", ()), *parent.args])
        assert found is not None
        assert below is not None
        name, command = found, below


def filled_in(words: Sequence[str]) -> list[str]:
    """Return a command line with RUN and KEY replaced: the newest run, and the features last used."""
    names = {}
    if any("RUN" in word for word in words):
        names["RUN"] = Runs().list()[-1].id
    if any("KEY" in word for word in words):
        from featx.cache.store import FeatureStore

        names["KEY"] = FeatureStore(home_folder()).ls()[0].digest[:12]
    return [re.sub(r"\b(RUN|KEY)\b", lambda match: names[match[0]], word) for word in words]


def check_names(code: str) -> None:
    """Check Python that is not run: what it imports from featx is there, and takes the keywords that it gives."""
    tree = ast.parse(code)
    known: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "featx":
            module = importlib.import_module(str(node.module))
            known |= {alias.asname or alias.name: getattr(module, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in known:
            given = {keyword.arg: None for keyword in node.keywords if keyword.arg}
            inspect.signature(known[node.func.id]).bind(*node.args, **given)
