"""Images a second from JPEG files to a network's input: read, checked against their hash, decoded and prepared.

    python tests/benchmarks/decoding.py --data cifar10.zip tiny-imagenet-200.zip

Takes an even sample of the images of each archive, as they are, and draws files of 224 px: mosaics of the last
archive's images. Each set is read from a folder and from a zip, in batches of 64, by one thread and by two; rounds
alternate between them. Prints medians, the slowest round, and the processor's time per image.

Close other programs: they share the cores. Takes about a minute on two cores. Target: two threads at least 8,000
images/s of 32 px, from both.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from featx import load_source
from featx.core.specs import PreprocessSpec
from featx.data.batch_loader import load_batches
from featx.data.source import Source

BATCH = 64
MOSAIC = 224
QUALITY = 90
WORKERS = (1, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="zips of square JPEGs, each of one size")
    parser.add_argument("--images", type=int, default=4096, help="of each archive; mosaics are an eighth of that")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    samples = [sample(path, args.images) for path in args.data]
    samples.append([mosaic(samples[-1], i) for i in range(args.images // 8)])
    print("| px | from | threads | images/s | slowest round | CPU us per image |\n|---:|---|---:|---:|---:|---:|")
    for files in samples:
        with tempfile.TemporaryDirectory(prefix="featx-bench-") as name:
            measure(write(files, Path(name)), args.rounds)


def sample(path: Path, count: int) -> list[bytes]:
    """Return an even sample of an archive's JPEGs."""
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg"))]
        return [archive.read(names[i]) for i in np.linspace(0, len(names) - 1, count).astype(int)]


def mosaic(files: list[bytes], number: int) -> bytes:
    """Return a JPEG of `MOSAIC` px made of some of the images."""
    side = Image.open(io.BytesIO(files[0])).width
    picture, buffer = Image.new("RGB", (MOSAIC, MOSAIC)), io.BytesIO()
    corners = [(x, y) for x in range(0, MOSAIC, side) for y in range(0, MOSAIC, side)]
    for i, corner in enumerate(corners, len(corners) * number):
        picture.paste(Image.open(io.BytesIO(files[i % len(files)])), corner)
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()


def write(files: list[bytes], scratch: Path) -> tuple[Path, Path]:
    """Write the files into a folder and into a zip; return both."""
    folder, archive = scratch / "images", scratch / "images.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
        for i, data in enumerate(files):
            name = f"class {i % 10}/{i:05d}.jpg"
            out.writestr(name, data)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return folder, archive


def measure(places: tuple[Path, Path], rounds: int) -> None:
    sources = {place.suffix.removeprefix(".") or "folder": load_source(str(place)) for place in places}
    size = next(iter(sources.values()))[0][0].shape[0]
    found: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for source in sources.values():
        source.row_hashes()  # what makes the key comes first, and is remembered
    for _ in range(rounds + 1):
        for kind, source in sources.items():
            for workers in WORKERS:
                found.setdefault((kind, workers), []).append(read(source, size, workers))
    for (kind, workers), timed in found.items():
        speeds, costs = zip(*timed[1:], strict=True)  # the first round warms the page cache
        cost = statistics.median(costs)
        print(f"| {size} | {kind} | {workers} | {statistics.median(speeds):,.0f} | {min(speeds):,.0f} | {cost:.0f} |")


def read(source: Source, size: int, workers: int) -> tuple[float, float]:
    """Load all images once; return images per second and the processor's microseconds per image."""
    spec = PreprocessSpec(resize=size, crop=size)
    batches = np.array_split(np.arange(len(source)), -(-len(source) // BATCH))
    began, used = time.perf_counter(), time.process_time()
    seen = sum(len(batch.rows) for batch in load_batches(source, batches, spec, (3, size, size), workers=workers))
    assert seen == len(source)
    return seen / (time.perf_counter() - began), (time.process_time() - used) / seen * 1e6


if __name__ == "__main__":
    main()
