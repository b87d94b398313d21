"""An extraction as a worker sees it: source, network and writers are opened once, then come shard after shard."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

from featx.cache.memo import Memo
from featx.cache.store import FeatureStore
from featx.core.executors.agreement import check_versions
from featx.core.executors.worker import between_calls, worker_name, worker_threads
from featx.core.specs import ExtractConfig
from featx.data.request import SourceRequest
from featx.data.source import Source
from featx.data.sources import load_source, load_splits
from featx.errors import FeatxWarning, OptionError, WorkerError, speaking_options
from featx.extraction.compute import Networks
from featx.extraction.fill_store import Filling
from featx.extraction.keys import feature_key
from featx.extraction.scheduler import Pass, passes
from featx.extraction.shard_task import ShardReceipt, ShardTask, Work, versions_of
from featx.models.backbones import Backbone, look_up

KEPT = 2
"""So many extractions stay open in a worker: its client may run them in turns."""


@dataclass
class Open:
    """A task whose source and writers are open."""

    filling: Filling
    source: Source
    groups: list[Pass]
    closing: ExitStack

    def close(self) -> None:
        """Let go of the store."""
        self.closing.close()


@dataclass
class Session:
    """What this process keeps of one extraction, for all of its tasks."""

    sources: dict[SourceRequest, Source] = field(default_factory=dict)
    networks: dict[tuple[object, ...], Networks] = field(default_factory=dict)
    tasks: dict[ShardTask, Open] = field(default_factory=dict)


_sessions: OrderedDict[str, Session] = OrderedDict()


def check_worker(*works: Work) -> None:
    """Refuse to compute here what would not be what the client asked for.

    Raises
    ------
    WorkerError
        featx, torch or another package has another version here; the source, the weights or the code are others.
    FeatxError
        The source or the network cannot be opened here.
    """
    for work in works:
        with _spoken(work):
            check_versions(work.versions, dict(versions_of(work.backbone)))
            _check_images(work, _source(work))
            _check_network(work, _source(work), _networks(work).backbone)


def extract_shard(task: ShardTask, block: int, force: bool = False) -> ShardReceipt:
    """Compute a block of shards of all layers of a task, and write them to the store.

    The same bytes wherever it runs, and however often: what is there already stays.

    Parameters
    ----------
    task : ShardTask
        Opened at the first call in a process, and kept.
    block : int
        ``plan.block_rows`` rows from ``block * plan.block_rows`` on.
    force : bool
        Whoever has claimed it.

    Raises
    ------
    WorkerError
        As `check_worker`, or there is another store.
    ImageError, FeatureError, OutOfMemoryError
        As `featx.extraction.extract.extract`.
    StoreError
        The shards cannot be written.
    Stopped
        The extraction was interrupted.
    """
    with _spoken(task.work), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always", FeatxWarning)
        opened = _opened(task)
        try:
            return _receipt(task, opened, block, force, heard)
        except BaseException:  # the writers hold rows of a block that nobody will go on with
            _sessions[task.work.run].tasks.pop(task).close()
            raise


def _receipt(
    task: ShardTask, opened: Open, block: int, force: bool, heard: list[warnings.WarningMessage]
) -> ShardReceipt:
    filling, groups = opened.filling, opened.groups
    writers = {spec: writer for group in groups for spec, writer in group.writers.items()}
    before = {spec: writer.n_put for spec, writer in writers.items()}
    filling.start_counting()
    for group in groups:
        if block in group.blocks():
            filling.compute_blocks(opened.source, group, [block], force, lambda images: None)
    return ShardReceipt(
        block=block,
        finished=not any(block in group.blocks() for group in groups),
        images=filling.images,
        put=tuple(writers[spec].n_put - before[spec] for spec, _, _ in task.layers),
        seconds=filling.seconds,
        device=filling.device,
        batch_size=filling.batch_size,
        notes=tuple(filling.notes),
        warnings=tuple(str(w.message) for w in heard if issubclass(w.category, FeatxWarning)),
    )


def forget(run: str) -> None:
    """Let go of what is open for an extraction that is over, after the call that runs."""
    between_calls(lambda: _close(run))


def _close(run: str) -> None:
    session = _sessions.pop(run, None)
    for task in session.tasks.values() if session else ():
        task.close()


def _session(run: str) -> Session:
    """Return what is open for an extraction; only calls ask, of which one runs at a time."""
    session = _sessions.setdefault(run, Session())
    _sessions.move_to_end(run)
    while len(_sessions) > KEPT:
        _close(next(iter(_sessions)))
    return session


def _opened(task: ShardTask) -> Open:
    session = _session(task.work.run)
    if task not in session.tasks:
        session.tasks[task] = _open(task)
    return session.tasks[task]


def _open(task: ShardTask) -> Open:
    work = task.work
    check_worker(work)  # once more: it may have joined since the client asked
    source, networks, store = _source(work), _networks(work), FeatureStore(work.home)
    for _, digest, plan in task.layers:
        if store.plan(digest) != plan:
            raise WorkerError(
                f"worker {worker_name()} does not find the features {digest[:12]} that were begun in {work.home}",
                "give --home a folder that all workers share under this name",
            )
    filling = Filling(networks, store, _config(work))
    keys = {spec: feature_key(source, networks.backbone, spec, work.config) for spec, _, _ in task.layers}
    with ExitStack() as stack:
        groups = passes(filling.writers(stack, task.split, source, keys))
        return Open(filling, source, groups, stack.pop_all())


def _config(work: Work) -> ExtractConfig:
    """Return the configuration with as many decoding threads as this worker has, where no number was asked for."""
    if work.config.workers is not None:
        return work.config
    return replace(work.config, workers=worker_threads())


def _source(work: Work) -> Source:
    session = _session(work.run)
    if work.request not in session.sources:
        session.sources[work.request] = _reopened(work.request, Memo(Path(work.home)))
    return session.sources[work.request]


def _reopened(asked: SourceRequest, memo: Memo) -> Source:
    how = {"root": asked.root, "limit": asked.limit, "per_class": asked.per_class, "seed": asked.seed}
    if asked.part is None:
        return load_source(asked.spec, asked.split, memo=memo, **how)  # type: ignore[arg-type]
    found = load_splits(asked.spec, split=asked.split, memo=memo, **how)  # type: ignore[arg-type]
    if asked.part not in found:
        raise OptionError(f"{asked.spec} has no split {asked.part} here, only {', '.join(found)}")
    return found[asked.part]


def _networks(work: Work) -> Networks:
    session = _session(work.run)
    name = (work.backbone, work.network, work.channels)
    if name not in session.networks:
        found = look_up(work.backbone, work.network, work.channels, Memo(Path(work.home)))
        session.networks[name] = Networks(found)
    return session.networks[name]


def _check_images(work: Work, source: Source) -> None:
    if source.fingerprint() != work.rows:
        raise WorkerError(
            f"worker {worker_name()} finds other images at {work.request.spec}: their rows hash to "
            f"{source.fingerprint()[:12]}, expected {work.rows[:12]}",
            "copy the images anew there, or name a folder that all workers share",
        )


def _check_network(work: Work, source: Source, backbone: Backbone) -> None:
    me = worker_name()
    for what, found, wanted in (
        ("weights", backbone.weights_sha256, work.weights),
        ("code", backbone.code or "", work.code or ""),
    ):
        if found != wanted:
            raise WorkerError(
                f"worker {me} finds other {what} of {work.backbone}: {found[:12]}, expected {wanted[:12]}",
                "copy the file anew there, or name one in a folder that all workers share",
            )
    for spec, digest in work.keys:
        if feature_key(source, backbone, spec, work.config).digest != digest:
            raise WorkerError(f"worker {me} would compute other features of layer {spec} than those asked for", "")


def _spoken(work: Work) -> AbstractContextManager[None]:
    return speaking_options() if work.on_command_line else nullcontext()
