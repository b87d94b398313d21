"""How long a source of very many files takes to open and to hash, and how much memory that needs.

    python tests/benchmarks/listing.py --files 1000000 /tmp

makes empty files in 1,000 class folders below the given folder (a minute, and an inode each), measures in processes of
their own, and removes them again.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STAGES = ("listed", "hashed, nothing known", "hashed, all known", "part of it, all known")


def make(root: Path, files: int, classes: int) -> None:
    """Write `files` empty files in `classes` folders."""
    for k in range(classes):
        folder = root / f"n{k:08d}"
        folder.mkdir()
        for i in range(k, files, classes):
            (folder / f"n{k:08d}_{i:07d}.JPEG").touch()


def measure(stage: int, root: Path, home: Path) -> None:
    """Do one stage, and print its seconds and the largest memory in MB."""
    from featx.cache.memo import Memo
    from featx.data.sources import load_source

    start = time.perf_counter()
    source = load_source(root, memo=Memo(home), per_class=1 if stage == 3 else None)
    if stage:
        source.row_hashes()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{seconds:.1f}\t{peak:.0f}\t{len(source):,}")


def main() -> None:
    """Make the files, and measure each stage in a fresh process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where to make the files")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=1_000)
    parser.add_argument("--stage", type=int, choices=range(len(STAGES)), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.stage is not None:
        measure(given.stage, given.folder / "images", given.folder / "home")
        return
    root = Path(tempfile.mkdtemp(prefix="featx-listing-", dir=given.folder))
    try:
        (root / "images").mkdir()
        start = time.perf_counter()
        make(root / "images", given.files, given.classes)
        print(f"made {given.files:,} files in {time.perf_counter() - start:.0f} s")
        time.sleep(3)  # younger files are not remembered
        print("| stage | seconds | peak MB | rows |\n|---|---:|---:|---:|")
        for stage, name in enumerate(STAGES):
            command = [sys.executable, __file__, str(root), "--stage", str(stage)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            print(f"| {name} | " + " | ".join(done.stdout.split()) + " |", flush=True)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
