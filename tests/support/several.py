"""Several processes of a training, without a launcher: forked from one that has loaded torch, they meet over a file."""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

PRELOADED = ["several", "shared_batches", "torchvision", "sklearn.datasets", "featx.training.end_to_end"]


def several(function: Callable[..., Any], size: int, folder: Path, *args: Any) -> list[Any]:
    """Call ``function(*args)`` in processes of one group, and return what each gives, in their order."""
    context = prepared()
    meeting = folder / f"meeting-{len(list(folder.glob('meeting-*')))}"
    answers = context.SimpleQueue()
    processes = [context.Process(target=_call, args=(answers, meeting, r, size, function, args)) for r in range(size)]
    for process in processes:
        process.start()
    found = dict(answers.get() for _ in processes)
    for process in processes:
        process.join()
    wrong = [said for failed, said in found.values() if failed]
    assert not wrong, "\n".join(wrong)
    return [found[rank][1] for rank in range(size)]


def prepared() -> Any:
    """Return a context whose processes begin with all that takes seconds to load."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    # Without the path it finds nothing that lies beside tests, and does without a word.
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))):
        multiprocessing.forkserver.ensure_running()
    return context


def _call(answers: Any, meeting: Path, rank: int, size: int, function: Callable[..., Any], args: Any) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    try:
        dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=size)
        answers.put((rank, (False, function(*args))))
        dist.destroy_process_group()
    except BaseException:
        answers.put((rank, (True, f"process {rank}: {traceback.format_exc()}")))
