"""Checkpoints: whole at every moment, of one training alone, and refused where they are not what they should be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from featx.core.run_folder import Run, Runs
from featx.core.run_locks import held
from featx.errors import CorruptStoreError, DiskFullError, FeatxError, OptionError, StoreError
from featx.training.checkpoints import (
    CHECKPOINT_FILE,
    Checkpoint,
    Checkpoints,
    differences,
    load_exactly,
    optimizer_tensors,
    restore_optimizer,
)

IDENTITY = {"backbone": "lenet5", "lr": 0.1}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Runs(tmp_path).new("train", ["featx"])


def state(epoch: int, best: int = 0) -> Checkpoint:
    return Checkpoint(
        epoch=epoch,
        batch=3,
        sums={"loss": 0.1 + epoch, "right": 2, "done": 5, "seconds": 0.5},
        history=[{"epoch": e + 1, "train_loss": 1 / 3} for e in range(epoch)],
        best={"epoch": best, "accuracy": 0.5, "loss": 1.0} if best else {},
        model={"w": torch.full((2, 3), float(epoch)), "n.num": torch.tensor(epoch)},
        optimizer={"0.momentum_buffer": torch.rand(2, 3)},
        best_model={"w": torch.full((2, 3), 100.0 + best)} if best else {},
        seconds={"total": 2.5},
    )


def files(run: Run) -> set[str]:
    return {path.name for path in run.path.iterdir()}


def test_state_comes_back_to_the_bit(run: Run) -> None:
    saved = state(2, best=1)
    Checkpoints(run, IDENTITY, 5).save(saved)
    found = Checkpoints(run, IDENTITY, 5).load()
    assert found is not None
    for name in Checkpoint.NUMBERS:
        assert getattr(found, name) == getattr(saved, name)
    for name in ("model", "optimizer", "best_model"):
        mine, theirs = getattr(saved, name), getattr(found, name)
        assert set(mine) == set(theirs)
        assert all(torch.equal(mine[n], theirs[n]) for n in mine)


def test_nothing_saved_is_nothing_to_load(run: Run) -> None:
    assert Checkpoints(run, IDENTITY, 5).load() is None


def test_the_last_and_the_best_are_kept_and_no_others(run: Run) -> None:
    checkpoints = Checkpoints(run, IDENTITY, 5)
    for epoch, best in ((1, 1), (2, 1), (3, 3), (4, 3)):
        checkpoints.save(state(epoch, best))
        assert files(run) == {CHECKPOINT_FILE, f"last-{epoch}-3.safetensors", f"best-{best}.safetensors"}
    checkpoints.clear()
    assert files(run) == set()


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_disk_that_fills_up_leaves_the_state_before(run: Run, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    from featx.core import atomic

    Checkpoints(run, IDENTITY, 5).save(state(1, best=1))
    calls, write = [0], atomic.write_bytes

    def full(path: Path, data: bytes) -> None:
        calls[0] += 1
        if calls[0] == failing:
            raise DiskFullError("no room")
        write(path, data)

    monkeypatch.setattr(atomic, "write_bytes", full)
    with pytest.raises(DiskFullError):
        Checkpoints(run, IDENTITY, 5).save(state(2, best=2))
    monkeypatch.undo()
    found = Checkpoints(run, IDENTITY, 5).load()
    assert found is not None
    assert found.epoch == 1
    Checkpoints(run, IDENTITY, 5).save(state(2, best=2))
    assert files(run) == {CHECKPOINT_FILE, "last-2-3.safetensors", "best-2.safetensors"}


def test_another_training_is_refused_with_what_differs(run: Run) -> None:
    Checkpoints(run, IDENTITY, 5).save(state(1))
    with pytest.raises(OptionError, match=r"backbone was lenet5, now resnet18; lr was 0.1, now 0.2"):
        Checkpoints(run, {"backbone": "resnet18", "lr": 0.2}, 5).load()


def test_a_folder_without_its_model_is_refused(run: Run) -> None:
    Checkpoints(run, IDENTITY, 5).save(state(1))
    (run.path / "last-1-3.safetensors").unlink()
    with pytest.raises(StoreError, match="its model is gone") as caught:
        Checkpoints(run, IDENTITY, 5).load()
    assert "resume=" in caught.value.hint


def test_a_changed_byte_is_seen(run: Run) -> None:
    Checkpoints(run, IDENTITY, 5).save(state(1))
    path = run.path / "last-1-3.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(CorruptStoreError, match="SHA-256"):
        Checkpoints(run, IDENTITY, 5).load()


@pytest.mark.parametrize("change", [{"schema": 99}, {"files": {}}, {"files": {"last": {"name": "../x", "sha256": ""}}}])
def test_numbers_that_make_no_sense_are_refused(run: Run, change: dict[str, Any]) -> None:
    Checkpoints(run, IDENTITY, 5).save(state(1))
    path = run.path / CHECKPOINT_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(FeatxError):
        Checkpoints(run, IDENTITY, 5).load()


def test_another_architecture_is_refused_by_name() -> None:
    with pytest.raises(StoreError, match=r"another architecture: bias is \(3,\), expected \(4,\), one of 2"):
        load_exactly(nn.Linear(2, 4), nn.Linear(2, 3).state_dict(), "the checkpoint")
    with pytest.raises(StoreError, match=r"bias is absent, expected \(4,\)"):
        load_exactly(nn.Linear(2, 4), nn.Linear(2, 4, bias=False).state_dict(), "the checkpoint")


def test_differences_are_told_by_name() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 2}) == ""
    assert differences({"a": 1}, {"a": 2, "c": None}) == "a was 1, now 2"
    assert differences({"a": "x" * 99}, {"a": "y" * 99}) == "a differs"


@pytest.mark.parametrize("kind", ["sgd", "adam"])
def test_optimizers_go_on_as_if_nothing_had_been(kind: str) -> None:
    def make() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        module = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if kind == "sgd":
            return module, torch.optim.SGD(module.parameters(), 0.1, momentum=0.9, nesterov=True)
        return module, torch.optim.Adam(module.parameters(), 0.1)

    def step(module: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
        x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
        optimizer.zero_grad()
        torch.autograd.backward(module(x).square().sum())
        optimizer.step()

    module, optimizer = make()
    step(module, optimizer, 1)
    kept = {n: t.clone() for n, t in optimizer_tensors(optimizer).items()}
    weights = {n: t.clone() for n, t in module.state_dict().items()}
    step(module, optimizer, 2)
    other, fresh = make()
    other.load_state_dict(weights)
    restore_optimizer(fresh, {n: t.contiguous() for n, t in kept.items()})
    step(other, fresh, 2)
    for name, value in module.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_one_process_at_a_time(run: Run) -> None:
    with held(run) as mine, held(run) as too:
        assert mine
        assert not too
    with held(run) as again:
        assert again
