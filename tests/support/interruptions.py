"""Trainings that Ctrl-C cut short."""

from __future__ import annotations

import os
import signal

import pytest
from command import featx

from featx.core.run_folder import Runs
from featx.training.step import Step


def interrupted_training(*args: object) -> str:
    """Call ``featx ARGUMENTS``, a training, interrupt it after its second step, and return the run's id."""
    update, steps = Step.update, [0]

    def cut(self: Step) -> None:
        update(self)
        steps[0] += 1
        if steps[0] == 2:
            os.kill(os.getpid(), signal.SIGINT)

    before = {run.id for run in Runs().all()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Step, "update", cut)
        result = featx(*args)
    assert result.exit_code == 130, result.output
    (run,) = {run.id for run in Runs().all()} - before
    return run
