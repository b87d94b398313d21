"""The rows of a comparison, its network where none is named, and its plan when time runs out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.cache.memo import Memo
from featx.core.specs import BackboneConfig, LayerSpec, Progress, no_progress
from featx.data.sources import load_splits
from featx.data.splits import Part, Partition, partition
from featx.errors import OptionError, SourceError
from featx.models.backbones import resolve
from featx.recipes.asked import Asked
from featx.recipes.budget import Budget
from featx.recipes.compare import (
    LEAST_STEPS,
    Row,
    check_classes,
    epochs_for,
    rows_of,
    too_few_steps,
    without_validation,
)
from featx.recipes.comparison import Comparison
from featx.recipes.engine import Engine
from featx.recipes.network_choice import Look, Network, choose, read
from featx.training.config import TrainConfig


@pytest.fixture
def digits() -> Partition:
    return partition(load_splits("digits", limit=120))


def lenet(weights: str = "random:0") -> Network:
    how = BackboneConfig(weights=weights)
    return Network("lenet5", how, resolve("lenet5", weights="random:0", channels=1))


PRETRAINED = "lenet5.safetensors"


def names(asked: Asked, network: Network, parts: Partition) -> list[str]:
    return [row.kind for row in rows_of(asked, network, read(network.backbone), parts).rows]


def test_every_way_to_learn(digits: Partition) -> None:
    kinds = names(Asked("digits"), lenet(PRETRAINED), digits)
    assert [*dict.fromkeys(kinds)] == ["pixels", "softmax", "frozen", "last-block", "finetune", "scratch"]
    assert kinds.count("softmax") >= 2


def test_rows_share_images_and_seeds_and_have_names_of_their_own(digits: Partition) -> None:
    rows = rows_of(Asked("digits", seeds=(4, 5)), lenet(PRETRAINED), read(lenet().backbone), digits).rows
    assert {row.experiment.seeds for row in rows} == {(4, 5)}
    assert len({row.experiment.rows for row in rows}) == 1
    assert len({row.experiment.name for row in rows}) == len(rows)


def test_without_pretrained_weights_nothing_is_fine_tuned(digits: Partition) -> None:
    found = rows_of(Asked("digits"), lenet(), read(lenet().backbone), digits)
    assert not {"finetune", "last-block"} & {row.kind for row in found.rows}
    assert len(found.left_out) == 1
    assert "no weights are pretrained" in found.left_out[0]
    assert any("random" in row.experiment.name for row in found.rows if row.kind == "softmax")


def test_only_keeps_what_would_be_left_out(digits: Partition) -> None:
    assert names(Asked("digits", only=("finetune",)), lenet(), digits) == ["finetune"]


def test_layers_that_are_asked_for_replace_the_others(digits: Partition) -> None:
    asked = Asked("digits", layers=(LayerSpec("pool1", "avg"),), only=("softmax",))
    assert [row.layer for row in rows_of(asked, lenet(), Look((), "", 0), digits).rows] == ["pool1:avg"]


def test_a_mistyped_row_is_told_the_nearest() -> None:
    with pytest.raises(OptionError, match="finetune"):
        Asked("digits", only=("fintune",))
    with pytest.raises(OptionError, match="leave no row"):
        Asked("digits", only=("pixels",), without=("pixels",))


def test_scratch_is_left_out_where_a_class_is_small(digits: Partition) -> None:
    few = np.concatenate([np.flatnonzero(digits.train.labels == label)[:3] for label in range(10)])
    small = replace(digits, train=Part(digits.train.source, np.sort(digits.train.rows[few])))
    found = rows_of(Asked("digits"), lenet(PRETRAINED), read(lenet().backbone), small)
    assert "scratch" not in {row.kind for row in found.rows}
    assert any("has 3 training images" in line for line in found.left_out)


def test_without_validation_rows_c_is_not_swept(digits: Partition) -> None:
    blind = replace(digits, val=Part(digits.val.source, digits.val.rows[:0]))
    found = rows_of(Asked("digits", only=("pixels",)), lenet(), read(lenet().backbone), blind)
    assert getattr(found.rows[0].experiment.how, "sweep", "") is None
    assert without_validation(blind)
    assert not without_validation(digits)


def test_the_head_on_a_frozen_base_sees_changed_images(digits: Partition) -> None:
    found = rows_of(Asked("digits", only=("frozen",)), lenet(), read(lenet().backbone), digits)
    how = found.rows[0].experiment.how
    assert isinstance(how, TrainConfig)
    assert how.augment == "crop"  # digits have a direction


@pytest.mark.parametrize("mode", ["frozen", "finetune", "scratch"])
def test_fewer_images_have_more_epochs(mode: str) -> None:
    found = [epochs_for(mode, images, 64) for images in (20, 200, 2_000, 200_000)]
    assert found == sorted(found, reverse=True)
    assert found[-1] >= TrainConfig.epochs


@pytest.mark.parametrize("mode", ["frozen", "finetune", "scratch"])
def test_few_images_still_give_enough_steps(mode: str) -> None:
    for images in (70, 100, 300, 1_000):
        assert epochs_for(mode, images, 64) * -(-images // 64) >= 2 * LEAST_STEPS


def test_epochs_that_leave_trainings_no_chance_are_said(digits: Partition) -> None:
    said = too_few_steps(Asked("digits", epochs=2), digits)
    assert "2 epochs of" in said
    enough = int(said.split()[-3])
    assert not too_few_steps(Asked("digits", epochs=enough), digits)
    assert too_few_steps(Asked("digits", epochs=enough - 1), digits)
    assert not too_few_steps(Asked("digits", epochs=2, only=("softmax",)), digits)
    assert not too_few_steps(Asked("digits"), digits)


def test_layers_and_last_block_of_a_resnet() -> None:
    look = read(resolve("resnet18", weights="random:0", size=64))
    assert [str(layer) for layer in look.layers] == ["layer2:avg", "layer3:avg", "avgpool"]
    assert look.last_block == "layer4"


def test_a_layer_that_is_not_there_is_told_before_anything_is_tried() -> None:
    with pytest.raises(OptionError, match="layer4"):
        read(resolve("resnet18", weights="random:0", size=64), [LayerSpec("layer44", "avg")])


def test_one_class_is_refused_before_anything_is_tried(digits: Partition) -> None:
    check_classes(digits)
    alone = digits.train.rows[digits.train.labels == 3]
    with pytest.raises(SourceError, match="one class"):
        check_classes(replace(digits, train=Part(digits.train.source, alone)))


def test_small_images_are_not_enlarged_to_the_networks_own_size(pets: Path, tmp_path: Path) -> None:
    (source,) = load_splits(str(pets)).values()
    found = choose("resnet18", BackboneConfig(weights="random:0"), source, Memo(tmp_path))
    assert found.backbone.preprocess.crop == 64
    assert "--size" in found.notes[-1]
    given = choose("resnet18", BackboneConfig(weights="random:0", size=32), source, Memo(tmp_path))
    assert given.backbone.preprocess.crop == 32
    assert not given.notes


class Told:
    """What a comparison says."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.ended: list[str] = []

    def says(self, line: str) -> None:
        self.lines.append(line)

    def begins(self, row: Row, seed: int) -> Progress:
        return no_progress

    def ends(self, row: Row, records: Sequence[Mapping[str, Any]]) -> None:
        self.ended.append(f"{row.kind} {records[-1]['seed']}")


def comparison(home: Path, seconds: float, *, seeds: tuple[int, ...] = (0, 1)) -> tuple[Comparison, Told]:
    return watched(home, seconds, Told(), seeds=seeds)


def watched(home: Path, seconds: float, told: Told, *, seeds: tuple[int, ...]) -> tuple[Comparison, Told]:
    engine = Engine(home, ["featx", "compare"], told.says)
    asked = Asked("digits", only=("pixels", "scratch"), seeds=seeds, epochs=2, rows=Asked("digits").rows)
    asked = replace(asked, rows=replace(asked.rows, limit=120))
    parts = engine.opened.rows("digits", asked.rows, 0, "raise")
    rows = rows_of(asked, lenet(), read(lenet().backbone), parts)
    return Comparison(engine, rows.by_priority, seconds, told), told


@pytest.mark.usefixtures("one_thread")
def test_the_first_seed_of_all_rows_is_run_first_and_a_second_start_runs_nothing(tmp_path: Path) -> None:
    first, told = comparison(tmp_path, 600)
    assert not first.plan()
    assert first.budget.seeds == (0, 1)
    first.run()
    assert told.ended == ["pixels 0", "scratch 0", "pixels 1", "scratch 1"]
    assert [line for line in told.lines if line.startswith("trying")]
    again, told = comparison(tmp_path, 600)
    assert again.plan()
    assert again.is_over
    assert told.lines == []
    assert again.records == first.records


@pytest.mark.usefixtures("one_thread")
def test_what_turns_out_slower_is_planned_anew(tmp_path: Path) -> None:
    found, told = comparison(tmp_path, 600)
    found.plan()
    found.seconds = found.spent + 0.01
    found.run()
    assert told.ended
    assert len(told.ended) < 4
    assert any("left out" in line or "instead of 2 seeds" in line for line in told.lines)


@pytest.mark.usefixtures("one_thread")
def test_what_turns_out_quicker_lets_more_be_run(tmp_path: Path) -> None:
    found, told = comparison(tmp_path, 600)
    found.plan()
    found.prices = {name: price.slower(1000) for name, price in found.prices.items()}
    scratch = found.rows[1].experiment.name
    found.prices[scratch] = replace(found.prices[scratch], each=200.0, epoch=0.0)
    found.budget = Budget((0,), {found.rows[0].experiment.name: 0}, {scratch: 200.0})
    found.run()
    assert told.ended[:2] == ["pixels 0", "scratch 0"]
    assert any("after all" in line for line in told.lines)


class Interrupts(Told):
    """Ends a training in its second epoch."""

    def begins(self, row: Row, seed: int) -> Progress:
        def progress(stage: str, done: int, total: int) -> None:
            if stage.startswith("training: epoch 2/"):
                raise KeyboardInterrupt

        return progress


@pytest.mark.usefixtures("one_thread")
def test_what_a_training_has_done_already_is_not_planned_again(tmp_path: Path) -> None:
    first, _ = watched(tmp_path, 600, Interrupts(), seeds=(0,))
    first.rows = [_saved_each_step(first.rows[1])]
    first.plan()
    with pytest.raises(KeyboardInterrupt):
        first.run()
    spent = first.spent
    again, told = watched(tmp_path, 600, Told(), seeds=(0,))
    again.rows = [_saved_each_step(again.rows[1])]
    assert again.plan()
    price = again.prices[again.rows[0].experiment.name]
    assert price.is_settled
    assert price.ahead == pytest.approx(price.epoch)
    assert again.spent > 0.9 * spent
    again.run()
    assert told.ended == ["scratch 0"]


def _saved_each_step(row: Row) -> Row:
    how = row.experiment.how
    assert isinstance(how, TrainConfig)
    return replace(row, experiment=replace(row.experiment, how=replace(how, checkpoint_minutes=0)))
