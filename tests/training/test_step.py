"""One step: what is added up, what is weighed, what is clipped, and the auxiliary heads' share."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from drawn import CPU
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.nn import functional

from featx.core.rng import isolated_rng
from featx.training.config import TrainConfig
from featx.training.optim import groups_of, make_optimizer
from featx.training.step import AUXILIARY_WEIGHT, Step, balanced, set_chance

X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor([0, 1, 2, 0, 0, 1])


def step_of(module: nn.Module, **options: Any) -> Step:
    config = TrainConfig(**options)
    return Step(module, make_optimizer(groups_of(module, module, config), config), Y, 3, config, CPU)


def linear() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(4, 3)


def gradient(module: nn.Module, batches: list[slice], **options: Any) -> torch.Tensor:
    step = step_of(module, **options)
    for rows in batches:
        step.gradient(X[rows], Y[rows], 6)
    return module.get_parameter("weight").grad  # type: ignore[return-value]


def test_several_batches_make_the_gradient_of_one() -> None:
    whole = gradient(linear(), [slice(0, 6)])
    expected = linear()
    torch.autograd.backward(functional.cross_entropy(expected(X), Y))
    torch.testing.assert_close(whole, expected.weight.grad)
    torch.testing.assert_close(gradient(linear(), [slice(0, 4), slice(4, 6)]), whole)


def test_loss_and_count_are_sums_over_the_batch() -> None:
    module = linear()
    loss, right = step_of(module).gradient(X, Y, 6)
    assert loss == pytest.approx(functional.cross_entropy(module(X), Y, reduction="sum").item(), rel=1e-6)
    assert right == int((module(X).argmax(1) == Y).sum())


def test_class_weights_are_scikit_learns() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=Y.numpy())
    np.testing.assert_allclose(balanced(Y, 3).numpy(), expected, rtol=1e-6)
    assert balanced(Y, 4).tolist()[3] == 0  # no row, no weight
    weighed = gradient(linear(), [slice(0, 6)], class_weight="balanced")
    expected_module = linear()
    loss = functional.cross_entropy(expected_module(X), Y, weight=balanced(Y, 3), reduction="sum") / 6
    torch.autograd.backward(loss)
    torch.testing.assert_close(weighed, expected_module.weight.grad)


def test_smoothing_is_torchs() -> None:
    found = gradient(linear(), [slice(0, 6)], label_smoothing=0.2)
    expected = linear()
    torch.autograd.backward(functional.cross_entropy(expected(X), Y, label_smoothing=0.2))
    torch.testing.assert_close(found, expected.weight.grad)


class TwoHeads(nn.Module):
    """Gives what GoogLeNet gives in training."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.aux1, self.aux2 = linear(), nn.Linear(4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> Any:
        return self.main(x), self.aux2(x), self.aux1(x)


def test_auxiliary_heads_count_three_tenths() -> None:
    module = TwoHeads()
    loss, _ = step_of(module).gradient(X, Y, 6)
    parts = [
        float(functional.cross_entropy(head(X), Y, reduction="sum")) for head in (module.main, module.aux1, module.aux2)
    ]
    assert AUXILIARY_WEIGHT == 0.3
    assert loss == pytest.approx(parts[0] + 0.3 * (parts[1] + parts[2]), rel=1e-5)
    assert all(p.grad is not None for p in module.parameters())


def test_clipping_bounds_the_gradients_norm() -> None:
    module = linear()
    step = step_of(module, clip=0.01)
    step.gradient(X, Y, 6)
    step.update()
    norm = torch.cat([p.grad.flatten() for p in module.parameters()]).norm()  # type: ignore[union-attr]
    assert float(norm) == pytest.approx(0.01, rel=1e-3)


def test_a_loss_that_is_no_number_changes_nothing() -> None:
    module = linear()
    with torch.no_grad():
        module.weight[0, 0] = torch.inf
    with pytest.raises(FloatingPointError):
        step_of(module).gradient(X, Y, 6)
    assert module.weight.grad is None


def test_chance_follows_from_seed_epoch_and_step() -> None:
    def draw(*numbers: int) -> float:
        set_chance(*numbers, CPU)  # type: ignore[call-arg, arg-type]
        return float(torch.rand(1))

    torch.manual_seed(3)
    expected = float(torch.rand(1))
    torch.manual_seed(3)
    with isolated_rng():
        first = draw(0, 1, 2)
        assert draw(0, 1, 2) == first
        assert len({first, draw(1, 1, 2), draw(0, 2, 2), draw(0, 1, 3), draw(0, 2, 1)}) == 5
    assert float(torch.rand(1)) == expected
