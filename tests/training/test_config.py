"""What is asked of a training: refused where it means nothing, each default said once."""

from __future__ import annotations

from typing import Any

import pytest

from featx.errors import OptionError
from featx.training.config import MODES, OPTIMIZERS, TrainConfig


@pytest.mark.parametrize("name", ["mode", "optimizer", "schedule", "precision", "augment", "class_weight", "on_error"])
def test_choices_that_do_not_exist_are_refused_with_those_that_do(name: str) -> None:
    with pytest.raises(OptionError, match="expected one of") as caught:
        TrainConfig(**{name: "nonsense"})
    assert name in caught.value.message


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("accumulate", n) for n in (0, -1, 1.5)),
        *(("patience", n) for n in (0, -1)),
        *(("warmup_epochs", n) for n in (-1, 10, 11)),
        *(("head_lr_factor", x) for x in (0, -1.0, float("nan"))),
        *(("clip", x) for x in (0, float("inf"))),
        *(("label_smoothing", x) for x in (-0.1, 1.0)),
        *((name, -0.1) for name in ("mixup", "cutmix", "weight_decay", "momentum", "checkpoint_minutes")),
        ("head", "mpl:3"),
    ],
)
def test_impossible_numbers_are_refused_by_name(name: str, wrong: Any) -> None:
    with pytest.raises(OptionError, match=name):
        TrainConfig(**{name: wrong})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"mode": "frozen", "unfreeze_from": "layer4"}, "unfreeze-from needs mode finetune, .* frozen"),
        ({"mode": "scratch", "unfreeze_from": "layer4"}, "unfreeze-from needs mode finetune, .* scratch"),
        ({"mode": "scratch", "init_head": "20261121"}, "init-head is for a head .* the mode is scratch"),
        ({"schedule": "onecycle", "warmup_epochs": 1}, "warmup-epochs is 1 .* schedule onecycle"),
    ],
)
def test_options_that_do_not_go_together_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        TrainConfig(**wrong)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_is_not_said_is_the_modes_and_the_optimizers_own(mode: str, optimizer: str) -> None:
    config = TrainConfig(mode=mode, optimizer=optimizer)
    assert config.peak_lr == TrainConfig.LR[optimizer][mode]
    assert config.decay == TrainConfig.WEIGHT_DECAY[optimizer]
    assert config.augmentation == TrainConfig.AUGMENT[mode]
    said = TrainConfig(mode=mode, optimizer=optimizer, lr=0.5, weight_decay=0.0, augment="flip")
    assert (said.peak_lr, said.decay, said.augmentation) == (0.5, 0.0, "flip")


def test_a_frozen_base_runs_once_only_where_every_epoch_is_alike() -> None:
    assert TrainConfig(mode="frozen").sees_the_same
    for other in ({"augment": "flip"}, {"mixup": 0.2}, {"cutmix": 1.0}, {"mode": "finetune", "augment": "none"}):
        assert not TrainConfig(**{"mode": "frozen", **other}).sees_the_same


def test_a_head_has_one_spelling() -> None:
    assert TrainConfig(head="mlp:064:dropout=.50").head == "mlp:64:dropout=0.5"
