"""The loop over epochs: train, validate, keep the best, and be able to go on from any step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import torch

from featx.core.device import arithmetic, memory_errors
from featx.core.metrics import Scores, score
from featx.core.rng import isolated_rng
from featx.core.types import RowNumbers
from featx.graph.outputs import logits_of
from featx.training.augment import Augment
from featx.training.batches import chunks
from featx.training.checkpoints import Checkpoint, load_exactly, optimizer_tensors, restore_optimizer, shared
from featx.training.optim import Schedule, groups_of, make_optimizer, set_lr
from featx.training.replicas import Replicas, has_idle_parameters
from featx.training.signals import Stopping
from featx.training.step import Step, diverged, diverged_after, explain_single_image_batch, set_chance
from featx.training.task import Task
from featx.training.world import Portion

Epoch = dict[str, float]
Logits = npt.NDArray[np.float32]


class Loop:
    """Trains what a task asks for; its state after any step can be saved and gone on from.

    Parameters
    ----------
    task : Task
        What learns, from what, and how.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.config, self.device, self.module = task, task.config, task.device, task.learner.module
        labels = {name: torch.from_numpy(loader.part.labels) for name, loader in task.loaders.items()}
        self.y = {name: of_part.to(self.device) for name, of_part in labels.items()}
        self.world = task.world
        self.replicas = Replicas(
            self.module,
            task.world,
            task.device,
            sync_batch_norm=self.config.sync_batch_norm,
            idle=has_idle_parameters(self.module, task.loaders["train"], task.n_classes, task.world),
        )
        groups = groups_of(self.module, task.learner.head, self.config, task.learner.rates)
        self.optimizer = make_optimizer(groups, self.config)
        self.step = Step(
            self.module, self.optimizer, self.y["train"], task.n_classes, self.config, self.device, self.replicas
        )
        batches = self.epoch_batches(1)
        self.rows = sum(map(len, batches))
        self.steps = len(chunks(np.arange(len(batches)), self.config.accumulate))
        self.schedule = Schedule(self.config, self.steps)
        self.state = Checkpoint()
        self.stopping = Stopping()

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        checkpoints = self.task.checkpoints if self.world.first else None
        found = shared(self.world, checkpoints.load() if checkpoints else None)
        if found is None:
            return
        what = f"the checkpoint of run {checkpoints.run.id}" if checkpoints else "the checkpoint"
        load_exactly(self.module, found.model, what)
        restore_optimizer(self.optimizer, found.optimizer)
        if found.scaler:
            self.step.scaler.load_state_dict(found.scaler)
        self.task.clock.go_on(found.seconds)
        self.state = found

    def run(self, on_epoch: Callable[[Epoch], None]) -> tuple[list[Epoch], int]:
        """Train; return the history and the best epoch, whose weights the module then has."""
        state = self.state
        with self.stopping, isolated_rng(device=self.device), self.replicas.synchronized():
            while state.epoch < self.config.epochs and not self._is_enough():
                line = self._train_epoch(state.epoch + 1)
                state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}
                line = self._validate(line)
                state.history.append(line)
                self.task.progress(self._said(state.epoch), state.epoch * self.rows, self.config.epochs * self.rows)
                on_epoch(line)
                self._save_if_due(epoch_ends=True)
        if state.best_model:
            load_exactly(self.module, state.best_model, "the best epoch")
        return state.history, int(state.best.get("epoch", state.epoch))

    def _is_enough(self) -> bool:
        best = self.state.best.get("epoch", 0)
        return self.config.patience is not None and bool(best) and self.state.epoch - best >= self.config.patience

    def _validate(self, line: Epoch) -> Epoch:
        """Return an epoch's line, in every process that of process 0: what follows from it must be the same."""
        if "val" not in self.task.loaders:
            return dict(self.world.share(line))
        with self.task.clock("validate"):
            val = self.score("val")
        line = dict(self.world.share({**line, "val_loss": val.loss, "val_accuracy": val.accuracy}))
        accuracy, loss, best = line["val_accuracy"], line["val_loss"], self.state.best
        if not best or (accuracy, -loss) > (best["accuracy"], -best["loss"]):
            self.state.best = {"epoch": line["epoch"], "accuracy": accuracy, "loss": loss}
            self.state.best_model = {n: t.detach().clone() for n, t in self.module.state_dict().items()}
        return line

    def _train_epoch(self, epoch: int) -> Epoch:
        self._train_mode()
        state, batches = self.state, self.epoch_batches(epoch)
        sums = state.sums or {"loss": 0.0, "right": 0, "done": 0, "seconds": 0.0}
        state.sums = sums
        augment = Augment(self.config.augmentation, len(self.y["train"]), self.config.seed, epoch)
        first = self._lr(epoch, 0)
        began, before = time.perf_counter(), sums["seconds"]
        with self.task.clock("train"), memory_errors("training"), explain_single_image_batch():
            # A resumed epoch does not load what it has done already.
            portions = [self.world.portion(rows, blends=self.config.blends) for rows in batches]
            loaded = self.task.loaders["train"].batches([portion.rows for portion in portions[state.batch :]], augment)
            for group in chunks(np.arange(len(batches)), self.config.accumulate)[self._step_of(state.batch) :]:
                self._do_step(epoch, [(batches[i], portions[i]) for i in group], loaded)
                state.batch = int(group[-1]) + 1
                sums["seconds"] = before + time.perf_counter() - began
                done = state.epoch * self.rows + int(sums["done"])
                self.task.progress(self._said(epoch), done, self.config.epochs * self.rows)
                self._save_if_due(epoch_ends=False)
        return _epoch_line(epoch, first, sums)

    def _do_step(
        self,
        epoch: int,
        group: list[tuple[RowNumbers, Portion]],
        loaded: Iterator[tuple[RowNumbers, torch.Tensor]],
    ) -> None:
        step, sums = self._step_of(self.state.batch), self.state.sums
        set_lr(self.optimizer, self._lr(epoch, step))
        set_chance(self.config.seed, epoch, step, self.device)
        self.step.begin()
        whole = sum(len(batch) for batch, _ in group)
        for i, (batch, portion) in enumerate(group):
            rows, x = next(loaded)
            y = self.y["train"][torch.from_numpy(rows).to(self.device)]
            try:
                loss, right = self.step.gradient(x, y, whole, portion, last=i == len(group) - 1)
            except FloatingPointError as exc:
                part = self.task.loaders["train"].part
                ids = [part.source.ids[part.rows[row]] for row in batch]
                raise diverged(str(exc), epoch, step + 1, ids, self.config.peak_lr) from exc
            sums["loss"] += loss
            sums["right"] += right
            sums["done"] += len(batch)
        self.step.update()

    def _step_of(self, batch: int) -> int:
        return -(-batch // self.config.accumulate)

    def _lr(self, epoch: int, step: int) -> float:
        return self.schedule((epoch - 1) * self.steps + step, self.state.history)

    def _train_mode(self) -> None:
        self.module.train()
        for module in self.task.learner.eval_modules:
            module.eval()

    def _said(self, epoch: int) -> str:
        said = f"training: epoch {epoch}/{self.config.epochs}"
        last = self.state.history[-1] if self.state.history else {}
        if "val_accuracy" in last:
            said += f", val accuracy {last['val_accuracy']:.4f} loss {last['val_loss']:.4f}"
        return said

    def epoch_batches(self, epoch: int) -> list[RowNumbers]:
        """Return each batch's places in the training part, in the epoch's own order."""
        n_rows = len(self.task.loaders["train"].part)
        order = np.random.default_rng([self.config.seed, epoch, 0]).permutation(n_rows)
        batches = chunks(order, self.config.batch_size)
        # Batch norm cannot normalise a batch of one; those images come in the next epoch's order.
        return batches[:-1] if len(batches[-1]) == 1 < len(batches[0]) else batches

    def _save_if_due(self, *, epoch_ends: bool) -> None:
        if self.world.size > 1:  # all stop after the same step, whichever of them was told to
            self.stopping.note(self.world.total(*self.stopping.counts()))
        checkpoints = self.task.checkpoints if self.world.first else None
        if checkpoints and (self.stopping.wanted or checkpoints.due(epoch_ends=epoch_ends)):
            state = self.state
            state.model = self.module.state_dict()
            state.optimizer = optimizer_tensors(self.optimizer)
            state.scaler, state.seconds = self.step.scaler.state_dict(), self.task.clock.total()
            checkpoints.save(state)
        self.stopping.now()

    def logits(self, part: str) -> Logits:
        """Return the logits of a part's rows, shape (n, n_classes); each process computes some of the batches."""
        self.module.eval()
        self.replicas.align()
        batches = chunks(np.arange(len(self.y[part])), self.config.batch_size)
        logits = np.zeros((len(self.y[part]), self.task.n_classes), np.float32)
        with torch.inference_mode(), memory_errors("evaluation"), arithmetic(self.device, self.config.precision):
            for rows, x in self.task.loaders[part].batches(self.world.own(batches), None):
                logits[rows] = logits_of(self.module(x), self.task.n_classes)[0].float().cpu().numpy()
        self.world.add(logits)
        # The last update of an epoch may be the one that diverges; no loss was taken after it.
        lost = np.flatnonzero(~np.isfinite(logits.max(axis=1)))
        if len(lost):
            of = self.task.loaders[part].part
            raise diverged_after(self.state.epoch, of.source.ids[of.rows[lost[0]]], self.config.peak_lr)
        return logits

    def score(self, part: str) -> Scores:
        """Score a part as the module is now."""
        return score(self.logits(part), self.y[part].cpu().numpy(), self.task.n_classes)


def _epoch_line(epoch: int, lr: float, sums: dict[str, float]) -> Epoch:
    """Return what the history says of an epoch's training."""
    return {
        "epoch": epoch,
        "lr": lr,
        "train_loss": sums["loss"] / sums["done"],
        "train_accuracy": sums["right"] / sums["done"],
        "seconds": sums["seconds"],
        "images_per_second": sums["done"] / max(sums["seconds"], 1e-9),
    }
