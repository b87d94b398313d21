"""``featx cache``: look into the feature store and tidy it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.groups import Group
from featx.cli.output import Output
from featx.cli.text import counted, human_age, human_bytes
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.cache.store import Entry

PREFIX = 12
"""Characters of a key's digest that are shown; any unique beginning names it."""

NOUN = ("entry", "entries")


@click.group(cls=Group)
def cache() -> None:
    """Look into the feature store and tidy it.

    KEY is the beginning of a digest that `featx cache ls` shows.

    \b
    Examples:
      featx cache ls
      featx cache rm 3f2a --dry-run
    """


@cache.command("ls")
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


@cache.command("info")
@click.argument("key")
@options.common
def show_entry(out: Output, home: Path, key: str) -> None:
    """Show what a stored feature was computed from, and how.

    \b
    Examples:
      featx cache info 3f2a
      featx cache info 3f2a --json
    """
    from featx.cache.folder import KeyFolder
    from featx.cache.store import FeatureStore

    store = FeatureStore(home)
    entry = store.find(key)
    folder = KeyFolder(store.folder(entry.digest))
    facts = {**asdict(entry), "path": str(folder.path)}
    stored = {"key": folder.key(), "plan": folder.plan().plan.as_dict(), "about": folder.about()}
    for name, value in _spelled({**facts, **stored}):
        out.say(f"{name}: {value}")
    out.result({**facts, **stored})


@cache.command("rm")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All features.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@options.common
def remove(out: Output, home: Path, keys: tuple[str, ...], everything: bool, dry_run: bool, yes: bool) -> None:
    """Remove stored features.

    \b
    Examples:
      featx cache rm 3f2a 91bc
      featx cache rm --all --yes
    """
    from featx.cache.store import FeatureStore

    if bool(keys) == everything:
        raise OptionError("rm takes either keys or --all", "`featx cache ls` shows the keys")
    store = FeatureStore(home)
    entries = store.ls() if everything else [store.find(key) for key in keys]
    chosen = list({entry.digest: entry for entry in entries}.values())
    total = sum(entry.bytes for entry in chosen)
    if chosen and not dry_run and not yes:
        confirm(f"{counted(len(chosen), *NOUN)}, {human_bytes(total)}")
    removed: list[dict[str, Any]] = []
    out.kept = "features that were not removed yet"
    for entry in chosen:
        freed = entry.bytes if dry_run else store.remove(entry.digest)
        removed.append({"digest": entry.digest, "bytes": freed})
        verb = "would remove" if dry_run else "removed"
        out.say(f"{verb} {_name(entry)}, {human_bytes(freed)}")
    if not chosen:
        out.say(f"nothing to remove in {home}")
    freed_bytes = sum(item["bytes"] for item in removed)
    out.result({"removed": removed, "bytes": freed_bytes, "dry_run": dry_run})


@cache.command("path")
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


def is_asked() -> bool:
    """Say whether somebody sits at standard input."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(what: str) -> None:
    """Ask on the terminal before `what` is removed; OptionError where there is none or the answer is no."""
    if not is_asked():
        raise OptionError(
            f"rm asks before it removes {what}, and standard input is no terminal", "add --yes, or --dry-run"
        )
    if not click.confirm(f"remove {what}?", err=True):
        raise OptionError("nothing was removed")


def _name(entry: Entry) -> str:
    return f"{entry.digest[:PREFIX]} ({entry.source} {entry.split} {entry.backbone} {entry.layer})"


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
