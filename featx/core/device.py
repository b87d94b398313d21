"""Where and in which precision is computed: a device that is there, its arithmetic, and what full memory means."""

from __future__ import annotations

import functools
import platform
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from featx.core.device_names import ANY_DEVICE, HINT, KNOWN, check_device_name
from featx.core.rng import LOCK
from featx.errors import FeatxWarning, OptionError, OutOfMemoryError

_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


def pick_device(name: str) -> torch.device:
    """Return the device: ``auto`` takes CUDA where it is; a device that is not there is an error.

    Raises
    ------
    OptionError
        For a device that is unknown or absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch_device(name, ANY_DEVICE)


def torch_device(name: Any, known: str = KNOWN) -> torch.device:
    """Return the device of this name, or raise OptionError where it is none of `known`, or absent."""
    check_device_name(name, known)
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise OptionError(
            f"device is {name!r}, expected an available one: torch finds {torch.cuda.device_count()} CUDA device(s)",
            HINT,
        )
    return device


def has_onednn(operator: str) -> bool:
    """Tell whether this PyTorch has one of oneDNN's operators for the CPU, which are not its public interface."""
    available: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return available and hasattr(torch.ops.mkldnn, operator)


class SlowPrecisionWarning(FeatxWarning):
    """The processor computes in the precision that was asked for by other means than its own instructions."""


def has_bfloat16() -> bool:
    """Tell whether this CPU has instructions for bfloat16, as oneDNN sees it; yes where this PyTorch does not tell."""
    tells = "_is_mkldnn_bf16_supported"
    return not has_onednn(tells) or bool(getattr(torch.ops.mkldnn, tells)())


@functools.cache
def _warn_of_bfloat16() -> None:
    """Warn, once per process, if bf16 is slow here."""
    if not has_bfloat16():
        warnings.warn(
            "this CPU has no bfloat16 instructions: bf16 will be many times slower than --precision fp32",
            SlowPrecisionWarning,
            stacklevel=4,
        )


@contextmanager
def arithmetic(device: torch.device, precision: str, *, alone: bool = True) -> Iterator[None]:
    """Run in one precision: fp32 means fp32 (no TF32, no bf16), bf16 and fp16 mean autocast.

    Threads take turns, also with those that draw random numbers, unless they say that they need not be `alone`.

    Warns
    -----
    SlowPrecisionWarning
        Once per process, for bf16 on a CPU that has no instructions for it.
    """
    if device.type == "cpu" and precision == "bf16":
        _warn_of_bfloat16()
    with LOCK if alone else nullcontext(), _IEEE, _autocast(device, precision):
        yield


def _autocast(device: torch.device, precision: str) -> torch.autocast:
    return torch.autocast(device.type, dtype=_AUTOCAST.get(precision), enabled=precision in _AUTOCAST)


class _Ieee:
    """Has fp32 mean fp32 in the whole process from the first thread that comes to the last one that leaves."""

    def __init__(self) -> None:
        self._lock, self._inside, self._before = threading.Lock(), 0, list[Any]()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = [switch.fp32_precision for switch in self._switches()]
                for switch in self._switches():
                    switch.fp32_precision = "ieee"
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                for switch, before in zip(self._switches(), self._before, strict=True):
                    switch.fp32_precision = before

    @staticmethod
    def _switches() -> tuple[Any, ...]:
        backends: Any = torch.backends  # its stubs lack the precisions
        # The CPU's too: `set_float32_matmul_precision("medium")` means bf16.
        return backends.cuda.matmul, backends.cudnn.conv, backends.mkldnn.matmul, backends.mkldnn.conv


_IEEE = _Ieee()


@contextmanager
def memory_errors(what: str) -> Iterator[None]:
    """Turn a failed allocation, the device's or the machine's, into an OutOfMemoryError."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError) as exc:
        raise _no_memory(what) from exc
    except RuntimeError as exc:
        if "can't allocate memory" not in str(exc):
            raise
        raise _no_memory(what) from exc


def _no_memory(what: str) -> OutOfMemoryError:
    return OutOfMemoryError(f"out of memory during {what}", "use a smaller --batch-size or --size")


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
