"""Packages that take long to import, and which of them a fresh Python holds after some code."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("torch", "torchvision", "sklearn", "scipy", "h5py", "matplotlib", "pyarrow", "numpy", "PIL", "joblib", "rich")


def loaded_after(code: str) -> set[str]:
    """Run code in a process of its own and return the names of all modules that it loaded."""
    script = f"{code}\nimport sys\nprint('MODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("MODULES")[2].split())
