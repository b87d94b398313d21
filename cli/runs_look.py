"""``featx runs ls`` and ``info``: what the runs are of, and what they take."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.completion import complete_any_run
from featx.cli.output import Output
from featx.cli.text import counted, human_age, human_bytes

if TYPE_CHECKING:
    from featx.core.run_folder import Runs
    from featx.runs.entries import RunEntry

NOUN = ("run", "runs")

TOLD = ("command", "created", "source", "backbone", "weights", "weights_file", "weights_sha256", "kept", "accuracy")
"""Of the record; all of it is in run.json."""


@click.command("ls")
@options.common
def list_runs(out: Output, home: Path) -> None:
    """List the runs, finished or not, with their sizes.

    The newest comes first. An unfinished run was interrupted, or is still running; its files are counted too.

    \b
    Examples:
      featx runs ls
      featx runs ls --json
    """
    from featx.core.run_folder import Runs
    from featx.runs.entries import entries_of

    entries = entries_of(Runs(home))
    total = sum(entry.bytes for entry in entries)
    if entries:
        columns = ("!run", "source", "backbone", "how", ">test", ">size", "!state", ">written")
        out.table(columns, [_cells(entry) for entry in entries])
    out.say(f"{counted(len(entries), *NOUN)}, {human_bytes(total)} in {home}")
    out.result({"home": home, "runs": [document(entry) for entry in entries], "bytes": total})


@click.command("info")
@click.argument("run", shell_complete=complete_any_run)
@options.common
def show_run(out: Output, home: Path, run: str) -> None:
    """Show what a run recorded, and its files.

    \b
    Examples:
      featx runs info 20261121-190519
      featx runs info 20261121-190519 --json
    """
    from featx.core.run_folder import Run, Runs
    from featx.errors import StoreError
    from featx.runs.entries import dependents, files_of, find_entry

    runs = Runs(home)
    name = find_entry(runs, run).digest
    every = standing(runs, home)
    entry = next(one for one in every if one.digest == name)
    found = Run(runs.folder / entry.digest)
    files = dict(files_of(found))
    needed = dependents(every, [entry.digest]).get(entry.digest, [])
    facts = document(entry) | {"path": str(found.path), "needed_by": needed, "files": files}
    record: Mapping[str, Any] = {}
    if entry.state != "part":
        try:
            record = found.read()
        except StoreError as exc:
            out.note(f"warning: {exc.message}")
    told = {name: record[name] for name in TOLD if name in record}
    if not out.json:
        _spell(out, facts | told)
    out.result(facts | told)


def _spell(out: Output, facts: Mapping[str, Any]) -> None:
    """Print facts one a line, nested ones under dotted names."""
    for name, value in facts.items():
        if name == "last_used":
            out.say(f"written: {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(value))}")
        elif isinstance(value, Mapping) and value:
            for inner, part in value.items():
                out.say(f"{name}.{inner}: {human_bytes(part) if name == 'files' else _shown(part)}")
        else:
            out.say(f"{name}: {human_bytes(value) if name == 'bytes' else _shown(value)}")


def standing(runs: Runs, home: Path) -> list[RunEntry]:
    """Return all runs, with what each depends on; for that, networks that unfinished trainings may need are hashed."""
    from featx.runs.entries import entries_of, with_bases

    def hash_of(run: str) -> str:
        from featx.cache.memo import Memo
        from featx.core.backbone_names import RUN
        from featx.models.backbones import resolve

        return resolve(f"{RUN}{run}", memo=Memo(home)).weights_sha256

    return with_bases(entries_of(runs), runs, hash_of)


def document(entry: RunEntry) -> dict[str, Any]:
    """Return a run's JSON entry."""
    facts = asdict(entry)
    return {"run": facts.pop("digest"), **facts}


def name_of(entry: RunEntry) -> str:
    """Return a run's id and, in brackets, what it is of."""
    about = " ".join(filter(None, (entry.source, entry.backbone, entry.how)))
    return f"{entry.digest} ({about or 'not finished'})"


def _cells(entry: RunEntry) -> Sequence[object]:
    accuracy = "" if entry.accuracy is None else f"{entry.accuracy:.4f}"
    age = human_age(time.time() - entry.last_used) if entry.last_used else ""
    return (
        *(entry.digest, entry.source, entry.backbone, entry.how),
        *(accuracy, human_bytes(entry.bytes), entry.state, age),
    )


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
