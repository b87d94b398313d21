"""The loop over epochs: train, validate, keep the best, and be able to go on from any step."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from featx.core.device import arithmetic, memory_errors
from featx.core.metrics import Scores, score
from featx.core.rng import isolated_rng
from featx.core.specs import Progress
from featx.core.types import RowNumbers
from featx.graph.outputs import logits_of
from featx.training.augment import Augment
from featx.training.batches import Loaders, chunks
from featx.training.checkpoints import Checkpoint, Checkpoints, load_exactly, optimizer_tensors, restore_optimizer
from featx.training.config import TrainConfig
from featx.training.optim import Schedule, groups_of, make_optimizer, set_lr
from featx.training.signals import Stopping
from featx.training.step import Step, diverged, diverged_after, explain_single_image_batch, set_chance

Epoch = dict[str, float]
Logits = npt.NDArray[np.float32]


class Clock:
    """One clock a run, its seconds split by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._before = 0.0
        self._stage: tuple[str, float] | None = None
        self._began = time.perf_counter()

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Add the block's time to a stage."""
        self._stage = stage, time.perf_counter()
        try:
            yield
        finally:
            self.seconds, self._stage = self._by_stage(), None

    def _by_stage(self) -> dict[str, float]:
        """Return the seconds, those of the stage that is not over too."""
        if self._stage is None:
            return self.seconds
        stage, began = self._stage
        return {**self.seconds, stage: self.seconds.get(stage, 0.0) + time.perf_counter() - began}

    def total(self) -> dict[str, float]:
        """Return the seconds by stage and in all, those before a resume too."""
        return {**self._by_stage(), "total": self._before + time.perf_counter() - self._began}

    def go_on(self, seconds: dict[str, float]) -> None:
        """Add what a training took before it was resumed."""
        self._before += seconds.get("total", 0.0)
        for stage, spent in seconds.items():
            if stage != "total":
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent


class Loop:
    """Trains one network; its state after any step can be saved and gone on from.

    Parameters
    ----------
    module : nn.Module
        Maps a batch of inputs to logits: the network, or its head where features are cached; on the device.
    head : nn.Module
        The head in it, which may have a learning rate of its own.
    still : list of nn.Module
        What of it stays in eval mode.
    loaders : dict
        Inputs of each part.
    rates : dict
        What the learning rates of some parameters are multiplied by.
    """

    def __init__(
        self,
        module: nn.Module,
        head: nn.Module,
        eval_modules: list[nn.Module],
        loaders: Loaders,
        n_classes: int,
        config: TrainConfig,
        device: torch.device,
        clock: Clock,
        progress: Progress,
        checkpoints: Checkpoints | None,
        rates: Mapping[nn.Parameter, float],
    ) -> None:
        self.module, self.eval_modules, self.loaders, self.config = module, eval_modules, loaders, config
        self.device, self.clock, self.progress, self.checkpoints = device, clock, progress, checkpoints
        self.n_classes = n_classes
        self.y = {name: torch.from_numpy(loader.part.labels).to(device) for name, loader in loaders.items()}
        self.optimizer = make_optimizer(groups_of(module, head, config, rates), config)
        self.step = Step(module, self.optimizer, self.y["train"], n_classes, config, device)
        batches = self.epoch_batches(1)
        self.rows = sum(map(len, batches))
        self.steps = len(chunks(np.arange(len(batches)), config.accumulate))
        self.schedule = Schedule(config, self.steps)
        self.state = Checkpoint()
        self.stopping = Stopping()

    def resume(self) -> None:
        """Go on from the last checkpoint, if there is one."""
        found = self.checkpoints.load() if self.checkpoints else None
        if found is None:
            return
        assert self.checkpoints is not None
        what = f"the checkpoint of run {self.checkpoints.run.id}"
        load_exactly(self.module, found.model, what)
        restore_optimizer(self.optimizer, found.optimizer)
        if found.scaler:
            self.step.scaler.load_state_dict(found.scaler)
        self.clock.go_on(found.seconds)
        self.state = found

    def run(self, on_epoch: Callable[[Epoch], None]) -> tuple[list[Epoch], int]:
        """Train; return the history and the best epoch, whose weights the module then has."""
        state = self.state
        with self.stopping, isolated_rng(device=self.device):
            while state.epoch < self.config.epochs and not self._is_enough():
                line = self._train_epoch(state.epoch + 1)
                state.epoch, state.batch, state.sums = state.epoch + 1, 0, {}
                self._validate(line)
                state.history.append(line)
                self.progress(self._said(state.epoch), state.epoch * self.rows, self.config.epochs * self.rows)
                on_epoch(line)
                self._save_if_due(epoch_ends=True)
        if state.best_model:
            load_exactly(self.module, state.best_model, "the best epoch")
        return state.history, int(state.best.get("epoch", state.epoch))

    def _is_enough(self) -> bool:
        best = self.state.best.get("epoch", 0)
        return self.config.patience is not None and bool(best) and self.state.epoch - best >= self.config.patience

    def _validate(self, line: Epoch) -> None:
        if "val" not in self.loaders:
            return
        with self.clock("validate"):
            val = self.score("val")
        line |= {"val_loss": val.loss, "val_accuracy": val.accuracy}
        best = self.state.best
        if not best or (val.accuracy, -val.loss) > (best["accuracy"], -best["loss"]):
            self.state.best = {"epoch": line["epoch"], "accuracy": val.accuracy, "loss": val.loss}
            self.state.best_model = {n: t.detach().clone() for n, t in self.module.state_dict().items()}

    def _train_epoch(self, epoch: int) -> Epoch:
        self._train_mode()
        state, batches = self.state, self.epoch_batches(epoch)
        sums = state.sums or {"loss": 0.0, "right": 0, "done": 0, "seconds": 0.0}
        state.sums = sums
        augment = Augment(self.config.augmentation, len(self.y["train"]), self.config.seed, epoch)
        first = self._lr(epoch, 0)
        began, before = time.perf_counter(), sums["seconds"]
        with self.clock("train"), memory_errors("training"), explain_single_image_batch():
            # A resumed epoch does not load what it has done already.
            loaded = self.loaders["train"].batches(batches[state.batch :], augment)
            for group in chunks(np.arange(len(batches)), self.config.accumulate)[self._step_of(state.batch) :]:
                self._do_step(epoch, [batches[i] for i in group], loaded)
                state.batch = int(group[-1]) + 1
                sums["seconds"] = before + time.perf_counter() - began
                done = state.epoch * self.rows + int(sums["done"])
                self.progress(self._said(epoch), done, self.config.epochs * self.rows)
                self._save_if_due(epoch_ends=False)
        return {
            "epoch": epoch,
            "lr": first,
            "train_loss": sums["loss"] / sums["done"],
            "train_accuracy": sums["right"] / sums["done"],
            "seconds": sums["seconds"],
            "images_per_second": sums["done"] / max(sums["seconds"], 1e-9),
        }

    def _do_step(self, epoch: int, group: list[RowNumbers], loaded: Iterator[tuple[RowNumbers, torch.Tensor]]) -> None:
        step, sums = self._step_of(self.state.batch), self.state.sums
        set_lr(self.optimizer, self._lr(epoch, step))
        set_chance(self.config.seed, epoch, step, self.device)
        self.step.begin()
        for _ in group:
            rows, x = next(loaded)
            y = self.y["train"][torch.from_numpy(rows).to(self.device)]
            try:
                loss, right = self.step.gradient(x, y, sum(map(len, group)))
            except FloatingPointError as exc:
                part = self.loaders["train"].part
                ids = [part.source.ids[part.rows[row]] for row in rows]
                raise diverged(str(exc), epoch, step + 1, ids, self.config.peak_lr) from exc
            sums["loss"] += loss
            sums["right"] += right
            sums["done"] += len(rows)
        self.step.update()

    def _step_of(self, batch: int) -> int:
        return -(-batch // self.config.accumulate)

    def _lr(self, epoch: int, step: int) -> float:
        return self.schedule((epoch - 1) * self.steps + step, self.state.history)

    def _train_mode(self) -> None:
        self.module.train()
        for module in self.eval_modules:
            module.eval()

    def _said(self, epoch: int) -> str:
        said = f"training: epoch {epoch}/{self.config.epochs}"
        last = self.state.history[-1] if self.state.history else {}
        if "val_accuracy" in last:
            said += f", val accuracy {last['val_accuracy']:.4f} loss {last['val_loss']:.4f}"
        return said

    def epoch_batches(self, epoch: int) -> list[RowNumbers]:
        """Return each batch's places in the training part, in the epoch's own order."""
        n_rows = len(self.loaders["train"].part)
        order = np.random.default_rng([self.config.seed, epoch, 0]).permutation(n_rows)
        batches = chunks(order, self.config.batch_size)
        # Batch norm cannot normalise a batch of one; those images come in the next epoch's order.
        return batches[:-1] if len(batches[-1]) == 1 < len(batches[0]) else batches

    def _save_if_due(self, *, epoch_ends: bool) -> None:
        if self.checkpoints and (self.stopping.wanted or self.checkpoints.due(epoch_ends=epoch_ends)):
            state = self.state
            state.model = self.module.state_dict()
            state.optimizer = optimizer_tensors(self.optimizer)
            state.scaler, state.seconds = self.step.scaler.state_dict(), self.clock.total()
            self.checkpoints.save(state)
        self.stopping.now()

    def logits(self, part: str) -> Logits:
        """Return the logits of a part's rows, shape (n, n_classes)."""
        self.module.eval()
        batches = chunks(np.arange(len(self.y[part])), self.config.batch_size)
        found: list[Any] = []
        with torch.inference_mode(), memory_errors("evaluation"), arithmetic(self.device, self.config.precision):
            for _, x in self.loaders[part].batches(batches, None):
                found.append(logits_of(self.module(x), self.n_classes)[0].float().cpu().numpy())
        logits = np.concatenate(found)
        # The last update of an epoch may be the one that diverges; no loss was taken after it.
        lost = np.flatnonzero(~np.isfinite(logits.max(axis=1)))
        if len(lost):
            rows = self.loaders[part].part
            raise diverged_after(self.state.epoch, rows.source.ids[rows.rows[lost[0]]], self.config.peak_lr)
        return logits

    def score(self, part: str) -> Scores:
        """Score a part as the module is now."""
        return score(self.logits(part), self.y[part].cpu().numpy(), self.n_classes)
