"""Loaded by the workers of a cluster on this machine, before they begin."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Leave Ctrl-C, which the terminal sends to all of its processes, to the client: it ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
