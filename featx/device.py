"""Where a fit's arrays are: from numpy to torch, on a device that is there."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from featx.errors import OptionError, OutOfMemoryError
from featx.streams import Stream


def torch_device(name: Any) -> torch.device:
    """Return the device of this name, or raise OptionError where it is unknown or absent."""
    kind, _, number = name.partition(":") if isinstance(name, str) else ("", "", "")
    if kind not in ("cpu", "cuda") or (":" in str(name) and not (kind == "cuda" and number.isdecimal())):
        raise OptionError(f"device is {name!r}, expected 'cpu', 'cuda' or 'cuda:N'")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"device is {name!r}, expected one that is here: torch finds {torch.cuda.device_count()} CUDA device(s)",
            "give device='cpu'",
        )
    return torch.device(name)


def processor_name(device: torch.device) -> str:
    """Return what a device calls itself, such as ``NVIDIA A100-SXM4-40GB``; empty where it does not tell."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    with suppress(OSError):  # Linux; `platform` knows the architecture only there
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor()


def to_device(X: NDArray[Any] | Stream, device: torch.device) -> torch.Tensor | Stream:
    """Hand X to torch, without a copy on the CPU."""
    if isinstance(X, Stream):
        return X.on(device)
    if any(stride < 0 for stride in X.strides):
        X = np.ascontiguousarray(X)  # torch knows no negative strides
    with warnings.catch_warnings():
        # A read-only array is safe here: X is never written to.
        warnings.filterwarnings("ignore", message=".*not writable.*")
        return torch.from_numpy(X).to(device)


@contextmanager
def fitting_on(device: torch.device, X: NDArray[Any] | Stream) -> Iterator[None]:
    """Turn torch's error about a full memory into featx's."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"features of {X.nbytes / 2**20:,.0f} MiB and their fit do not fit on {device}", "give device='cpu'"
        ) from error
