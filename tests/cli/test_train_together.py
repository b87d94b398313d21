"""``featx train`` by several processes, from torch's own launcher: one speaks, and any number resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from featx.cli import processes
from featx.core.run_folder import MODEL_FILE, Runs
from featx.training.checkpoints import CHECKPOINT_FILE

pytestmark = pytest.mark.usefixtures("one_thread")

TRAIN = ("train", "digits", "-b", "lenet5", "--mode", "scratch", "--limit", "150", "--device", "cpu", "--epochs", "3")
SAVED = ("--checkpoint-minutes", "0", "--batch-size", "20")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "featx")


def begin(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen([*TORCHRUN, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def children(process: subprocess.Popen[str]) -> list[int]:
    """Return a launcher's processes, by their rank."""
    found = {}
    for pid in map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()):
        lines = Path(f"/proc/{pid}/environ").read_text().split("\0")
        ranks = [line.removeprefix("RANK=") for line in lines if line.startswith("RANK=")]
        found.update(dict.fromkeys(ranks, pid))
    return [found[rank] for rank in sorted(found)]


def told(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith(("error:", "terminated:", "interrupted:"))]


def alike(run: dict[str, Any], other: dict[str, Any]) -> None:
    for part, loss in other["loss"].items():
        assert run["loss"][part] == pytest.approx(loss, rel=1e-4)
    weights, expected = (load_file(Path(one["path"]) / MODEL_FILE) for one in (run, other))
    for name, tensor in expected.items():
        np.testing.assert_allclose(weights[name], tensor, rtol=0, atol=1e-5, err_msg=name)


def test_a_killed_training_is_resumed_by_one_process(featx_json: Any, home: Path) -> None:
    process = begin(*TRAIN, *SAVED)
    while process.poll() is None and not list(home.glob("runs/*/last-1-[1-9]*")):
        time.sleep(0.002)
    os.kill(children(process)[1], signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 1
    (line,) = told(stderr)
    assert "another process of this training ended" in line
    assert stdout == ""
    assert list(home.glob(f"runs/*/{CHECKPOINT_FILE}"))
    code, resumed = featx_json(*TRAIN, *SAVED, "--resume=strict")
    assert code == 0
    code, one = featx_json(*TRAIN, *SAVED)
    assert code == 0
    alike(resumed, one)


def test_processes_resume_what_one_began_and_one_of_them_speaks(
    featx: Any, featx_json: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("featx.training.step.Step.update", _interrupt_at(9))
        assert featx(*TRAIN, *SAVED).exit_code == 143
    process = begin(*TRAIN, *SAVED, "--resume=strict", "--json")
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    resumed = json.loads(stdout)
    assert stderr.count(f"resuming run {resumed['run']}") == 1
    (run,) = Runs(home).list()
    assert (run.id, run.read()["processes"]) == (resumed["run"], 2)
    alike(resumed, featx_json(*TRAIN, *SAVED)[1])


def _interrupt_at(number: int) -> Any:
    from featx.training.step import Step

    update, steps = Step.update, [0]

    def interrupted(self: Step) -> None:
        update(self)
        steps[0] += 1
        if steps[0] == number:
            os.kill(os.getpid(), signal.SIGTERM)

    return interrupted


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let this process be one of several."""

    def of(rank: int, **variables: str) -> None:
        monkeypatch.setattr(processes, "SECONDS", 0.0)
        for name, value in {"RANK": str(rank), "WORLD_SIZE": "2", **variables}.items():
            monkeypatch.setenv(name, value)

    return of


@pytest.mark.parametrize("args", [("fit", "digits"), ("extract", "digits", "--json"), ("cache", "ls")])
def test_other_commands_are_refused_once(featx: Any, launch: Any, home: Path, args: tuple[str, ...]) -> None:
    launch(0)
    first = featx(*args)
    assert first.exit_code == 2
    assert f"featx {args[0]} was launched 2 times" in first.output
    launch(1)
    other = featx(*args)
    assert (other.exit_code, other.output) == (2, "")
    assert not home.exists()


@pytest.mark.parametrize("wrong", [("--mode", "thawed"), ("--no-such-option",)])
def test_wrong_options_are_told_once(featx: Any, launch: Any, wrong: tuple[str, ...]) -> None:
    launch(0)
    first = featx(*TRAIN, *wrong)
    assert first.exit_code == 2
    assert first.stderr.startswith("error:")
    launch(1)
    other = featx(*TRAIN, *wrong)
    assert (other.exit_code, other.output) == (2, "")


def test_processes_without_a_meeting_place_are_refused(
    featx: Any, launch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    launch(0, MASTER_PORT="1")
    result = featx(*TRAIN)
    assert result.exit_code == 2
    assert "MASTER_ADDR is not set" in result.stderr
    launch(1)
    other = featx(*TRAIN)
    assert (other.exit_code, other.output) == (2, "")


def test_batch_norm_that_has_no_slices_is_remarked(featx: Any) -> None:
    result = featx(*TRAIN, "--epochs", "1", "--no-sync-batch-norm")
    assert result.exit_code == 0
    assert "--no-sync-batch-norm changes nothing in one process" in result.stderr


def test_the_module_is_the_program(shell: Any) -> None:
    module, missing = shell("-m", "featx", "--help"), shell("-m", "featx", "fitt")
    assert module.stdout.startswith("Usage: featx ")
    assert (missing.returncode, "did you mean fit" in missing.stderr) == (2, True)
