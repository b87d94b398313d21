"""``featx runs rm`` and ``gc``: runs that are no longer wanted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.amounts import max_age, max_size
from featx.cli.cache_remove import confirm, dry_run_option, yes_option
from featx.cli.completion import complete_any_run
from featx.cli.output import Output
from featx.cli.runs_look import NOUN, name_of, standing
from featx.cli.text import counted, human_age, human_bytes
from featx.errors import OptionError, first_few

if TYPE_CHECKING:
    from featx.cache.upkeep import Choice
    from featx.core.run_folder import Runs
    from featx.runs.entries import RunEntry

KEPT = "runs not removed yet remain"
"""What an interruption leaves."""


@click.command("rm")
@click.argument("names", metavar="[RUN]...", nargs=-1, shell_complete=complete_any_run)
@click.option("--all", "everything", is_flag=True, help="All runs.")
@click.option("--force", is_flag=True, help="Even those that other runs need to predict or to resume.")
@dry_run_option
@yes_option
@options.common
def remove(
    out: Output, home: Path, names: tuple[str, ...], everything: bool, force: bool, dry_run: bool, yes: bool
) -> None:
    """Remove runs.

    \b
    Examples:
      featx runs rm 20261121-190519 20261121-190525
      featx runs rm --all --dry-run
    """
    from featx.core.run_folder import Runs
    from featx.runs.entries import find_entry

    if bool(names) == everything:
        raise OptionError("rm takes either runs or --all", "`featx runs ls` shows the runs")
    runs = Runs(home)
    every = standing(runs, home)
    named = every if everything else [find_entry(runs, name) for name in names]
    chosen = list({entry.digest: entry for entry in named}.values())
    if not force:
        _check_needed(every, [entry.digest for entry in chosen])
    confirm("rm", chosen, sure=dry_run or yes, noun=NOUN)
    out.kept = KEPT
    gone, busy = _remove_all(out, runs, [(entry, "") for entry in chosen], dry_run)
    if not chosen:
        out.say(f"nothing to remove in {home}")
    if busy:
        out.exit_code = 1
    freed = sum(item["bytes"] for item in gone)
    out.result({"removed": gone, "bytes": freed, "in_use": [entry.digest for entry in busy], "dry_run": dry_run})


def _check_needed(every: Sequence[RunEntry], going: Sequence[str]) -> None:
    from featx.runs.entries import dependents

    for base, needing in dependents(every, going).items():
        raise OptionError(
            f"run {base} is needed by {counted(len(needing), *NOUN)}: {first_few(needing)}",
            "remove those too, or add --force",
        )


@click.command("gc")
@click.option(
    "--max-size",
    "max_bytes",
    metavar="SIZE",
    callback=max_size,
    help="Keep at most this much, such as 5GB or 500MB.",
)
@click.option(
    "--older-than",
    "age",
    metavar="AGE",
    callback=max_age,
    help="Remove runs written this long ago or earlier, such as 12h, 30d or 8w.",
)
@dry_run_option
@yes_option
@options.common
def collect(out: Output, home: Path, max_bytes: int | None, age: float | None, dry_run: bool, yes: bool) -> None:
    """Remove the oldest runs.

    The oldest go first, finished or not. What a process is working on is kept, and so is what a kept run needs. Files
    left behind by killed processes are removed too.

    \b
    Examples:
      featx runs gc --max-size 5GB --dry-run
      featx runs gc --older-than 30d --yes
    """
    from featx.core import atomic
    from featx.core.run_folder import Runs

    if max_bytes is None and age is None:
        raise OptionError("gc needs --max-size or --older-than", "for example --max-size 5GB")
    runs, now = Runs(home), time.time()
    chosen, needed = _choose(runs, standing(runs, home), now, max_bytes, age)
    confirm("gc", [entry for entry, _ in chosen.going], sure=dry_run or yes, noun=NOUN)
    out.kept = KEPT
    if not dry_run:
        atomic.tidy(home)
        atomic.tidy(runs.folder)
    gone, busy = _remove_all(out, runs, [(e, f": written {_ago(now - e.last_used)}") for e, _ in chosen.going], dry_run)
    chosen.busy += busy
    for entry in chosen.busy:
        why = "another run needs it" if entry.digest in needed else "in use by another process"
        out.say(f"kept {name_of(entry)}, {human_bytes(entry.bytes)}: {why}")
    stays = [*chosen.staying, *chosen.busy]
    out.say(
        f"{counted(len(stays), *NOUN)}, {human_bytes(chosen.bytes_left)} "
        f"{'would stay' if dry_run else 'stay'} in {home}"
    )
    if max_bytes is not None and chosen.bytes_left > max_bytes:
        out.note(f"this exceeds {human_bytes(max_bytes)}")
    out.result(
        {
            "home": home,
            "removed": gone,
            "bytes": sum(item["bytes"] for item in gone),
            "stay": [entry.digest for entry in stays],
            "in_use": [entry.digest for entry in chosen.busy if entry.digest not in needed],
            "needed": [entry.digest for entry in chosen.busy if entry.digest in needed],
            "bytes_left": chosen.bytes_left,
            "dry_run": dry_run,
        }
    )


def _choose(
    runs: Runs, entries: Sequence[RunEntry], now: float, max_bytes: int | None, age: float | None
) -> tuple[Choice[RunEntry], set[str]]:
    """Choose what goes, and return which were to go but are needed by a run that stays."""
    from featx.cache import upkeep
    from featx.core.run_folder import Run
    from featx.core.run_locks import in_use
    from featx.runs.entries import dependents

    needed: set[str] = set()

    def stays(entry: RunEntry) -> bool:
        return entry.digest in needed or in_use(Run(runs.folder / entry.digest))

    while True:
        chosen = upkeep.choose(entries, now, max_bytes, age, stays)
        more = set(dependents(entries, [entry.digest for entry, _ in chosen.going]))
        if not more:
            return chosen, needed
        needed |= more


def _remove_all(
    out: Output, runs: Runs, chosen: Sequence[tuple[RunEntry, str]], dry_run: bool
) -> tuple[list[dict[str, Any]], list[RunEntry]]:
    """Remove runs, say so, and return what went and what a process is working on."""
    from featx.core.run_folder import Run
    from featx.core.run_locks import in_use
    from featx.runs.entries import remove_run

    gone: list[dict[str, Any]] = []
    busy: list[RunEntry] = []
    for entry, why in chosen:
        used = dry_run and in_use(Run(runs.folder / entry.digest))
        freed = (None if used else entry.bytes) if dry_run else remove_run(runs, entry.digest)
        if freed is None:
            busy.append(entry)
            if not why:
                out.say(f"kept {name_of(entry)}, {human_bytes(entry.bytes)}: in use by another process")
            continue
        gone.append({"run": entry.digest, "bytes": freed})
        verb = "would remove" if dry_run else "removed"
        out.say(f"{verb} {name_of(entry)}, {human_bytes(freed)}{why}")
    return gone, busy


def _ago(seconds: float) -> str:
    age = human_age(seconds)
    return age if age == "now" else f"{age} ago"
