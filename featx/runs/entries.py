"""What `featx runs` lists: every run's folder with its size, finished or not, and which depends on which."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featx.core import atomic
from featx.core.backbone_names import RUN
from featx.core.paths import recorded_path
from featx.core.recorded import HEAD, KEPT_FILE
from featx.core.run_folder import MODEL_FILE, RECORD_FILE, Run, Runs
from featx.core.run_locks import in_use
from featx.errors import CorruptStoreError, FeatxError, OptionError, StoreError, first_few, suggest

WHOLE, PART, DAMAGED = "whole", "part", "damaged"
"""States of a run: finished; started, perhaps with a checkpoint to resume from; with a record that cannot be read."""


@dataclass(frozen=True)
class RunEntry:
    """One line of `featx runs ls`.

    Parameters
    ----------
    digest : str
        The run's id, which identifies it as a digest does a key in the store.
    kind, source, backbone, how : str
        ``fit``, ``train`` or ``demo``; what it learnt from; the network; mode or layer, and head.
    accuracy : float or None
        Of the test rows.
    bytes : int
        On the disk, everything in the folder.
    state : str
        `WHOLE`, `PART` or `DAMAGED`.
    last_used : float
        When it was last written to, in seconds since 1970.
    base : str
        Id of the run that it depends on; empty if there is none. Of an unfinished training: see `with_bases`.
    init_head : str
        Id of the run whose head an unfinished training starts from; likewise.
    """

    digest: str
    kind: str
    source: str
    backbone: str
    how: str
    accuracy: float | None
    bytes: int
    state: str
    last_used: float
    base: str
    init_head: str = ""


def entries_of(runs: Runs) -> list[RunEntry]:
    """Return all runs of a home, the newest first; of none more is read than its record."""
    found = [describe_run(run) for run in runs.all()]
    return sorted(found, key=lambda entry: (-entry.last_used, entry.digest))


def with_bases(entries: Sequence[RunEntry], runs: Runs, hash_of: Callable[[str], str]) -> list[RunEntry]:
    """Return entries with what unfinished trainings need to resume; checkpoints identify a network only by its hash.

    Parameters
    ----------
    entries : sequence of RunEntry
        All of a home's.
    runs : Runs
        Of that home.
    hash_of : callable
        Gives the SHA-256 of a training run's network by the run's id; if it raises, no run can depend on it.
    """
    found = []
    for entry in entries:
        identity = _identity(Run(runs.folder / entry.digest)) if entry.state == PART else {}
        head = _text(identity.get("init_head"))
        base = _trained_as(identity, entries, hash_of)
        found.append(replace(entry, base=base, init_head=_named(runs, head)) if identity else entry)
    return found


def _identity(run: Run) -> Mapping[str, Any]:
    """Return an unfinished training's identity; empty if it has no checkpoint to resume from."""
    from featx.training.checkpoints import folder_has_checkpoint, read_checkpoint  # heavy

    if folder_has_checkpoint(run.path):
        with suppress(StoreError):
            identity = read_checkpoint(run)["identity"]
            return identity if isinstance(identity, dict) else {}
    return {}


def _trained_as(identity: Mapping[str, Any], entries: Sequence[RunEntry], hash_of: Callable[[str], str]) -> str:
    """Return the run whose network a training begins with; only those of the same kind are looked at."""
    for entry in entries:
        if entry.state == WHOLE and entry.kind == "train" and entry.backbone == identity.get("backbone"):
            with suppress(FeatxError):
                if hash_of(entry.digest) == identity.get("weights"):
                    return entry.digest
    return ""


def _named(runs: Runs, name: str) -> str:
    with suppress(OptionError):
        return runs.open(name).id if name else ""
    return ""


def find_entry(runs: Runs, prefix: str) -> RunEntry:
    """Return the one run, finished or not, whose id begins with `prefix`; OptionError for none or several."""
    every = runs.all()
    found = [run for run in every if prefix and run.id.startswith(prefix)]
    if len(found) == 1:
        return describe_run(found[0])
    if found:
        near = first_few([run.id for run in found], 10)
        raise OptionError(f"{prefix!r:.80} matches {len(found)} runs: {near}", "give more characters of the id")
    hint = suggest(prefix, [run.id for run in every]) or "`featx runs ls` lists them"
    raise OptionError(f"no run {prefix!r:.80} in {runs.folder}", hint)


def describe_run(run: Run) -> RunEntry:
    """Describe one run; what cannot be read is left blank, so that it can still be seen and removed."""
    record: Mapping[str, Any] = {}
    state = PART
    if os.path.lexists(run.path / RECORD_FILE):
        try:
            record, state = run.read(), WHOLE
        except StoreError:
            state = DAMAGED
    backbone, accuracy = _text(record.get("backbone")), record.get("accuracy")
    scored = accuracy.get("test") if isinstance(accuracy, dict) else None
    return RunEntry(
        digest=run.id,
        kind=run.id.split("-")[2],
        source=_text(record.get("source")),
        backbone=backbone,
        how=" ".join(filter(None, (_text(record.get(name)) for name in ("mode", "layer", "head")))),
        accuracy=float(scored) if isinstance(scored, (int, float)) else None,
        bytes=sum(size for _, size in files_of(run)),
        state=state,
        last_used=_last_written(run),
        base=_base(run, record),
    )


def files_of(run: Run) -> list[tuple[str, int]]:
    """Return each file below a run's folder and its size in bytes; links are not followed, nothing is opened."""
    found = []
    for folder, _, names in os.walk(run.path):
        for name in names:
            with suppress(OSError):
                path = Path(folder, name)
                found.append((str(path.relative_to(run.path)), os.lstat(path).st_size))
    return sorted(found)


def dependents(entries: Iterable[RunEntry], going: Sequence[str]) -> dict[str, list[str]]:
    """Return, for each run to be removed, the kept runs that need it."""
    found: dict[str, list[str]] = {}
    for entry in entries:
        for base in dict.fromkeys((entry.base, entry.init_head)):
            if base in going and entry.digest not in going:
                found.setdefault(base, []).append(entry.digest)
    return found


def remove_run(runs: Runs, name: str) -> int | None:
    """Remove a run's folder and return the bytes freed: 0 when it is gone already, None when it is in use.

    Raises
    ------
    StoreError
        It cannot be removed.
    CorruptStoreError
        It is a link.
    """
    run = Run(runs.folder / name)
    if run.path.is_symlink():
        raise CorruptStoreError(f"{run.path} is a symbolic link, expected a folder", "remove the link yourself")
    if in_use(run):
        return None
    size = sum(size for _, size in files_of(run))
    rubbish = runs.folder / atomic.temporary_name()
    try:
        os.rename(run.path, rubbish)
    except FileNotFoundError:
        return 0
    except OSError as exc:
        raise atomic.storage_error(run.path, exc) from exc
    atomic.remove_tree(rubbish)
    return size


def _base(run: Run, record: Mapping[str, Any]) -> str:
    """Return the run whose tensors a run needs, and does not keep itself."""
    weights = _text(record.get("weights"))
    needs = record.get("kind") == "fit" or record.get("kept") == HEAD
    if not needs or (run.path / KEPT_FILE).exists():
        return ""
    named = weights.removeprefix(RUN)
    if weights.startswith(RUN) and Path(named).name == named:
        return named
    file = _text(record.get("weights_file"))
    return _beside(run, f"{named}/{MODEL_FILE}" if weights.startswith(RUN) else file) if weights or file else ""


def _beside(run: Run, file: str) -> str:
    """Return the run in whose folder a file lies, among those where `run` lies, whichever links lead to either."""
    path, runs = Path(recorded_path(file)), run.path.parent
    with suppress(OSError, RuntimeError, ValueError):
        for folder in (path.parent.resolve(), path.resolve().parent):
            if folder.parent == runs.resolve():
                return folder.name
    return ""


def _text(value: object) -> str:
    return str(value if value is not None else "")[:500]


def _last_written(run: Run) -> float:
    for path in (run.path / RECORD_FILE, run.path):
        with suppress(OSError):
            return os.lstat(path).st_mtime
    return 0.0
