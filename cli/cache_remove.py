"""``featx cache rm`` and ``gc``: features that are no longer wanted."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.amounts import max_age, max_size
from featx.cli.cache_look import NOUN, name_of
from featx.cli.output import Output
from featx.cli.text import counted, human_age, human_bytes
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.cache.store import FeatureStore
    from featx.cache.upkeep import Listed

KEPT = "features not removed yet remain"
"""What an interruption leaves."""

dry_run_option = click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command("rm")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="All features.")
@dry_run_option
@yes_option
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
    confirm("rm", chosen, sure=dry_run or yes)
    removed: list[dict[str, Any]] = []
    out.kept = KEPT
    for entry in chosen:
        freed = entry.bytes if dry_run else store.remove(entry.digest)
        removed.append({"digest": entry.digest, "bytes": freed})
        verb = "would remove" if dry_run else "removed"
        out.say(f"{verb} {name_of(entry)}, {human_bytes(freed)}")
    if not chosen:
        out.say(f"nothing to remove in {home}")
    freed_bytes = sum(item["bytes"] for item in removed)
    out.result({"removed": removed, "bytes": freed_bytes, "dry_run": dry_run})


@click.command("gc")
@click.option(
    "--max-size",
    "max_bytes",
    metavar="SIZE",
    callback=max_size,
    help="Keep at most this much, such as 50GB or 1.5TiB.",
)
@click.option(
    "--older-than",
    "age",
    metavar="AGE",
    callback=max_age,
    help="Remove features not used for this long, such as 12h, 30d or 8w.",
)
@dry_run_option
@yes_option
@options.common
def collect(out: Output, home: Path, max_bytes: int | None, age: float | None, dry_run: bool, yes: bool) -> None:
    """Remove the least recently used features.

    Complete or not, the least recently used go first; what a process is computing is kept. --max-size counts what
    `featx cache ls` adds up: stored features, but not the cached hashes of images (memo/) and not runs, which
    `featx runs gc` removes. Files left behind by killed processes are removed too.

    \b
    Examples:
      featx cache gc --max-size 50GB --dry-run
      featx cache gc --older-than 30d --yes
    """
    from featx.cache import upkeep
    from featx.cache.store import FeatureStore

    if max_bytes is None and age is None:
        raise OptionError("gc needs --max-size or --older-than", "for example --max-size 50GB")
    store = FeatureStore(home)
    now = time.time()
    chosen = upkeep.choose(store.ls(), now, max_bytes, age, lambda entry: upkeep.in_use(store.folder(entry.digest)))
    confirm("gc", [entry for entry, _ in chosen.going], sure=dry_run or yes)
    out.kept = KEPT
    if not dry_run:
        upkeep.sweep(store)
    gone = _remove_all(out, store, chosen, now, dry_run)
    for entry in chosen.busy:
        out.say(f"kept {name_of(entry)}, {human_bytes(entry.bytes)}: in use by another process")
    stays = [*chosen.staying, *chosen.busy]
    verb = "stay" if not dry_run else "would stay"
    out.say(f"{counted(len(stays), *NOUN)}, {human_bytes(chosen.bytes_left)} {verb} in {home}")
    runs = _tell_of_runs(out, home)
    if max_bytes is not None and chosen.bytes_left > max_bytes:
        out.note(f"this exceeds {human_bytes(max_bytes)}: run it again when nothing is being computed")
    out.result(
        {
            "home": home,
            "removed": gone,
            "bytes": sum(item["bytes"] for item in gone),
            "stay": [entry.digest for entry in stays],
            "in_use": [entry.digest for entry in chosen.busy],
            "bytes_left": chosen.bytes_left,
            "runs": runs,
            "dry_run": dry_run,
        }
    )


def _tell_of_runs(out: Output, home: Path) -> dict[str, int]:
    """Say what the runs beside the store take, which is not counted here."""
    from featx.core.run_folder import Runs
    from featx.runs.entries import entries_of

    entries = entries_of(Runs(home))
    size = sum(entry.bytes for entry in entries)
    if entries:
        out.say(f"not counted: {counted(len(entries), 'run', 'runs')}, {human_bytes(size)}; see `featx runs gc`")
    return {"count": len(entries), "bytes": size}


def _remove_all(out: Output, store: FeatureStore, chosen: Any, now: float, dry_run: bool) -> list[dict[str, Any]]:
    from featx.cache import upkeep

    gone: list[dict[str, Any]] = []
    for entry, reason in chosen.going:
        freed = entry.bytes if dry_run else upkeep.remove_unless_used(store, entry.digest)
        if freed is None:  # a process started to compute it after it was chosen
            chosen.busy.append(entry)
            continue
        gone.append({"digest": entry.digest, "bytes": freed, "reason": reason})
        used = f"used {_ago(now - entry.last_used)}" if entry.last_used else "never used"
        verb = "would remove" if dry_run else "removed"
        out.say(f"{verb} {name_of(entry)}, {human_bytes(freed)}: {used}")
    return gone


def _ago(seconds: float) -> str:
    age = human_age(seconds)
    return age if age == "now" else f"{age} ago"


def is_asked() -> bool:
    """Say whether somebody sits at standard input."""
    return sys.stdin is not None and sys.stdin.isatty()


def confirm(command: str, entries: Sequence[Listed], sure: bool, noun: tuple[str, str] = NOUN) -> None:
    """Ask on the terminal before entries are removed; OptionError where there is none or the answer is no."""
    if sure or not entries:
        return
    what = f"{counted(len(entries), *noun)}, {human_bytes(sum(entry.bytes for entry in entries))}"
    if not is_asked():
        raise OptionError(
            f"{command} asks before removing {what}, and standard input is not a terminal", "add --yes or --dry-run"
        )
    if not click.confirm(f"remove {what}?", err=True):
        raise OptionError("nothing was removed")
