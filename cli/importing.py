"""Heavy imports of a command: what they bring stays until the end, and is kept from the garbage collector."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import torch and what stands on it without collecting garbage meanwhile, nor looking through it later.

    A sixth of the time that the imports take is spent in looking for garbage among half a million objects that are
    none. Where torch is loaded already, nothing changes: what a caller left behind must not be kept for good.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
