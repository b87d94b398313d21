"""10,000 images of which 100 are bad: which are left out, with what reason, and that their neighbours are untouched.

    python tests/benchmarks/bad_images.py

Draws a folder of small PNG and JPEG files and spoils one in a hundred: cut short, empty, text, a PDF, an SVG called
.png, an HDF5 file called .jpg, headers that promise 60,000 x 60,000 pixels, files without permission, links that lead
nowhere, out of the folder or in a circle, pipes. Runs `featx extract` over the folder and over a zip of it, once with
`--on-error skip` and once without, and over the good images alone. Checks exit codes, the list of skipped images,
the ids of the table, every feature, and that standard error stays short. Prints the reasons, counted. Exit code 1
where anything differs. Takes about a minute on two cores.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from PIL import Image

LAYER = "pool2:avg"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--bad", type=int, default=100)
    parser.add_argument("--show", action="store_true", help="print what a terminal of 80 columns shows")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="featx-bad-") as name:
        problems = check(Path(name), args.images, args.bad, args.show)
    for problem in problems:
        print("WRONG:", problem)
    sys.exit(1 if problems else 0)


def check(scratch: Path, images: int, bad: int, show: bool = False) -> list[str]:
    """Run everything in an empty folder; return what was not as it should be."""
    folder, alone = scratch / "images", scratch / "alone"
    broken = draw(folder, images, bad)
    shutil.copytree(folder, alone, symlinks=True, ignore=lambda at, names: ignored(folder, at, names, broken))
    problems: list[str] = []
    expected, _ = extracted(scratch, alone, 0, problems)
    for source in (folder, zipped(folder)):
        wanted = {name for name in broken if source.is_dir() or not special(folder / name)}
        began = time.monotonic()
        table, document = extracted(scratch, source, 3, problems)
        skipped = {entry["id"]: entry["reason"] for entry in document["skipped"]}
        if set(skipped) != wanted:
            problems.append(f"{source.name}: skipped are {sorted(set(skipped) ^ wanted)[:5]} too many or too few")
        if any(name not in reason or not reason.isprintable() for name, reason in skipped.items()):
            problems.append(f"{source.name}: a reason does not name its image in one line")
        problems += differences(source.name, table, expected)
        problems += raised(scratch, source, wanted)
        tell(source.name, skipped, time.monotonic() - began)
    if show:
        print(featx(scratch, folder, "--on-error", "skip", columns=80).stdout)
    return problems


def tell(name: str, skipped: dict[str, str], seconds: float) -> None:
    print(f"\n{name}: {len(skipped)} skipped, {seconds:.0f} s")
    reasons = Counter(
        re.sub(r"\d[\d,]*", "N", why.replace(at, "NAME").split(" in /")[0]) for at, why in skipped.items()
    )
    for reason, n in reasons.most_common():
        print(f"{n:>5}  {reason[:110]}")


def differences(name: str, table: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    if list(table) != list(expected):
        return [f"{name}: the table's ids are not those of the good images in order"]
    other = [at for at in table if not np.array_equal(table[at], expected[at])]
    return [f"{name}: features of {len(other)} good images differ, the first: {other[0]}"] if other else []


def raised(scratch: Path, source: Path, broken: set[str]) -> list[str]:
    """Run without skipping, in a home of its own, and check the one error."""
    home = scratch / "other home"
    done = featx(scratch, source, "--on-error", "raise", home=home)
    shutil.rmtree(home, ignore_errors=True)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    if done.returncode != 1 or len(lines) != 1 or not any(f"image {name} " in lines[0] for name in broken):
        return [f"{source.name}: without skipping: exit code {done.returncode}, {done.stderr[-300:]!r}"]
    return []


def featx(scratch: Path, source: Path, *more: str, home: Path | None = None, columns: int = 0) -> Any:
    command = [sys.executable, "-m", "featx.cli.main", "extract", str(source), "-b", "lenet5"]
    command += ["--weights", "random:0", "-l", LAYER, *more]
    around = {**os.environ, "FEATX_HOME": str(home or scratch / "home")}
    if columns:
        around["COLUMNS"] = str(columns)
    return subprocess.run(command, env=around, cwd=scratch, capture_output=True, text=True, check=False)


def extracted(scratch: Path, source: Path, code: int, problems: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the command with skipping; return the features by id, and the JSON document."""
    target = scratch / f"{source.name}.h5"
    done = featx(scratch, source, "--on-error", "skip", "--json", "-o", str(target))
    document = json.loads(done.stdout)
    if done.returncode != code or len(done.stderr.splitlines()) > 40:
        problems.append(f"{source.name}: exit code {done.returncode}, {len(done.stderr.splitlines())} lines of stderr")
    with h5py.File(target) as file:
        (split,) = [name for name in file if name != "classes"]
        ids, features = file[split]["ids"].asstr()[()], file[split][LAYER][()]
    return dict(zip(ids, features, strict=True)), document


# The images


def draw(folder: Path, images: int, bad: int) -> list[str]:
    """Write the images and spoil some, evenly spread; return the ids of the bad ones."""
    ways, broken = list(WAYS.values()), []
    every = images // bad
    for i in range(images):
        path = folder / f"class {i % 7}" / f"{i:05d}.{'png' if i % 2 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(pixels).save(path, quality=90)
        if i % every == 7 * (i // every) % every:  # of both kinds of file
            ways[len(broken) % len(ways)](path)
            broken.append(f"{path.parent.name}/{path.name}")
    (folder / "class 1" / "folder.png").mkdir()  # no image, whatever it is called
    return broken


def ignored(folder: Path, at: str, names: list[str], broken: list[str]) -> set[str]:
    inside = Path(at).relative_to(folder)
    return {name for name in names if str(inside / name) in broken}


def special(path: Path) -> bool:
    """Tell what an archive of plain files does not hold."""
    return path.is_symlink() or not path.is_file() or not os.access(path, os.R_OK)


def zipped(folder: Path) -> Path:
    archive = folder.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as out:
        for path in sorted(folder.rglob("*.*g")):
            if not special(path):
                out.write(path, path.relative_to(folder))
    return archive


def cut(share: float) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def holding(data: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(data)


def replaced(make: Callable[[Path], Any]) -> Callable[[Path], Any]:
    def spoil(path: Path) -> None:
        path.unlink()
        make(path)

    return spoil


def bomb(side: int) -> bytes:
    """A PNG that promises side x side pixels in a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def hdf5() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["X"] = np.arange(9)
    return buffer.getvalue()


def flipped(path: Path) -> None:
    """Break the end of the pixels: a PNG by its checksum, a JPEG by its end."""
    data = bytearray(path.read_bytes())
    if path.suffix == ".png":
        data[len(data) // 2] ^= 4
    else:
        del data[-40:]
    path.write_bytes(data)


WAYS: dict[str, Callable[[Path], Any]] = {
    "cut early": cut(0.1),
    "cut in half": cut(0.5),
    "cut late": cut(0.95),
    "empty": holding(b""),
    "text": holding(b"404: not found\n"),
    "pdf": holding(b"%PDF-1.4\n%%EOF\n"),
    "svg": holding(b'<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'),
    "hdf5": holding(hdf5()),
    "zeros": holding(bytes(3000)),
    "bomb": holding(bomb(60_000)),
    "nearly a bomb": holding(bomb(9_460)),
    "promises too much": holding(bomb(9_000)),
    "flipped": flipped,
    "link to nowhere": replaced(lambda path: path.symlink_to("nowhere.png")),
    "link out of the folder": replaced(lambda path: path.symlink_to("/etc/hostname")),
    "link to itself": replaced(lambda path: path.symlink_to(path.name)),
    "pipe": replaced(os.mkfifo),
}
if os.geteuid() != 0:  # root may read everything
    WAYS["no permission"] = lambda path: path.chmod(0)


if __name__ == "__main__":
    main()
