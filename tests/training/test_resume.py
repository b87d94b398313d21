"""A training that was cut off anywhere ends as the one that was not: weights and history, bit for bit."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from drawn import drawn, parts, some_digits

from featx.core.run_folder import MODEL_FILE, RECORD_FILE, Runs
from featx.core.run_locks import held
from featx.core.specs import Progress, no_progress
from featx.data.splits import Partition
from featx.errors import FeatureError, OptionError
from featx.models.backbones import Backbone, resolve
from featx.models.content import digests_of
from featx.training.checkpoints import CHECKPOINT_FILE
from featx.training.config import TrainConfig
from featx.training.resume import GO_ON, STRICT, Job, identity_of, training_run
from featx.training.train import TrainResult, train

pytestmark = pytest.mark.usefixtures("one_thread")

STEADY = ("epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy")
SHORT = TrainConfig(mode="scratch", epochs=3, batch_size=8, augment="crop-flip", checkpoint_minutes=0)


class CutOffError(Exception):
    """Stands for whatever ends a process."""


def lenet(seed: int = 0) -> Backbone:
    return resolve("lenet5", weights=f"random:{seed}", channels=1)


def digits() -> Partition:
    return parts(some_digits(60), 40, 10)


def cut_at(step: int) -> Progress:
    """Raise after so many steps."""
    steps = set[int]()

    def progress(stage: str, done: int, total: int) -> None:
        if stage.startswith("training"):
            steps.add(done)  # told once more after validation
        if len(steps) == step:
            raise CutOffError

    return progress


def go(
    home: Path, cut: Partition, backbone: Backbone, config: TrainConfig, progress: Progress = no_progress, **how: Any
) -> TrainResult:
    identity = identity_of(cut, backbone, config)
    with training_run(home, ["featx"], identity, config.checkpoint_minutes, resume=GO_ON) as job:
        return train(cut, backbone, config, progress=progress, checkpoints=job.checkpoints, **how)


def steady(result: TrainResult) -> list[dict[str, float]]:
    return [{name: line[name] for name in STEADY if name in line} for line in result.history]


def same(one: TrainResult, other: TrainResult) -> None:
    assert steady(one) == steady(other)
    assert one.best_epoch == other.best_epoch
    mine, theirs = one.module.state_dict(), other.module.state_dict()
    assert set(mine) == set(theirs)
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert one.scores["test"].loss == other.scores["test"].loss
    assert one.predicted.tolist() == other.predicted.tolist()


VARIANTS = {
    "momentum": {},
    "adamw and accumulation": {"optimizer": "adamw", "accumulate": 2, "clip": 1.0, "warmup_epochs": 1},
    "frozen, cached, with dropout": {"mode": "frozen", "augment": "none", "head": "mlp:16:dropout=0.5"},
    "mixed images": {"mixup": 0.2, "cutmix": 1.0, "label_smoothing": 0.1, "augment": "trivial"},
    "plateau": {"schedule": "plateau", "class_weight": "balanced", "patience": 2},
    "bf16": {"precision": "bf16"},
    "fp16": {"precision": "fp16"},
}


@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_cut_off_in_any_way_it_ends_the_same(tmp_path: Path, options: dict[str, Any]) -> None:
    config = replace(SHORT, **options)
    whole = train(digits(), lenet(), config)
    for step in (2, 5, 4):  # within the first epoch, and, counted on from there, in later ones
        with pytest.raises(CutOffError):
            go(tmp_path, digits(), lenet(), config, cut_at(step))
    assert len(list((tmp_path / "runs").iterdir())) == 1
    resumed = go(tmp_path, digits(), lenet(), config)
    assert resumed.resumed_from >= 1
    same(resumed, whole)
    assert resumed.seconds["total"] >= resumed.seconds["train"]


@pytest.mark.parametrize(
    ("options", "moves"),
    [({"mode": "frozen"}, {"fc"}), ({"mode": "finetune", "unfreeze_from": "stage4"}, {"stage4", "conv5", "fc"})],
)
def test_batch_norms_of_a_frozen_part_stay_after_a_resume_too(
    tmp_path: Path, options: dict[str, Any], moves: set[str]
) -> None:
    """The base's statistics and weights are bit-identical; those of what trains are not."""
    cut, network = parts(drawn(16), 10, 3), resolve("shufflenet_v2_x0_5", weights="random:0", size=32)
    config = replace(SHORT, epochs=2, batch_size=5, augment="flip", **options)
    before = {n: t.clone() for n, t in network.module().state_dict().items()}
    with pytest.raises(CutOffError):
        go(tmp_path, cut, network, config, cut_at(3))
    resumed = go(tmp_path, cut, network, config)
    assert resumed.resumed_from == 1
    after = resumed.module.state_dict()
    moved = {name for name in before if name.startswith("fc.") or not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in moved} == moves
    assert any("running_mean" in name for name in moved) == ("stage4" in moves)
    same(resumed, train(cut, network, config))


def test_nothing_is_replayed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CutOffError):
        go(tmp_path, digits(), lenet(), SHORT, cut_at(12))
    steps = []
    from featx.training.step import Step

    update = Step.update
    monkeypatch.setattr(Step, "update", lambda self: (steps.append(1), update(self))[1])
    go(tmp_path, digits(), lenet(), SHORT)
    # Fifteen in all; the twelfth was made, and cut off before it was saved.
    assert len(steps) == 4


def open_run(
    home: Path,
    config: TrainConfig,
    *,
    resume: str | None = GO_ON,
    cut: Partition | None = None,
    backbone: Backbone | None = None,
    continuing: bool = False,
) -> Any:
    identity = identity_of(cut or digits(), backbone or lenet(), config)
    minutes = config.checkpoint_minutes
    return training_run(home, ["featx"], identity, minutes, resume=resume, continuing=continuing)


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    """A home with a training that was cut off."""
    with pytest.raises(CutOffError):
        go(tmp_path, digits(), lenet(), SHORT, cut_at(7))
    return tmp_path


def test_resume_with_changed_options_says_which(begun: Path) -> None:
    with (
        pytest.raises(OptionError, match=r"batch_size was 8, now 4; lr was 0\.05, now 0\.2"),
        open_run(begun, replace(SHORT, lr=0.2, batch_size=4), resume=STRICT),
    ):
        pass
    with open_run(begun, replace(SHORT, lr=0.2, batch_size=4)) as job:
        assert not job.resumed
        assert "batch_size was 8, now 4; lr was 0.05, now 0.2" in job.notes[0]


def test_resume_with_other_images_or_sizes_says_which(begun: Path) -> None:
    fewer = parts(some_digits(50), 30, 10)
    with (
        pytest.raises(OptionError, match="images train was 40, now 30; rows differs"),
        open_run(begun, SHORT, cut=fewer, resume=STRICT),
    ):
        pass
    larger = resolve("lenet5", weights="random:0", channels=1, size=33)
    with (
        pytest.raises(OptionError, match="preprocess crop was 32, now 33; resize was 32, now 33"),
        open_run(begun, SHORT, backbone=larger, resume=STRICT),
    ):
        pass


def test_resume_takes_what_is_said_for_what_would_be_taken_anyway(begun: Path) -> None:
    with open_run(begun, replace(SHORT, lr=SHORT.peak_lr, weight_decay=SHORT.decay)) as job:
        assert job.resumed


def test_how_often_it_is_saved_may_change(begun: Path) -> None:
    with open_run(begun, replace(SHORT, checkpoint_minutes=3)) as job:
        assert job.resumed


@pytest.mark.parametrize("config", [replace(SHORT, seed=5), replace(SHORT, mode="finetune")])
def test_another_training_begins_anew(begun: Path, config: TrainConfig) -> None:
    with open_run(begun, config) as job:
        assert not job.resumed
    assert len(list((begun / "runs").iterdir())) == 1  # nothing happened in it, and its folder is gone


def test_without_resume_a_new_run_begins_and_the_old_one_stays(begun: Path) -> None:
    with open_run(begun, SHORT, resume=None) as job:
        assert not job.resumed
    with open_run(begun, SHORT) as job:
        assert job.resumed


DIGESTS = digests_of(identity_of(digits(), lenet(), SHORT))


@pytest.mark.parametrize("digest", DIGESTS, ids=["of the content", "as earlier featx wrote it"])
def test_a_finished_run_is_not_run_again(begun: Path, digest: str) -> None:
    with open_run(begun, SHORT) as job:
        job.run.save_tensors({})
        job.run.write({"identity": digest, "accuracy": {}})
    assert {path.name for path in job.run.path.iterdir()} == {RECORD_FILE, MODEL_FILE}
    with open_run(begun, SHORT) as again:
        assert again.finished
        assert again.run.id == job.run.id


def test_a_finished_run_whose_network_was_removed_is_run_again(begun: Path) -> None:
    with open_run(begun, SHORT) as job:
        job.run.write({"identity": DIGESTS[0], "accuracy": {}})
    with open_run(begun, SHORT) as again:
        assert not again.finished
        assert again.run.id != job.run.id


def test_a_run_that_another_process_trains_is_left_alone(begun: Path) -> None:
    with open_run(begun, SHORT) as first, open_run(begun, SHORT) as second:
        assert first.resumed
        assert not second.resumed
        assert second.run.id != first.run.id
        assert "another process" in second.notes[0]
    with (
        open_run(begun, SHORT),
        pytest.raises(OptionError, match="another process"),
        open_run(begun, SHORT, resume=STRICT),
    ):
        pass


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"damaged")])
def test_a_run_whose_state_is_lost_begins_anew_and_strictly_is_refused(begun: Path, damage: Any) -> None:
    (folder,) = (begun / "runs").iterdir()
    for path in folder.glob("last-*.safetensors"):
        damage(path)
    with pytest.raises(OptionError, match=r"its model is gone|is damaged"), open_run(begun, SHORT, resume=STRICT):
        pass
    with open_run(begun, SHORT) as job:
        assert not job.resumed
        assert folder.name in job.notes[0]
    assert folder.is_dir()


def test_of_several_seeds_the_first_one_must_have_been_begun(begun: Path) -> None:
    other = replace(SHORT, seed=5)
    with pytest.raises(OptionError, match="no training with these options"), open_run(begun, other, resume=STRICT):
        pass
    with open_run(begun, other, resume=STRICT, continuing=True) as job:
        assert not job.resumed


def test_a_training_that_diverges_leaves_nothing_to_go_on_from(tmp_path: Path) -> None:
    with pytest.raises(FeatureError, match=r"in epoch \d+, step \d+ \(images "):
        go(tmp_path, digits(), lenet(), replace(SHORT, lr=1e6, epochs=30))
    assert list((tmp_path / "runs").iterdir()) == []


def test_interrupt_finishes_the_step_and_saves(tmp_path: Path) -> None:
    """Even where no checkpoint was due."""
    config = replace(SHORT, checkpoint_minutes=1000)
    calls = [0]

    def interrupt(stage: str, done: int, total: int) -> None:
        calls[0] += 1
        if calls[0] == 3:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        go(tmp_path, digits(), lenet(), config, interrupt)
    assert calls == [3]
    assert len(list(tmp_path.glob(f"runs/*/{CHECKPOINT_FILE}"))) == 1
    same(go(tmp_path, digits(), lenet(), config), train(digits(), lenet(), config))


# ---- kills ----------------------------------------------------------------------------------------------------------


def in_child(home: Path) -> multiprocessing.Process:
    """Begin, or go on with, the training in a forked process."""
    process = multiprocessing.get_context("fork").Process(target=go, args=(home, digits(), lenet(), SHORT))
    process.start()
    return process  # type: ignore[return-value]


def written(home: Path) -> set[int]:
    """When checkpoints were written."""
    return {path.stat().st_mtime_ns for path in home.glob(f"runs/*/{CHECKPOINT_FILE}")}


def test_killed_again_and_again_it_ends_the_same(tmp_path: Path) -> None:
    luck, killed = random.Random(0), 0
    for _ in range(6):
        before, process = written(tmp_path), in_child(tmp_path)
        # From its first step on it saves after each: it dies in a step, in a checkpoint, or between.
        while process.is_alive() and written(tmp_path) <= before:
            time.sleep(0.001)
        time.sleep(luck.uniform(0, 0.02))
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed == 6
    assert len(list((tmp_path / "runs").iterdir())) == 1
    resumed = go(tmp_path, digits(), lenet(), SHORT)
    assert resumed.resumed_from >= 1
    same(resumed, train(digits(), lenet(), SHORT))


def test_what_is_saved_is_the_state_after_the_last_step(begun: Path) -> None:
    with open_run(begun, SHORT) as job:
        assert isinstance(job, Job)
        state = job.checkpoints.load()
    assert state is not None
    assert (state.epoch, state.batch) == (1, 1)  # of five steps an epoch; the seventh was made, and not saved
    assert set(state.model) == set(lenet().module().state_dict())


def test_folders_of_trainings_that_were_killed_at_once_go_away(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    killed, young, alive, other = (runs.new(kind, []) for kind in ("train", "train", "train", "fit"))
    for run in (killed, young, alive, other):
        (run.path / "lock").touch()
    for run in (killed, alive, other):
        os.utime(run.path / "lock", (0, 0))
    with held(alive) as mine, open_run(tmp_path, SHORT) as job:
        assert mine
        left = {path.name for path in (tmp_path / "runs").iterdir()}
    assert left == {young.id, alive.id, other.id, job.run.id}
