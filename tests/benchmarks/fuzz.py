"""Spoilt files against featx's readers: an error of featx's own or right pixels, and nothing else.

    python tests/benchmarks/fuzz.py --inputs 20000 --seed 0

Each input is a small good file (JPEG, PNG, GIF, WEBP, TIFF, BMP, PPM, zip, tar, npz, npy, HDF5, CSV) with one to four
mutations (`fuzz_inputs.py`). It is opened as a user would, by `load_splits`; every row is hashed and decoded. Row by
row, what comes out must equal what Pillow, zipfile, tarfile, numpy or h5py read by themselves, checksums included.
Child processes do the work: one that takes more than 10 s of the processor
(or 60 s) over an input counts as a hang, one that dies as a crash,
growth beyond 1.5 GiB of memory as such, anything printed and any file written outside the input's folder too.

One thing is known and listed apart: over a damaged heap of strings HDF5 itself goes in circles or asks for memory
without need (one file in a thousand), which no caller can stop.

Prints a table by kind and outcome; inputs that broke something are kept in --keep. Exit code 1 if there are any.
Takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import logging
import multiprocessing
import os
import random
import re
import resource
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz_inputs import IMAGES, KINDS, members, spoilt
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "support"))
from orientations import UPRIGHT

from featx.data.sources import Source, load_splits
from featx.errors import FeatxError, ImageError

SECONDS, BYTES = 10.0, 3 << 29
KNOWN = "HDF5 itself"
# libtiff's own lines: Pillow does not turn them off.
LIBTIFF = re.compile(rb"^(_?[A-Z]\w+|tempfile\.tif): [ -~]*\n", re.M)
GOOD = ("refused", "right rows", "rows refused", "right and refused")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--only", type=int, help="run one input of this number, in this process")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir(), "featx-fuzz"), help="folder")
    args = parser.parse_args()
    if args.only is not None:
        with tempfile.TemporaryDirectory() as name:
            print(*attack(Path(name), args.seed, args.only, args.kinds)[:4], sep="\n")
        return
    began = time.monotonic()
    outcomes, known, broken = run(args)
    names = list(dict.fromkeys([*GOOD, *(what for _, what in outcomes)]))
    print("kind  " + "".join(f"{name:>19}" for name in names))
    for kind in (*args.kinds, "all"):
        counts = [sum(n for (k, what), n in outcomes.items() if what == name and kind in (k, "all")) for name in names]
        print(f"{kind:<6}" + "".join(f"{n:>19,}" for n in counts))
    print(f"{sum(outcomes.values()):,} inputs in {time.monotonic() - began:.0f} s, {len(broken)} broke something")
    for line in known + broken:
        print(line)
    sys.exit(1 if broken else 0)


def chosen(seed: int, number: int, kinds: list[str]) -> tuple[str, bytes, str]:
    """Return input `number`: its kind, bytes and what was done to them."""
    kind = kinds[number % len(kinds)]
    return kind, *spoilt(kind, random.Random(f"{seed}:{number}"))


# The parent: hands out numbers, watches the clock and counts


class Worker:
    """A child process that works through numbers from `start` on, every `step`th."""

    def __init__(self, args: argparse.Namespace, start: int) -> None:
        self.leaves = False
        self.pipe, theirs = multiprocessing.get_context("spawn").Pipe()
        about = (theirs, start, args.inputs, args.workers, args.seed, args.kinds)
        self.process = multiprocessing.get_context("spawn").Process(target=serve, args=about, daemon=True)
        self.process.start()
        theirs.close()
        self.begin(start)

    def begin(self, number: int) -> None:
        self.at, self.since, self.before = number, time.monotonic(), 0.0
        self.before = self.spent()

    def spent(self) -> float:
        """Return the processor's seconds since the input was begun."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") - self.before

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def run(args: argparse.Namespace) -> tuple[Counter[tuple[str, str]], list[str], list[str]]:
    """Run all inputs; return counts by (kind, outcome), a line for each known failure and for each new one."""
    outcomes: Counter[tuple[str, str]] = Counter()
    broken: list[str] = []
    known: list[str] = []

    def count(number: int, what: str, detail: str) -> None:
        kind, data, how = chosen(args.seed, number, args.kinds)
        if kind == "h5" and what in ("hang", "memory"):
            what = KNOWN
        outcomes[kind, what] += 1
        if what not in GOOD:
            args.keep.mkdir(parents=True, exist_ok=True)
            path = args.keep / f"{args.seed}-{number}.{IMAGES.get(kind, kind)}"
            path.write_bytes(data)
            line = f"{what}: {path} ({how}): {detail}"
            (known if what == KNOWN else broken).append(line)

    workers = [Worker(args, start) for start in range(args.workers)]
    while workers:
        ready = wait([w.pipe for w in workers], timeout=0.5)
        for worker in list(workers):
            what = ""
            try:
                if worker.pipe in ready:
                    number, what, detail = worker.pipe.recv()
                    worker.begin(number)
                    if what:
                        count(number, what, detail)
                        worker.at += args.workers
                        worker.leaves = what == "memory"
                    continue
                if worker.spent() > SECONDS or time.monotonic() - worker.since > 6 * SECONDS:
                    what = "hang"
            except (EOFError, ConnectionError):
                what = "crash" if worker.at < args.inputs and not worker.leaves else ""
            if what or worker.pipe in ready:
                worker.stop()
                workers.remove(worker)
            if what:
                count(worker.at, what, f"exit code {worker.process.exitcode}")
                worker.at += args.workers
            if worker not in workers and worker.at < args.inputs:
                workers.append(Worker(args, worker.at))
    return outcomes, known, broken


# The child


def serve(pipe: Connection, start: int, stop: int, step: int, seed: int, kinds: list[str]) -> None:
    """Work through the inputs, and say before and after each where it stands."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + 2 * BYTES, mapped + 2 * BYTES))
    warnings.filterwarnings("ignore", module=r"PIL\.")  # both as the command line does
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    with tempfile.TemporaryDirectory(prefix="featx-fuzz-") as name:
        outside, printed = Path(name), Path(name, "printed")
        with printed.open("wb") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        for number in range(start, stop, step):
            pipe.send((number, "", ""))
            what, detail, _, grown, outside_after = attack(outside, seed, number, kinds)
            if what in GOOD and grown > BYTES:
                what, detail = "memory", f"grew by {grown >> 20} MiB"
            if what in GOOD and outside_after != ["printed"]:
                what, detail = "wrote outside", str(outside_after)[:200]
            said = LIBTIFF.sub(b"", printed.read_bytes())
            if what in GOOD and said:
                what, detail = "printed", repr(said[:300])
            os.truncate(printed, 0)
            os.lseek(1, 0, os.SEEK_SET)
            pipe.send((number, what, detail))
            if what == "memory":
                os._exit(0)
        pipe.send((stop + step, "", ""))


def attack(outside: Path, seed: int, number: int, kinds: list[str]) -> tuple[str, str, str, int, list[str]]:
    """Read one input; return the outcome, its detail, what was done, the growth in bytes, and what lies outside."""
    kind, data, how = chosen(seed, number, kinds)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with tempfile.TemporaryDirectory(prefix="in-", dir=outside) as name:
        spec, reference = placed(Path(name), kind, data)
        try:
            inside = sorted(Path(name).rglob("*"))
            what, detail = outcome(spec, reference)
            if what in GOOD and sorted(Path(name).rglob("*")) != inside:
                what = "wrote beside"
        except Exception as exc:
            what, detail = f"{type(exc).__name__}", " ".join(str(exc).split())[:300]
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return what, detail, how, grown * 1024, sorted(p.name for p in outside.iterdir())


def placed(folder: Path, kind: str, data: bytes) -> tuple[Path, Any]:
    """Write an input where featx reads it; return what to open, and the reference that reads it too."""
    if kind in IMAGES:
        path = folder / "data" / "a" / f"x.{IMAGES[kind]}"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
        return folder / "data", EncodedFiles(lambda name: data)
    path = folder / f"data.{kind}"
    path.write_bytes(data)
    if kind == "csv":
        for name, content in members():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)
        return path, EncodedFiles(lambda name: (folder / name).read_bytes())
    if kind == "zip":
        return path, EncodedFiles(lambda name: from_zip(path, name))
    if kind == "tar":
        return path, EncodedFiles(lambda name: from_tar(path, name))
    return path, Arrays(path)


def outcome(spec: Path, reference: Any) -> tuple[str, str]:
    """Open, hash and decode everything, and compare each row with the reference."""
    try:
        splits = load_splits(spec)
        hashes = {split: source.row_hashes() for split, source in splits.items()}
    except FeatxError as exc:
        return ("refused", "") if well_said(exc) else ("bad message", repr(str(exc)))
    right = refused = 0
    for split, source in splits.items():
        for i, name in enumerate(source.ids):
            try:
                pixels, label = source[i]
            except ImageError as exc:
                if not well_said(exc):
                    return "bad message", repr(str(exc))
                refused += 1
                continue
            wrong = reference.differs(source, i, pixels, hashes[split][i].tobytes())
            if wrong or (label is not None and not 0 <= label < len(source.classes)):
                return "WRONG", f"row {name!r:.80}: {wrong}"
            right += 1
    return ("right and refused" if right and refused else "right rows" if right else "rows refused"), ""


def well_said(exc: FeatxError) -> bool:
    return str(exc).isprintable() and len(str(exc)) < 1500


# References: other readers of the same bytes


class EncodedFiles:
    """Files of images by name; `read` raises where the bytes are not to be trusted."""

    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read

    def differs(self, source: Source, i: int, pixels: Any, digest: bytes) -> str:
        """Say how a row differs from Pillow's reading, or nothing."""
        data = self._read(source._rows[i].name)  # type: ignore[attr-defined]
        if hashlib.sha256(data).digest() != digest:
            return "other bytes were hashed"
        return "" if np.array_equal(pixels, pillow(data)) else "other pixels than Pillow's"


def pillow(data: bytes) -> Any:
    """Return upright RGB as Pillow reads it, turned and scaled by other means than featx's."""
    with warnings.catch_warnings(), Image.open(io.BytesIO(data)) as image:
        warnings.simplefilter("ignore")
        image.load()
        turn = UPRIGHT.get(image.getexif().get(0x0112, 1), UPRIGHT[1])
        if image.mode.startswith("I"):
            pixels = np.asarray(image).astype(np.float64)
            assert 0 <= pixels.min() <= pixels.max() <= 65535
            return turn(np.repeat(np.floor(pixels / 256)[..., None], 3, axis=2))
        return turn(np.asarray(image.convert("RGB")))


def from_zip(path: Path, name: str) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(name)


def from_tar(path: Path, name: str) -> bytes:
    with tarfile.open(path, "r:") as archive:
        found = [info for info in archive if info.name.removeprefix("./") == name]
        file = archive.extractfile(found[-1])
        assert file is not None
        assert found[-1].isreg()
        return file.read()


class Arrays:
    """The arrays of a file, each read as a whole."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def _all(self) -> Iterator[Any]:
        if self.path.suffix == ".npy":
            yield np.load(self.path)
        elif self.path.suffix == ".h5":
            with h5py.File(self.path) as file:
                yield from (file[name][()] for name in file if isinstance(file[name], h5py.Dataset))
        else:
            with zipfile.ZipFile(self.path) as archive:
                for name in archive.namelist():
                    if name.endswith(".npy"):
                        yield np.load(io.BytesIO(archive.read(name)))

    def differs(self, source: Source, i: int, pixels: Any, digest: bytes) -> str:
        """Say that no array holds this row there, or nothing."""
        for array in self._all():
            if array.dtype == np.uint8 and array.ndim in (3, 4) and len(array) == len(source):
                row = array[i] if array.ndim == 4 else array[i][..., None]
                if np.array_equal(row, pixels):
                    return ""
        return "no array holds it"


if __name__ == "__main__":
    main()
