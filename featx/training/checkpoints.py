"""A training's state on the disk: tensors as safetensors, numbers as JSON, whole at every moment.

``checkpoint.json`` is renamed into place after the tensor files that it names are there, and only then are the files
of the state before removed: whatever happens in between, the state that it names can be loaded.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from featx.core import atomic
from featx.core.run_folder import MAX_RECORD_BYTES, Run
from featx.errors import CorruptStoreError, OptionError, StoreError
from featx.models.content import same
from featx.training.world import World

CHECKPOINT_FILE = "checkpoint.json"
SCHEMA = 2
SECONDS = 1.0
"""After an epoch that ends sooner than this after the last checkpoint none is written: little would be lost."""

Tensors = dict[str, torch.Tensor]


@dataclass
class Checkpoint:
    """Everything that a training goes on from; random numbers need not be kept, they follow from seed and step.

    Parameters
    ----------
    epoch, batch : int
        Epochs that are finished, and batches of the next one.
    sums : dict
        ``loss``, ``right``, ``done`` and ``seconds`` of the epoch that is not finished.
    history : list of dict
        A line a finished epoch.
    best : dict
        ``epoch`` and the figures that it was chosen by; empty at first.
    model, optimizer, best_model : dict of Tensor
        By name; `best_model` is empty where there is no best epoch.
    scaler : dict
        Of the loss in fp16.
    seconds : dict
        By stage, so far.
    """

    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, float] = field(default_factory=dict)
    model: Tensors = field(default_factory=dict)
    optimizer: Tensors = field(default_factory=dict)
    best_model: Tensors = field(default_factory=dict)
    scaler: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    NUMBERS = ("epoch", "batch", "sums", "history", "best", "scaler", "seconds")


class Checkpoints:
    """The checkpoints of one run: the last state and the best epoch's weights.

    Parameters
    ----------
    run : Run
        Whose folder they lie in.
    identity : mapping
        What the training is of, see `featx.training.resume`: a checkpoint of another is refused.
    minutes : float
        Within an epoch a checkpoint is due so often; with 0 after every step.
    """

    def __init__(self, run: Run, identity: Mapping[str, Any], minutes: float) -> None:
        self.run, self.identity = run, dict(identity)
        self._seconds = 60 * minutes
        self._written = time.monotonic()
        self._files: Mapping[str, Mapping[str, str]] = {}
        self._ready: Checkpoint | None = None

    def due(self, *, epoch_ends: bool) -> bool:
        """Tell whether it is time for another."""
        wait = min(SECONDS, self._seconds) if epoch_ends else self._seconds
        return time.monotonic() - self._written >= wait

    def save(self, state: Checkpoint) -> None:
        """Write a state.

        Raises
        ------
        DiskFullError, StoreError
            It cannot be written; the one before is still whole.
        """
        tensors = {f"model.{n}": t for n, t in state.model.items()}
        tensors |= {f"optimizer.{n}": t for n, t in state.optimizer.items()}
        files: dict[str, Mapping[str, str]] = {
            "last": self._put(f"last-{state.epoch}-{state.batch}.safetensors", tensors)
        }
        if state.best_model:
            name = f"best-{int(state.best['epoch'])}.safetensors"
            files["best"] = self._known(name) or self._put(name, state.best_model)
        numbers = {name: getattr(state, name) for name in Checkpoint.NUMBERS}
        document = {"schema": SCHEMA, "identity": self.identity, "files": files, **numbers}
        atomic.write_json(self.run.path / CHECKPOINT_FILE, document)
        self._files = files
        self._sweep({file["name"] for file in files.values()})
        self._written = time.monotonic()

    def _known(self, name: str) -> Mapping[str, str] | None:
        best = self._files.get("best")
        return best if best and best["name"] == name else None

    def prepare(self) -> None:
        """Read the last state now, for `load`: whether a training can go on is known before it begins.

        Raises
        ------
        OptionError, CorruptStoreError, StoreError
            As `load`.
        """
        self._ready = self.load()

    def load(self) -> Checkpoint | None:
        """Return the last state; None where none was written yet.

        Raises
        ------
        OptionError
            It is of another training; says what differs.
        CorruptStoreError, StoreError
            A file is damaged or gone.
        """
        if self._ready is not None:
            ready, self._ready = self._ready, None
            return ready
        if not (self.run.path / CHECKPOINT_FILE).exists():
            return None
        document = read_checkpoint(self.run)
        differs = differences(document["identity"], self.identity)
        if differs and not same(document["identity"], self.identity):
            raise OptionError(
                f"the checkpoint of run {self.run.id} is of another training: {differs}",
                "give the options that it was begun with, or begin anew without --resume",
            )
        tensors = {kind: self._get(file) for kind, file in document["files"].items()}
        self._files = document["files"]
        split: dict[str, Tensors] = {"model": {}, "optimizer": {}}
        for name, tensor in tensors["last"].items():
            kind, _, rest = name.partition(".")
            split[kind][rest] = tensor
        numbers = {name: document[name] for name in Checkpoint.NUMBERS}
        return Checkpoint(
            **numbers, model=split["model"], optimizer=split["optimizer"], best_model=tensors.get("best", {})
        )

    def clear(self) -> None:
        """Remove them all: the run has its record and its model."""
        with suppress(OSError):
            (self.run.path / CHECKPOINT_FILE).unlink(missing_ok=True)
        self._sweep(set())

    def _put(self, name: str, tensors: Tensors) -> dict[str, str]:
        data = safetensors.torch.save({n: t.detach().cpu().contiguous() for n, t in tensors.items()})
        atomic.write_bytes(self.run.path / name, data)
        return {"name": name, "sha256": hashlib.sha256(data).hexdigest()}

    def _get(self, file: Mapping[str, str]) -> Tensors:
        path = self.run.path / file["name"]
        if path.parent != self.run.path:
            raise CorruptStoreError(f"{self.run.path / CHECKPOINT_FILE} names files elsewhere", self._anew)
        if not path.exists():
            raise StoreError(f"run {self.run.id} has no {path.name}: its model is gone", self._anew)
        with atomic.opened(path, self._anew) as fd:
            data = os.pread(fd, os.fstat(fd).st_size, 0)
        if hashlib.sha256(data).hexdigest() != file["sha256"]:
            raise CorruptStoreError(f"{path} is damaged: its SHA-256 is not the one that was written", self._anew)
        return safetensors.torch.load(data)

    def _sweep(self, keep: set[str]) -> None:
        """Remove the tensor files of states before; one that cannot be removed does no harm."""
        for path in self.run.path.glob("*-*.safetensors"):
            if path.name.startswith(("last-", "best-")) and path.name not in keep:
                with suppress(OSError):
                    path.unlink()
        atomic.tidy(self.run.path)

    @property
    def _anew(self) -> str:
        return f"`featx runs rm {self.run.id}`, and begin anew without --resume"


def read_checkpoint(run: Run) -> dict[str, Any]:
    """Return the numbers of a run's last checkpoint, and its identity.

    Raises
    ------
    StoreError, CorruptStoreError
        There is none, or it is damaged.
    """
    path, hint = run.path / CHECKPOINT_FILE, f"remove the folder {run.path}"
    document = atomic.read_json(path, MAX_RECORD_BYTES, hint)
    wanted = {"schema", "identity", "files", *Checkpoint.NUMBERS}
    if not isinstance(document, dict) or not wanted <= set(document) or "last" not in document["files"]:
        raise CorruptStoreError(f"{path} is damaged: no checkpoint", hint)
    if document["schema"] != SCHEMA:
        raise StoreError(f"{path} has schema {document['schema']}, expected {SCHEMA}", "use the featx that wrote it")
    return document


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """Return what differs between two identities, in words; empty where nothing does."""
    said = []
    for name in sorted({*before, *now}):
        was, is_now = before.get(name), now.get(name)
        if isinstance(was, Mapping) and isinstance(is_now, Mapping):
            said += [f"{name} {inner}"] if (inner := differences(was, is_now)) else []
        elif was != is_now:
            long = max(len(str(was)), len(str(is_now))) > 60
            said.append(f"{name} differs" if long else f"{name} was {was}, now {is_now}")
    return "; ".join(said)


def load_exactly(module: torch.nn.Module, tensors: Tensors, what: str) -> None:
    """Load a checkpoint's weights into a network of the same architecture.

    Raises
    ------
    StoreError
        A name or shape differs; names the first.
    """
    own = module.state_dict()
    wrong = sorted(n for n in {*own, *tensors} if n not in own or n not in tensors or own[n].shape != tensors[n].shape)
    if wrong:
        found, wanted = (tuple(some[wrong[0]].shape) if wrong[0] in some else "absent" for some in (tensors, own))
        raise StoreError(
            f"{what} is of another architecture: {wrong[0]} is {found}, expected {wanted}, one of {len(wrong)} "
            "that differ",
            "check --backbone and --head",
        )
    module.load_state_dict(tensors)


def shared(world: World, state: Checkpoint | None) -> Checkpoint | None:
    """Return process 0's state in every process."""
    if world.size == 1:
        return state
    numbers = world.share({name: getattr(state, name) for name in Checkpoint.NUMBERS} if state else None)
    if numbers is None:
        return None
    own = state or Checkpoint()
    model, optimizer, best = (world.share_tensors(some) for some in (own.model, own.optimizer, own.best_model))
    return Checkpoint(**numbers, model=model, optimizer=optimizer, best_model=best)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> Tensors:
    """Return an optimizer's state by ``<parameter's number>.<name>``; the rest of it follows from the options."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{n}": torch.as_tensor(v) for i, values in state.items() for n, v in values.items() if v is not None}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors) -> None:
    """Put an optimizer's state back, in the memory layout that its parameters have."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        number, _, kind = name.partition(".")
        parameter = parameters[int(number)]
        if tensor.shape == parameter.shape and tensor.ndim:
            # Element by element the arithmetic is the same in every layout only as long as all operands share one.
            tensor = torch.empty_like(parameter).copy_(tensor)
        optimizer.state[parameter][kind] = tensor.clone() if tensor.ndim == 0 else tensor.detach()


def folder_has_checkpoint(path: Path) -> bool:
    """Tell whether a run's folder holds a state to go on from."""
    return (path / CHECKPOINT_FILE).is_file()
