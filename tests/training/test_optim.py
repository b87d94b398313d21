"""Learning rates against torch's own schedulers, and parameter groups."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from featx.training.config import TrainConfig
from featx.training.optim import (
    PLATEAU_FACTOR,
    PLATEAU_PATIENCE,
    Schedule,
    forget_gradients,
    groups_of,
    make_optimizer,
    set_lr,
    take_gradients,
)

EPOCHS, STEPS, PEAK = 4, 5, 0.3
SGD = TrainConfig(mode="finetune", lr=0.01, weight_decay=0.0)


def rates(**options: Any) -> list[float]:
    schedule = Schedule(TrainConfig(epochs=EPOCHS, lr=PEAK, **options), STEPS)
    return [schedule(step) for step in range(EPOCHS * STEPS)]


def torchs(make: Any) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = make(optimizer)
    found = []
    for _ in range(EPOCHS * STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("constant", lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        ("cosine", lambda o: lr_scheduler.CosineAnnealingLR(o, EPOCHS * STEPS)),
        ("onecycle", lambda o: lr_scheduler.OneCycleLR(o, PEAK, total_steps=EPOCHS * STEPS)),
        ("step", lambda o: lr_scheduler.MultiStepLR(o, [EPOCHS * STEPS // 2, EPOCHS * STEPS * 3 // 4])),
    ],
)
def test_schedules_are_torchs(kind: str, make: Any) -> None:
    assert rates(schedule=kind) == pytest.approx(torchs(make), rel=1e-6, abs=1e-12)


def test_plateau_falls_as_torchs_does() -> None:
    losses = [1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.8, 0.85, 0.85, 0.85, 0.85, 0.85, 0.85, 0.85]
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=PEAK)
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, factor=PLATEAU_FACTOR, patience=PLATEAU_PATIENCE, threshold=0.0)
    schedule = Schedule(TrainConfig(epochs=20, lr=PEAK, schedule="plateau"), STEPS)
    history: list[dict[str, float]] = []
    fell = set()
    for loss in losses:
        history.append({"train_loss": 9.0, "val_loss": loss})
        theirs.step(loss)
        assert schedule(len(history) * STEPS, history) == pytest.approx(optimizer.param_groups[0]["lr"])
        fell.add(optimizer.param_groups[0]["lr"])
    assert len(fell) == 3


def test_warm_up_rises_to_the_peak_and_the_rest_is_the_schedule() -> None:
    found = rates(warmup_epochs=1)
    assert found[:STEPS] == pytest.approx([PEAK * (i + 1) / STEPS for i in range(STEPS)])
    assert found[STEPS] == PEAK
    assert found[STEPS:] == sorted(found[STEPS:], reverse=True)


@pytest.mark.parametrize("kind", ["constant", "step", "cosine", "onecycle", "plateau"])
def test_even_one_step_has_a_rate(kind: str) -> None:
    for steps in (1, 2, 3):
        schedule = Schedule(TrainConfig(epochs=1, lr=PEAK, schedule=kind), steps)
        assert all(0 < schedule(step) <= PEAK for step in range(steps))


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_biases_and_norms_do_not_decay_and_the_head_has_its_own_rate(optimizer: str) -> None:
    module = small()
    config = TrainConfig(optimizer=optimizer, weight_decay=0.1, head_lr_factor=10.0, lr=0.01)
    made = make_optimizer(groups_of(module, module[3], config), config)
    set_lr(made, 0.01)
    names = {id(p): name for name, p in module.named_parameters()}
    about = {names[id(p)]: (g["weight_decay"], g["lr"]) for g in made.param_groups for p in g["params"]}
    assert about == {
        "0.weight": (0.1, 0.01),
        **dict.fromkeys(("0.bias", "1.weight", "1.bias"), (0.0, 0.01)),
        "3.weight": (0.1, pytest.approx(0.1)),
        "3.bias": (0.0, pytest.approx(0.1)),
    }


def test_what_does_not_learn_is_not_held() -> None:
    module = small()
    module[0].requires_grad_(False)
    groups = groups_of(module, module[3], TrainConfig())
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_channels_last_kernels_move_as_plain_ones(optimizer: str) -> None:
    config = TrainConfig(optimizer=optimizer, weight_decay=0.1, lr=0.01)
    torch.manual_seed(0)
    plain = small()
    odd = copy.deepcopy(plain).to(memory_format=torch.channels_last)
    odd[0].weight = nn.Parameter(odd[0].weight.detach().repeat(1, 3, 1, 1).to(memory_format=torch.channels_last))
    plain[0].weight = nn.Parameter(plain[0].weight.detach().repeat(1, 3, 1, 1))
    assert not odd[0].weight.is_contiguous()
    x = torch.randn(5, 3, 4, 4)
    for module in (plain, odd):
        module[0].bias.requires_grad_(False)  # batch norm takes it out again: its gradient is rounding
        made = make_optimizer(groups_of(module, module[3], config), config)
        assert all(p.is_contiguous() for group in made.param_groups for p in group["params"])
        for _ in range(3):
            forget_gradients(made)
            assert all(p.grad is None for p in module.parameters())
            torch.autograd.backward(module(x).square().sum())
            take_gradients(made)
            made.step()
    for one, other in zip(plain.parameters(), odd.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_a_first_step_that_the_scaler_refuses_leaves_no_trace() -> None:
    def trained(refused: int) -> torch.Tensor:
        module = nn.Linear(3, 2, bias=False)
        nn.init.ones_(module.weight)
        optimizer = make_optimizer(groups_of(module, module, SGD), SGD)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        for i in range(refused + 3):
            forget_gradients(optimizer)
            loss = module(torch.ones(1, 3)).square().sum() * (torch.inf if i < refused else 1.0)
            torch.autograd.backward(scaler.scale(loss))
            take_gradients(optimizer)
            scaler.step(optimizer)
            scaler.update()
        return module.weight.detach()

    torch.testing.assert_close(trained(refused=2), trained(refused=0))


def test_a_parameter_may_get_its_first_gradient_late() -> None:
    one, other = nn.Linear(2, 1, bias=False), nn.Linear(2, 1, bias=False)
    module = nn.ModuleList([one, other])
    optimizer = make_optimizer(groups_of(module, one, SGD), SGD)
    before = other.weight.detach().clone()
    for used in ([one], [one, other]):
        forget_gradients(optimizer)
        torch.autograd.backward(sum(part(torch.ones(1, 2)).sum() for part in used))  # type: ignore[arg-type]
        take_gradients(optimizer)
        optimizer.step()
        assert torch.equal(other.weight, before) == (used == [one])
