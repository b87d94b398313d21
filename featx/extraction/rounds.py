"""Blocks of shards are computed, here or by an executor's workers, until none is missing."""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack

from featx.cache.claims import PATIENCE_SECONDS
from featx.cache.key import FeatureKey
from featx.core.executors.agreement import refuse_others
from featx.core.executors.executor import Executor
from featx.core.specs import LayerSpec, Progress
from featx.data.source import Source
from featx.errors import FeatxWarning
from featx.extraction.fill_store import Filling
from featx.extraction.scheduler import Pass, passes
from featx.extraction.shard_task import ShardReceipt, ShardTask, Work
from featx.extraction.worker import check_worker, extract_shard, forget

POLL_SECONDS = 0.2
"""How often a process looks whether another one has finished what both want."""


class Rounds:
    """One extraction under way.

    Parameters
    ----------
    filling : Filling
        What computes here, and lays out keys.
    executor : Executor
        Where blocks are computed.
    progress : callable
        Told of the images done.

    Attributes
    ----------
    images_per_second : float or None
        While images were computed; None where none was.
    blocks : Counter
        How many blocks each worker finished.
    present, own, left : int
        Blocks of all keys that something was computed for; those that fall to this run; those that are still missing.
    """

    def __init__(self, filling: Filling, executor: Executor, progress: Progress) -> None:
        self.filling, self.executor, self.progress = filling, executor, progress
        self.blocks: Counter[str] = Counter()
        self.present = self.own = self.left = 0
        self._images = 0
        self._elapsed = 0.0
        self._put: Counter[LayerSpec] = Counter()

    @property
    def images_per_second(self) -> float | None:
        """Of all workers together."""
        return self._images / self._elapsed if self._elapsed else None

    def check_workers(self, works: list[Work]) -> None:
        """Refuse workers that would compute something else; WorkerError names them."""
        refuse_others(self.executor, check_worker, *works)

    def fill(
        self, split: str, source: Source, missing: Mapping[LayerSpec, FeatureKey], work: Work | None
    ) -> dict[LayerSpec, int]:
        """Write the missing shards of some layers of one source; return the rows that were computed for each.

        Parameters
        ----------
        work : Work or None
            What workers are told; None where everything runs in this process.
        """
        self._put.clear()
        with ExitStack() as stack:
            writers = self.filling.writers(stack, split, source, missing)
            # Layers that were begun together are gone on with together: their plans fix how they are computed.
            for group in passes(writers):
                self._run(f"extract {split}", split, source, group, work)
            return {spec: writer.n_put + self._put[spec] for spec, writer in writers.items()}

    def forget(self, run: str) -> None:
        """Let the workers close what they opened."""
        if not self.executor.in_process:
            self.executor.tell_all(forget, run)

    def _run(self, stage: str, split: str, source: Source, group: Pass, work: Work | None) -> None:
        """Go through the images until no shard is missing, sharing the work with other processes that do the same."""
        blocks = self._own(group)
        counting = _Counting(stage, group, blocks, self.progress)
        self.own += len(blocks)
        moved = time.monotonic()
        while blocks:
            force = time.monotonic() - moved > PATIENCE_SECONDS
            claims = group.claims
            if work is None:
                self._compute(source, group, blocks, force, counting)
            else:
                self._hand_out(_task(work, split, group), blocks, force, counting)
            group.refresh()
            before, blocks = blocks, self._own(group)
            counting.look(blocks)
            if group.claims != claims or blocks != before:
                moved = time.monotonic()
            elif self._is_for_others(group, blocks):
                break
            elif blocks:
                counting.wait()
                time.sleep(POLL_SECONDS)
        self.present += group.plan.blocks(next(iter(group.writers.values())).n_rows)
        self.left += len(group.blocks())

    def _own(self, group: Pass) -> list[int]:
        return [block for block in group.blocks() if self.executor.owns(block)]

    def _is_for_others(self, group: Pass, blocks: list[int]) -> bool:
        """Tell whether all that is left copies rows which fall to other runs, that may not even have begun."""
        return len(group.blocks()) > len(blocks) and all(map(group.waits, blocks))

    def _compute(self, source: Source, group: Pass, blocks: list[int], force: bool, counting: _Counting) -> None:
        """Compute here: all blocks in one go, so that the next one's images are read while one is computed."""
        began, images, missing = time.perf_counter(), self.filling.images, len(self._own(group))
        self.filling.compute_blocks(source, group, blocks, force, counting.tick)
        self.blocks[self.executor.name] += missing - len(self._own(group))
        if self.filling.images > images:
            self._images += self.filling.images - images
            self._elapsed += time.perf_counter() - began

    def _hand_out(self, task: ShardTask, blocks: list[int], force: bool, counting: _Counting) -> None:
        """Let workers compute, each a block at a time."""
        began = time.perf_counter()
        calls = [(task, block, force) for block in blocks]
        for done in self.executor.run(extract_shard, calls):
            self._take(task, done.value, done.worker)
            counting.tick(done.value.images)
        if self._images:
            self._elapsed += time.perf_counter() - began

    def _take(self, task: ShardTask, receipt: ShardReceipt, worker: str) -> None:
        filling = self.filling
        self.blocks[worker] += receipt.finished
        self._images += receipt.images
        for (spec, _, _), count in zip(task.layers, receipt.put, strict=True):
            self._put[spec] += count
        for name, spent in receipt.seconds.items():
            filling.seconds[name] += spent
        if receipt.images:
            filling.device, filling.batch_size = receipt.device, receipt.batch_size
        filling.notes += [note for note in receipt.notes if note not in filling.notes]
        for text in receipt.warnings:
            warnings.warn(text, FeatxWarning, stacklevel=2)


class _Counting:
    """How far one pass is, as it is told."""

    def __init__(self, stage: str, group: Pass, blocks: list[int], progress: Progress) -> None:
        self._stage, self._group, self._progress = stage, group, progress
        self._total = self._due(blocks)
        self._done = 0
        progress(stage, 0, self._total)

    def tick(self, images: int) -> None:
        self._done = min(self._done + images, self._total)
        self._progress(self._stage, self._done, self._total)

    def look(self, blocks: list[int]) -> None:
        """Count what is really there: other processes finish blocks too."""
        self._done = self._total - self._due(blocks)

    def wait(self) -> None:
        self._progress(f"{self._stage}: another process is at it", self._done, self._total)

    def _due(self, blocks: list[int]) -> int:
        return sum(map(self._group.due_in, blocks))


def _task(work: Work, split: str, group: Pass) -> ShardTask:
    layers = ((spec, writer.folder.digest, writer.plan) for spec, writer in group.writers.items())
    return ShardTask(work, split, tuple(layers))
