"""Files that nothing may open, and whether somebody did."""

from __future__ import annotations

import os
import select
import struct
from ctypes import CDLL
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

_IN_OPEN, _IN_ACCESS, _IN_MODIFY = 0x20, 0x1, 0x2


@dataclass
class Outside:
    """Files beside a store that nothing may open: the kernel is asked whether somebody did.

    Parameters
    ----------
    folder : Path
        Holds ``X.h5``, ``raw.bin`` and ``folder/``.
    """

    folder: Path
    _watch: int = -1

    @classmethod
    def at(cls, folder: Path) -> Outside:
        """Make the files."""
        (folder / "folder").mkdir(parents=True)
        with h5py.File(folder / "X.h5", "w") as file:
            file["X"] = np.zeros((8, 6), np.float32)
        (folder / "raw.bin").write_bytes(bytes(8 * 6 * 4))
        return cls(folder)

    @property
    def marker(self) -> Path:
        """What code that ran would have made."""
        return self.folder / "ran"

    def arm(self) -> None:
        """Watch from now on."""
        if self._watch >= 0:
            os.close(self._watch)
        libc = CDLL(None, use_errno=True)
        self._watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        for path in (self.folder, self.folder / "folder", self.folder / "X.h5", self.folder / "raw.bin"):
            assert libc.inotify_add_watch(self._watch, os.fsencode(path), _IN_OPEN | _IN_ACCESS | _IN_MODIFY) >= 0

    def touched(self) -> dict[str, bool]:
        """Return what happened since, by the name of the fault."""
        ready, _, _ = select.select([self._watch], [], [], 0)
        names = os.read(self._watch, 1 << 16) if ready else b""
        return {"reads outside": len(names) >= struct.calcsize("iIII"), "code run": self.marker.exists()}
