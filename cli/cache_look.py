"""``featx cache ls``, ``info`` and ``path``: what the store holds; no shard is opened."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.output import Output
from featx.cli.text import counted, human_age, human_bytes
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.cache.store import Entry, FeatureStore

PREFIX = 12
"""Characters of a key's digest that are shown; any unique beginning names it."""

NOUN = ("entry", "entries")


@click.command("ls")
@options.common
def list_entries(out: Output, home: Path) -> None:
    """List what the store holds, by last use.

    \b
    Examples:
      featx cache ls
      featx cache ls --json
    """
    from featx.cache.store import FeatureStore

    entries = FeatureStore(home).ls()
    total = sum(entry.bytes for entry in entries)
    if entries:
        columns = ("!key", "source", "backbone", "layer", ">rows", ">size", "!state", ">used")
        out.table(columns, [_cells(entry) for entry in entries])
    out.say(f"{counted(len(entries), *NOUN)}, {human_bytes(total)} in {home}")
    out.result({"home": home, "entries": [asdict(entry) for entry in entries], "bytes": total})


@click.command("info")
@click.argument("keys", metavar="KEY [KEY]", nargs=-1, required=True)
@click.option("--why", is_flag=True, help="Show where two keys differ.")
@options.common
def show_entry(out: Output, home: Path, keys: tuple[str, ...], why: bool) -> None:
    """Show what a stored feature was computed from, and how.

    With --why, show where two keys differ, and so why the first could not be reused for the second.

    \b
    Examples:
      featx cache info 3f2a
      featx cache info --why 3f2a 91bc
    """
    from featx.cache.store import FeatureStore

    if len(keys) != (2 if why else 1):
        raise OptionError(
            f"info {'--why ' * why}takes {'two keys' if why else 'one key'}, {len(keys)} were given",
            "`featx cache ls` shows the keys; --why compares two",
        )
    store = FeatureStore(home)
    if why:
        _compare(out, store, *keys)
    else:
        _show(out, store, keys[0])


def _show(out: Output, store: FeatureStore, key: str) -> None:
    from featx.cache.folder import KeyFolder

    entry = store.find(key)
    folder = KeyFolder(store.folder(entry.digest))
    facts = {**asdict(entry), "path": str(folder.path)}
    stored = {"key": folder.key(), "plan": folder.plan().plan.as_dict(), "about": folder.about()}
    if not out.json:
        for name, value in _spelled({**facts, **stored}):
            out.say(f"{name}: {value}")
    out.result({**facts, **stored})


def _compare(out: Output, store: FeatureStore, first: str, second: str) -> None:
    from featx.cache.compare import differences, rows_if_other
    from featx.cache.folder import KeyFolder

    digests = [store.find(key).digest for key in (first, second)]
    a, b = (KeyFolder(store.folder(digest)) for digest in digests)
    key_a, key_b = a.key(), b.key()
    hashes = rows_if_other(a, key_a, key_b), rows_if_other(b, key_b, key_a)
    lines = differences(key_a, key_b, a.about(), b.about(), *hashes)
    for line in lines:
        out.say(line)
    if not lines:
        out.say("the keys are the same")
    out.result({"keys": digests, "differences": lines})


@click.command("path")
@click.argument("key", required=False)
@options.common
def show_path(out: Output, home: Path, key: str | None) -> None:
    """Print the folder of the store, or of one key.

    \b
    Examples:
      featx cache path
      du -sh "$(featx cache path 3f2a)"
    """
    from featx.cache.store import FeatureStore

    store = FeatureStore(home)
    folder = store.home / "features" if key is None else store.folder(store.find(key).digest)
    out.say(str(folder))
    out.result({"path": folder})


def name_of(entry: Entry) -> str:
    """Return an entry's digest and, in brackets, what it is of."""
    about = " ".join(filter(None, (entry.source, entry.split, entry.backbone, entry.layer)))
    return f"{entry.digest[:PREFIX]} ({about or 'its key cannot be read'})"


def _cells(entry: Entry) -> Sequence[object]:
    age = human_age(time.time() - entry.last_used) if entry.last_used else ""
    state = "whole" if entry.complete else "part"
    about = (f"{entry.source} {entry.split}".strip(), entry.backbone, entry.layer)
    return (entry.digest[:PREFIX], *about, entry.rows, human_bytes(entry.bytes), state, age)


def _spelled(document: Mapping[str, Any], above: str = "") -> list[tuple[str, str]]:
    # Nested values one a line, under dotted names.
    lines: list[tuple[str, str]] = []
    for name, value in document.items():
        if isinstance(value, Mapping) and value:
            lines += _spelled(value, f"{above}{name}.")
        else:
            lines.append((f"{above}{name}", value if isinstance(value, str) else json.dumps(value)))
    return lines
