"""The training loop: what trains and what does not, what is chosen, what is scored, and what goes wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn import counted, drawn, explode, logits_of, parts, some_digits
from torch import nn

from featx.cache.store import FeatureStore
from featx.core.metrics import score
from featx.data.arrays import ArraySource
from featx.data.splits import Part, Partition
from featx.errors import FeatureError, OptionError, SourceError
from featx.models.backbones import Backbone, resolve
from featx.training import loop
from featx.training.config import MODES, TrainConfig
from featx.training.train import TrainResult, train

pytestmark = pytest.mark.usefixtures("one_thread")

ONE_EPOCH = TrainConfig(epochs=1, batch_size=4, augment="none")
STEADY = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")


def lenet(channels: int = 1) -> Backbone:
    return resolve("lenet5", weights="random:0", channels=channels)


def resnet(**options: Any) -> Backbone:
    return resolve("resnet18", weights="random:0", size=32, **options)


def small(k: int = 2) -> Partition:
    return parts(drawn(14, k), 8, 3)


def digits(train: int = 120, val: int = 40, test: int = 40) -> Partition:
    return parts(some_digits(train + val + test), train, val)


def steady(result: TrainResult) -> list[dict[str, float]]:
    """Return the history without its timings."""
    return [{name: line[name] for name in STEADY if name in line} for line in result.history]


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.fixture
def optimizers(monkeypatch: pytest.MonkeyPatch) -> list[torch.optim.SGD]:
    """Every SGD that is made."""
    made: list[torch.optim.SGD] = []

    class Recording(torch.optim.SGD):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(torch.optim, "SGD", Recording)
    return made


# ---- modes train exactly what they say ------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "augment"), [*((mode, "none") for mode in MODES), ("frozen", "flip")])
def test_what_has_gradients_is_what_the_optimizer_holds(
    optimizers: list[torch.optim.SGD], mode: str, augment: str
) -> None:
    result = train(small(), resnet(), replace(ONE_EPOCH, mode=mode, augment=augment))
    (optimizer,) = optimizers
    held = {id(p) for group in optimizer.param_groups for p in group["owners"]}
    memory = {p.data_ptr() for group in optimizer.param_groups for p in group["params"]}
    names = dict(result.module.named_parameters())
    assert {id(p) for p in names.values() if p.requires_grad} == held
    assert {p.data_ptr() for p in names.values() if p.requires_grad} == memory
    assert {name for name, p in names.items() if p.grad is not None} == {
        name for name in names if mode != "frozen" or name.startswith("fc.")
    }


@pytest.mark.parametrize("augment", ["none", "crop-flip"])
def test_frozen_base_is_bit_identical_its_statistics_too(augment: str) -> None:
    backbone = resnet()
    before = state(backbone.module())
    after = state(train(small(), backbone, replace(ONE_EPOCH, mode="frozen", augment=augment, epochs=2)).module)
    assert set(before) == set(after)
    changed = {name for name in before if name.startswith("fc.") or not torch.equal(before[name], after[name])}
    assert changed == {"fc.weight", "fc.bias"}
    assert tuple(after["fc.weight"].shape) == (2, 512)


@pytest.mark.parametrize("mode", ["finetune", "scratch"])
def test_otherwise_every_weight_and_statistic_moves(mode: str) -> None:
    backbone = resnet()
    before = state(backbone.module())
    after = state(train(small(), backbone, replace(ONE_EPOCH, mode=mode)).module)
    same = {name for name in before if name[:3] != "fc." and torch.equal(before[name], after[name])}
    assert not same
    assert after["bn1.num_batches_tracked"] == 2


def test_frozen_head_does_learn() -> None:
    result = train(digits(), lenet(), TrainConfig(mode="frozen", epochs=10, batch_size=16, lr=1.0))
    assert result.history[-1]["train_loss"] < 0.8 * result.history[0]["train_loss"]
    assert result.scores["test"].accuracy > 0.5


@pytest.mark.parametrize("k", [2, 7])
@pytest.mark.parametrize("mode", MODES)
def test_parameters_are_counted(mode: str, k: int) -> None:
    base, head = 11_176_512, 512 * k + k  # torchvision's ResNet-18 has 11,689,512 with 1,000 classes
    result = train(parts(drawn(9, k), 7, 0), resnet(), replace(ONE_EPOCH, mode=mode, batch_size=7))
    learns = head if mode == "frozen" else base + head
    assert result.parameters == {"total": base + head, "trainable": learns, "frozen": base + head - learns}


def test_frozen_base_runs_once_and_the_result_is_that_of_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(mode="frozen", epochs=4, batch_size=16)
    cached = train(digits(), lenet(), config)
    # The other way: the images every epoch, with an augmentation that does nothing.
    monkeypatch.setattr(loop, "Augment", lambda *args: None)
    plain = train(digits(), lenet(), replace(config, augment="flip"))
    assert (cached.cached, plain.cached) == (True, False)
    assert cached.best_epoch == plain.best_epoch
    for one, other in zip(steady(cached), steady(plain), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)
    for name in ("fc3.weight", "fc3.bias"):
        torch.testing.assert_close(cached.module.state_dict()[name], plain.module.state_dict()[name], rtol=0, atol=1e-4)
    assert "extract" in cached.seconds
    assert "extract" not in plain.seconds


def test_stored_features_serve_the_next_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, store = TrainConfig(mode="frozen", epochs=2), FeatureStore(tmp_path)
    first = train(digits(), lenet(), config, store=store)
    monkeypatch.setattr("featx.extraction.forward.Forward.__call__", explode)
    again = train(digits(), lenet(), replace(config, lr=0.01), store=store)
    assert steady(again) != steady(first)
    with pytest.raises(AssertionError):
        train(digits(), lenet(), config)


def test_module_returned_is_whole_and_in_eval_mode() -> None:
    partition, backbone = digits(), lenet()
    result = train(partition, backbone, TrainConfig(mode="frozen", epochs=2))
    assert not any(m.training for m in result.module.modules())
    logits = logits_of(result.module, backbone, partition.train.source)
    for part, rows in ((p, getattr(partition, p).rows) for p in ("train", "val", "test")):
        again = score(logits[rows], partition.train.source.labels[rows], 10)
        assert again.accuracy == pytest.approx(result.scores[part].accuracy)
        assert again.loss == pytest.approx(result.scores[part].loss, rel=1e-4)


# ---- networks with heads of their own -------------------------------------------------------------------------------


def test_googlenet_trains_without_its_auxiliary_heads(optimizers: list[torch.optim.SGD]) -> None:
    backbone = resolve("googlenet", weights="random:0", size=64)
    result = train(parts(drawn(5), 4, 0), backbone, replace(ONE_EPOCH, mode="finetune"))
    held = {id(p) for group in optimizers[0].param_groups for p in group["owners"]}
    # What is counted as trainable did get a gradient.
    assert {id(p) for p in result.module.parameters() if p.grad is not None} == held
    assert result.parameters["trainable"] == sum(p.numel() for p in result.module.parameters()) == 5_601_954
    assert math.isfinite(result.scores["test"].loss)


@pytest.mark.parametrize("augment", ["none", "flip"])
@pytest.mark.parametrize("mode", MODES)
def test_squeezenets_convolution_is_replaced_by_one(mode: str, augment: str) -> None:
    backbone = resolve("squeezenet1_0", weights="random:0", size=64)
    before = state(backbone.module())
    result = train(small(3), backbone, replace(ONE_EPOCH, mode=mode, augment=augment))
    after = state(result.module)
    assert tuple(after["classifier.1.weight"].shape) == (3, 512, 1, 1)
    assert torch.equal(before["features.0.weight"], after["features.0.weight"]) == (mode == "frozen")
    assert result.parameters["frozen"] == (735_424 if mode == "frozen" else 0)


def test_file_of_a_network_for_other_classes_can_be_trained_on(tmp_path: Path) -> None:
    trained = train(small(3), resnet(), replace(ONE_EPOCH, mode="scratch"))
    path = tmp_path / "three.pth"
    torch.save(trained.module.state_dict(), path)
    backbone = resolve("resnet18", weights=str(path), size=32)
    for mode in ("frozen", "finetune"):
        result = train(small(2), backbone, replace(ONE_EPOCH, mode=mode))
        assert tuple(result.module.state_dict()["fc.weight"].shape) == (2, 512)


def test_auxiliary_heads_help_a_training_from_scratch_and_are_not_kept(optimizers: list[torch.optim.SGD]) -> None:
    backbone = resolve("googlenet", weights="random:0", size=64)
    result = train(parts(drawn(5), 4, 0), backbone, replace(ONE_EPOCH, mode="scratch"))
    held = sum(p.numel() for group in optimizers[0].param_groups for p in group["params"])
    kept = sum(p.numel() for p in result.module.parameters())
    assert kept == 5_601_954
    assert result.parameters == {"total": held, "trainable": held, "frozen": 0}
    assert held > kept
    assert math.isfinite(result.scores["test"].loss)
    assert not any(name.startswith("aux") for name in result.module.state_dict())


@pytest.mark.parametrize("head", ["mlp:16", "flat-linear", "flat-mlp:16:dropout=0.5"])
def test_every_head_gives_the_same_on_cached_features(monkeypatch: pytest.MonkeyPatch, head: str) -> None:
    config = TrainConfig(mode="frozen", epochs=2, batch_size=16, lr=0.01, head=head)
    cached = train(digits(60, 20, 20), lenet(), config)
    monkeypatch.setattr(loop, "Augment", lambda *args: None)
    plain = train(digits(60, 20, 20), lenet(), replace(config, augment="flip"))
    assert (cached.cached, plain.cached) == (True, False)
    for one, other in zip(steady(cached), steady(plain), strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_early_stopping_waits_so_many_epochs() -> None:
    config = TrainConfig(mode="scratch", epochs=30, batch_size=16, lr=0.02, augment="none", patience=2)
    result = train(wrong_validation(), lenet(), config)
    assert len(result.history) == result.best_epoch + 2 < 30


# ---- chance ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mode", "augment"), [("scratch", "crop-flip"), ("frozen", "none"), ("finetune", "flip")])
def test_same_seed_same_training_other_seed_another(mode: str, augment: str) -> None:
    config = TrainConfig(mode=mode, epochs=2, batch_size=16, augment=augment, seed=5)
    first = train(digits(40, 10, 10), lenet(), config)
    torch.manual_seed(99)  # the caller's own random numbers play no part
    again = train(digits(40, 10, 10), lenet(), config)
    assert steady(again) == steady(first)
    for name, value in first.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name])
    assert steady(train(digits(40, 10, 10), lenet(), replace(config, seed=6))) != steady(first)


def test_callers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # noqa: NPY002 - the caller's
    expected = torch.rand(3)
    torch.manual_seed(7)
    before = np.random.get_state()[1].tolist()  # type: ignore[index] # noqa: NPY002
    train(digits(20, 10, 10), lenet(), TrainConfig(mode="scratch", epochs=1))
    assert torch.equal(torch.rand(3), expected)
    assert np.random.get_state()[1].tolist() == before  # type: ignore[index] # noqa: NPY002


# ---- validation and test --------------------------------------------------------------------------------------------


def wrong_validation() -> Partition:
    """Validation rows whose labels are wrong: the better the network, the lower its validation accuracy."""
    source = some_digits(400, classes=(0, 1, 2))
    source.labels[300:350] = (source.labels[300:350] + 1) % 3
    return parts(source, 300, 50)


@pytest.mark.parametrize("mode", ["scratch", "frozen"])
def test_best_epochs_weights_are_returned(mode: str) -> None:
    partition, backbone = wrong_validation(), lenet()
    result = train(partition, backbone, TrainConfig(mode=mode, epochs=5, batch_size=16, lr=0.02, augment="none"))
    accuracies = [line["val_accuracy"] for line in result.history]
    assert accuracies[result.best_epoch - 1] == max(accuracies)
    assert accuracies[-1] < max(accuracies)  # it is not simply the last epoch
    assert result.scores["val"].accuracy == max(accuracies)
    logits = logits_of(result.module, backbone, partition.train.source)[300:350]
    assert score(logits, partition.val.labels, 3).accuracy == pytest.approx(max(accuracies))


def test_without_validation_rows_the_last_epoch_is_kept() -> None:
    result = train(digits(40, 0, 20), lenet(), TrainConfig(mode="scratch", epochs=3))
    assert result.best_epoch == 3
    assert set(result.scores) == {"train", "test"}
    assert not any("val_loss" in line for line in result.history)


def test_test_rows_are_scored_once_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrainConfig(mode="scratch", epochs=3, augment="none")
    source = some_digits(80)
    expected = train(parts(source, 40, 20), lenet(), config)
    source.labels[60:] = (source.labels[60:] + 3) % 10
    scored: list[str] = []
    monkeypatch.setattr(loop.Loop, "logits", counted(loop.Loop.logits, scored, lambda _, part: part))
    result = train(parts(source, 40, 20), lenet(), config)
    assert sorted(scored) == ["test", "train", "val", "val", "val", "val"]
    assert steady(result) == steady(expected)
    assert result.scores["test"].accuracy != expected.scores["test"].accuracy


@pytest.mark.parametrize("mode", MODES)
def test_only_training_rows_are_learnt_from(mode: str) -> None:
    """Neither validation nor test images move a weight, were they inverted and the best epoch the same."""
    source = some_digits(80)
    config = TrainConfig(mode=mode, epochs=1, augment="none")
    expected = train(parts(source, 40, 20), lenet(), config)
    images = source.images.copy()
    images[40:] = 255 - images[40:]
    other = ArraySource(images, source.labels, classes=source.classes)
    result = train(parts(other, 40, 20), lenet(), config)
    assert result.scores["test"].loss != expected.scores["test"].loss
    for name, value in expected.module.state_dict().items():
        assert torch.equal(value, result.module.state_dict()[name])


def test_parts_may_come_from_several_sources() -> None:
    one, two = some_digits(60), some_digits(40, seed=1)
    one.split, two.split = "train", "test"
    rows = np.arange(60)
    partition = Partition(Part(one, rows[:50]), Part(one, rows[50:]), Part(two, np.arange(40)), 0)
    for mode in MODES:
        result = train(partition, lenet(), TrainConfig(mode=mode, epochs=1, augment="none"))
        expected = score(logits_of(result.module, lenet(), two), two.labels, 10)
        assert result.scores["test"].loss == pytest.approx(expected.loss, rel=1e-4)


# ---- the loop's arithmetic ------------------------------------------------------------------------------------------


def test_learning_rate_falls_as_a_cosine() -> None:
    epochs = 6
    result = train(digits(40, 10, 10), lenet(), TrainConfig(mode="scratch", epochs=epochs, lr=0.08, batch_size=16))
    rates = [line["lr"] for line in result.history]
    expected = [0.08 * (1 + math.cos(math.pi * epoch / epochs)) / 2 for epoch in range(epochs)]
    assert rates == pytest.approx(expected)
    assert rates == sorted(rates, reverse=True)


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_has_its_own_rate_and_augmentation(mode: str) -> None:
    result = train(digits(20, 10, 10), lenet(), TrainConfig(mode=mode, epochs=1))
    assert result.history[0]["lr"] == TrainConfig.LR["sgd"][mode]
    assert result.cached == (mode == "frozen")
    assert TrainConfig(mode=mode).augmentation == TrainConfig.AUGMENT[mode]


@pytest.mark.parametrize(("rows", "batch_size", "seen"), [(9, 4, 8), (8, 4, 8), (10, 4, 10), (5, 100, 5), (3, 1, 3)])
def test_left_over_image_waits_for_the_next_epoch(rows: int, batch_size: int, seen: int) -> None:
    told: list[tuple[str, int, int]] = []
    config = TrainConfig(mode="scratch", epochs=2, batch_size=batch_size, augment="none")
    train(parts(drawn(20), rows, 5), lenet(3), config, progress=lambda *line: told.append(line))
    for epoch in (1, 2):
        done = [(done, total) for stage, done, total in told if stage.startswith(f"training: epoch {epoch}/2")]
        assert done[-1] == (seen * epoch, 2 * seen)


def test_batch_norm_survives_a_remainder_of_one() -> None:
    result = train(parts(drawn(14), 9, 3), resnet(), replace(ONE_EPOCH, mode="scratch"))
    assert math.isfinite(result.history[0]["train_loss"])


def test_every_epoch_has_every_row_once_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[list[int]] = []
    whole = loop.Loop.epoch_batches

    def noted(self: Any, epoch: int) -> Any:
        batches = whole(self, epoch)
        orders.append(np.concatenate(batches).tolist())
        return batches

    monkeypatch.setattr(loop.Loop, "epoch_batches", noted)
    train(digits(24, 10, 10), lenet(), TrainConfig(mode="scratch", epochs=2, batch_size=7))
    first, second = orders[-2:]
    assert sorted(first) == sorted(second) == list(range(24))
    assert first != second


def test_history_and_seconds_are_told_as_they_come() -> None:
    lines: list[dict[str, float]] = []
    result = train(digits(24, 10, 10), lenet(), TrainConfig(mode="scratch", epochs=2), on_epoch=lines.append)
    assert lines == result.history
    assert [line["epoch"] for line in lines] == [1, 2]
    assert set(lines[0]) == {*STEADY, "seconds", "images_per_second"}
    assert set(result.seconds) == {"build", "read", "train", "validate", "test", "total"}
    assert sum(v for k, v in result.seconds.items() if k != "total") <= result.seconds["total"]
    assert result.images_per_second > 0
    assert result.device == "cpu" or torch.cuda.is_available()


# ---- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_loss_that_is_no_number_stops_the_training(mode: str) -> None:
    config = TrainConfig(mode=mode, epochs=30, batch_size=8, lr=1e6, augment="none")
    with pytest.raises(FeatureError, match="epoch") as caught:
        train(digits(), lenet(), config)
    assert "lr=" in caught.value.hint


@pytest.mark.parametrize("val", [6, 0])
def test_divergence_in_the_last_step_is_told_by_its_epoch(val: int) -> None:
    config = TrainConfig(mode="scratch", epochs=1, batch_size=64, lr=1e38, augment="none")
    with pytest.raises(FeatureError, match="after epoch 1 the network gives no numbers for image") as caught:
        train(digits(24, val, 6), lenet(), config)
    assert "lr=" in caught.value.hint


def test_wrong_requests_are_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.training.batches.load_batches", explode)
    with pytest.raises(OptionError, match="no classifier"):
        train(small(), resolve("pixels"), ONE_EPOCH)
    with pytest.raises(OptionError, match="head"):
        train(small(), resnet(), replace(ONE_EPOCH, head="nonlinear"))
    with pytest.raises(SourceError, match="one class"):
        train(parts(drawn(6, 1), 4, 1), resnet(), ONE_EPOCH)
    with pytest.raises(OptionError, match="px"):
        train(small(), resolve("alexnet", weights="random:0", size=16), ONE_EPOCH)
    if not torch.cuda.is_available():
        with pytest.raises(OptionError, match="CUDA"):
            train(small(), resnet(), replace(ONE_EPOCH, device="cuda"))


def test_a_label_outside_the_classes_is_refused_by_its_image() -> None:
    for label in (2, -1):
        cut = small()
        cut.train.source.labels[9] = label
        with pytest.raises(SourceError, match=f"image {cut.train.source.ids[9]} has label {label}, expected 0 to 1"):
            train(cut, lenet(3), ONE_EPOCH)


def test_divergence_names_the_step_and_its_images() -> None:
    config = TrainConfig(mode="scratch", epochs=30, batch_size=8, lr=1e6, augment="none")
    with pytest.raises(FeatureError, match=r"in epoch \d+, step \d+ \(images .+ and 5 more\)") as caught:
        train(digits(), lenet(), config)
    assert "1e+06" in caught.value.hint


def test_batches_of_one_image_that_batch_norm_cannot_take_are_refused_in_words() -> None:
    with pytest.raises(OptionError, match="batch norm") as caught:
        train(small(), resnet(), replace(ONE_EPOCH, mode="scratch", batch_size=1))
    assert "batch_size=" in caught.value.hint
    train(small(), resnet(), replace(ONE_EPOCH, mode="frozen", batch_size=1))  # statistics are not touched


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "freeze"},
        {"epochs": 0},
        {"batch_size": 0},
        {"lr": 0.0},
        {"lr": float("nan")},
        {"augment": "rotate"},
        {"precision": "fp8"},
    ],
)
def test_impossible_configurations_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=f"^{next(iter(wrong))} is "):
        TrainConfig(**wrong)
