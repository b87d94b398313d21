"""A training made ready: what is run on each batch, and what the caller is told before it begins."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import drawn, parts

from featx.core.specs import no_progress
from featx.data.sources import load_source
from featx.data.splits import Part, Partition
from featx.errors import FeatxWarning
from featx.models.backbones import resolve
from featx.training.config import TrainConfig
from featx.training.standardized import Standardized
from featx.training.task import Task, prepare
from featx.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def ready(name: str = "lenet5", px: int = 32, **options: Any) -> Task:
    config = TrainConfig(device="cpu", batch_size=8, **options)
    backbone = resolve(name, weights="random:0", size=px, channels=3)
    return prepare(
        parts(drawn(24), 16, 4), backbone, config, store=None, progress=no_progress, checkpoints=None, runs=None
    )


def test_features_of_a_frozen_base_are_for_the_head_alone() -> None:
    task = ready(mode="frozen")
    assert task.cached
    assert isinstance(task.learner.module, Standardized)
    assert task.learner.module.head is task.learner.head is task.model.head
    assert task.learner.eval_modules == []
    assert set(task.clock.seconds) == {"build", "extract", "standardize"}


def test_changing_images_are_for_the_whole_network() -> None:
    task = ready(mode="frozen", augment="flip")
    assert not task.cached
    assert task.learner.module is task.model.network
    assert task.learner.eval_modules == task.model.eval_modules != []
    assert set(task.clock.seconds) == {"build", "read", "standardize"}


def test_a_head_that_does_not_make_the_logits_alone_needs_the_network() -> None:
    task = ready("squeezenet1_0", 64, mode="frozen")
    assert not task.model.can_learn_on_features
    assert not task.cached


def test_a_network_that_learns_is_not_standardised() -> None:
    task = ready(mode="finetune")
    assert task.learner.standardized is None
    assert task.learner.rates == {}
    assert set(task.clock.seconds) == {"build", "read"}


@pytest.mark.parametrize("augment", ["none", "flip"])
@pytest.mark.parametrize("head", ["linear", "mlp:8", "flat-linear"])
def test_a_folded_head_stands_in_the_network_again_and_gives_the_same(head: str, augment: str) -> None:
    task = ready(mode="frozen", head=head, augment=augment)
    assert list(task.learner.rates.values()) == [task.learner.standardized.rate]  # type: ignore[union-attr]
    x = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        before = task.model.network.eval()(x)
        task.learner.fold()
        stripped = task.model.strip()
        torch.testing.assert_close(stripped(x), before, rtol=1e-4, atol=1e-4)
    assert stripped.get_submodule(task.model.place) is task.model.head
    assert not any(isinstance(module, Standardized) for module in stripped.modules())


def test_a_class_that_cannot_be_read_is_told_where_training_was_asked_for(
    tmp_path: Path, fill: Callable[..., Path]
) -> None:
    fill(tmp_path, [f"{name}/{i}.png" for name in ("cat", "dog", "owl") for i in range(4)])
    for path in (tmp_path / "owl").iterdir():
        path.write_bytes(path.read_bytes()[:60])
    source = load_source(tmp_path)
    rows = np.arange(len(source))
    partition = Partition(Part(source, rows), Part(source, rows[:0]), Part(source, rows[:0]), 0)
    config = TrainConfig(mode="frozen", epochs=1, device="cpu", on_error="skip")
    with pytest.warns(FeatxWarning, match="no training image of owl could be read: it cannot be learnt") as caught:
        train(partition, resolve("lenet5", weights="random:0", channels=3), config)
    (said,) = [one for one in caught if "owl" in str(one.message)]
    assert said.filename == __file__
