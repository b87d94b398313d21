"""``featx cache verify``: every byte of stored features checked, and what is damaged dropped."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.cache_look import NOUN, name_of
from featx.cli.failures import EXIT_CODES
from featx.cli.output import Output
from featx.cli.text import counted, human_bytes
from featx.errors import CorruptStoreError, OptionError

if TYPE_CHECKING:
    from featx.cache.store import Entry, FeatureStore
    from featx.cache.upkeep import Repair
    from featx.cache.verify import Fault, Findings

MEGABYTE = 1_000_000

Note = tuple[Path, str]
"""A file, and what is remarked of it."""


@click.command("verify")
@click.argument("keys", metavar="[KEY]...", nargs=-1)
@click.option("--repair", "mend", is_flag=True, help="Remove what is damaged, so that it is recomputed.")
@click.option("--dry-run", is_flag=True, help="With --repair: only show what would be removed.")
@options.common
def verify(out: Output, home: Path, keys: tuple[str, ...], mend: bool, dry_run: bool) -> None:
    """Check every byte of stored features.

    Keys, plans, ids, row hashes and receipts, the SHA-256 of each shard and the HDF5 in it. Exit code 4 if
    something is damaged and was not removed. With --repair, only damaged shards are removed; a folder whose key, plan,
    ids or row hashes are damaged is removed as a whole.

    \b
    Examples:
      featx cache verify
      featx cache verify 3f2a --repair --dry-run
    """
    from featx.cache.store import FeatureStore

    if dry_run and not mend:
        raise OptionError("--dry-run shows what --repair would remove", "add --repair, or leave --dry-run out")
    store = FeatureStore(home)
    chosen = _chosen(store, keys)
    findings = _check(out, store, chosen)
    notes = _notes(store, findings, whole=not keys)
    faults = [fault for found in findings for fault in found.faults]
    shards = sum(found.shards for found in findings)
    _tell_findings(out, notes, faults)
    state = f"{counted(len(faults), 'fault', 'faults')}" if faults else "no faults"
    out.say(f"checked {counted(len(chosen), *NOUN)}, {counted(shards, 'shard', 'shards')} in {home}: {state}")
    repairs = _repair(out, store, findings, chosen, dry_run) if mend else []
    left = [item for repair in repairs for item in repair.left] if mend else faults
    if left or (dry_run and faults):
        out.exit_code = dict(EXIT_CODES)[CorruptStoreError]
    if faults and not mend:
        out.note("`featx cache verify --repair` removes what is damaged, so that the next run recomputes it")
    lists = _lists(notes, faults, repairs)
    out.result({"home": home, "checked": len(chosen), "shards": shards, **lists, "dry_run": dry_run})


def _chosen(store: FeatureStore, keys: Sequence[str]) -> list[Entry]:
    """Return the entries of these keys, each once, or all there are."""
    entries = [store.find(key) for key in keys] if keys else store.ls()
    return list({entry.digest: entry for entry in entries}.values())


def _check(out: Output, store: FeatureStore, entries: Sequence[Entry]) -> list[Findings]:
    from featx.cache.folder import KeyFolder
    from featx.cache.verify import verify_key

    out.kept = "nothing was changed"
    total = sum(entry.bytes for entry in entries)
    with out.progress("MB") as progress:
        tick = counter(lambda done: progress("verify", done // MEGABYTE, total // MEGABYTE))
        return [verify_key(KeyFolder(store.folder(entry.digest)), tick) for entry in entries]


def counter(report: Callable[[int], None]) -> Callable[[int], None]:
    """Return a function that adds up the bytes it is given and reports the sum."""
    done = 0

    def tick(n: int) -> None:
        nonlocal done
        done += n
        report(done)

    return tick


def _notes(store: FeatureStore, findings: Sequence[Findings], whole: bool) -> list[Note]:
    """Return what is remarkable and no fault; of the whole store also what belongs to no key."""
    from featx.cache.verify import stray_names

    notes = [note for found in findings for note in found.notes]
    if whole:
        notes += [(path, "belongs to no key, left alone") for path in stray_names(store.home / "features")]
    return notes


def _tell_findings(out: Output, notes: Sequence[Note], faults: Sequence[Fault]) -> None:
    for path, remark in notes:
        out.say(f"note {path}: {remark}")
    for fault in faults:
        out.say(f"corrupt {fault.path}: {fault.reason}")


def _lists(notes: Sequence[Note], faults: Sequence[Fault], repairs: Sequence[Repair]) -> dict[str, Any]:
    """Return every file that was remarked on, for --json."""
    return {
        "corrupt": [{"path": fault.path, "reason": fault.reason} for fault in faults],
        "notes": [{"path": path, "remark": remark} for path, remark in notes],
        "removed": [path for repair in repairs for path in repair.removed],
        "left": [{"path": fault.path, "reason": why} for repair in repairs for fault, why in repair.left],
    }


def _repair(
    out: Output, store: FeatureStore, findings: Sequence[Findings], entries: Sequence[Entry], dry_run: bool
) -> list[Repair]:
    from featx.cache import upkeep

    out.kept = "what was removed is recomputed by the next run"
    repairs = []
    if not dry_run:
        upkeep.sweep(store)
    for entry, found in zip(entries, findings, strict=True):
        done = upkeep.repair(store, found, dry_run)
        repairs.append(done)
        _tell(out, entry, done, "would remove" if dry_run else "removed")
    return repairs


def _tell(out: Output, entry: Entry, done: Repair, verb: str) -> None:
    if done.whole:
        out.say(f"{verb} all of {name_of(entry)}, {human_bytes(entry.bytes)}: no shard can be read without that file")
    elif done.removed:
        out.say(f"{verb} {counted(len(done.removed), 'file', 'files')} of {name_of(entry)}")
    for fault, why in done.left:
        out.say(f"left {fault.path}: {why}")
    if done.removed and entry.source and entry.backbone and entry.layer:
        out.say(f"`{command_for(entry)}` with its original options computes what is missing")
    elif done.removed:
        out.say("the command that computed it will compute what is missing")


def command_for(entry: Entry) -> str:
    """Return the `featx extract` that computes an entry, as far as the record tells."""
    words: list[Any] = ["featx", "extract", entry.source]
    for flag, value in (("--split", entry.split), ("-b", entry.backbone), ("--weights", entry.weights)):
        words += [flag, value] if value else []
    return shlex.join([*words, "-l", entry.layer])
