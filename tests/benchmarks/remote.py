"""Images per second from a web server that takes a while for each answer, by the number of requests in flight.

    python tests/benchmarks/remote.py [--images 1000] [--milliseconds 30] [--in-flight 1,2,4,8,16,32,64]

The server is a process of its own on this machine; it waits before each answer, as a server far away would. Measured
are the whole source's content hashes, read for the first time and the second, and the images decoded in batches. Each
image is an object of its own (a list), or a member of one of ten WebDataset shards.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).parents[1] / "support"))

SHARDS = 10


def write(folder: Path, count: int) -> None:
    """Write JPEGs of 64 x 64 px, a list of them, and shards with the same ones."""
    rng = np.random.default_rng(0)
    lines = ["path,label\n"]
    tars = [tarfile.open(folder / f"shard-{k:02d}.tar", "w") for k in range(SHARDS)]  # noqa: SIM115
    for i in range(count):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(buffer, "JPEG")
        (folder / f"{i:06d}.jpg").write_bytes(buffer.getvalue())
        lines.append(f"{i:06d}.jpg,{i % 2}\n")
        for ending, data in (("cls", str(i % 2).encode()), ("jpg", buffer.getvalue())):
            info = tarfile.TarInfo(f"{i:06d}.{ending}")
            info.size = len(data)
            tars[i * SHARDS // count].addfile(info, io.BytesIO(data))
    for tar in tars:
        tar.close()
    (folder / "list.csv").write_text("".join(lines))


def _serve(folder: Path, seconds: float, pipe: Any) -> None:
    from web_server import serving

    with serving(folder) as server:
        server.seconds = seconds
        pipe.send(server.url)
        pipe.recv()


@contextmanager
def server(folder: Path, seconds: float) -> Iterator[str]:
    """Serve a folder from a process of its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(folder, seconds, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        ours.send(None)
        process.join()


def measure(spec: str, in_flight: int, home: Path) -> list[float]:
    """Return images per second: hashed for the first time, for the second, and decoded in batches of 64."""
    os.environ["FEATX_REQUESTS"] = str(in_flight)
    from featx.cache.memo import Memo
    from featx.core.specs import PreprocessSpec
    from featx.data.batch_loader import load_batches
    from featx.data.sources import load_source

    rates = []
    for _ in range(2):
        began = time.perf_counter()
        source = load_source(spec, memo=Memo(home))
        source.row_hashes()
        rates.append(len(source) / (time.perf_counter() - began))
    preprocess = PreprocessSpec(None, None)
    batches = np.split(np.arange(len(source)), range(64, len(source), 64))
    began = time.perf_counter()
    for _ in load_batches(source, batches, preprocess, (3, 64, 64), bursts=True):
        pass
    return [*rates, len(source) / (time.perf_counter() - began)]


def main() -> None:
    """Print a line for each number of requests in flight."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--milliseconds", type=float, default=30.0)
    parser.add_argument("--in-flight", default="1,2,4,8,16,32,64")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "data")
        folder.mkdir()
        write(folder, args.images)
        with server(folder, args.milliseconds / 1000) as url:
            print(f"{args.images} images of 64 px, {args.milliseconds:g} ms per answer, {os.cpu_count()} cores")
            print("source   in flight   first key/s   second key/s   decoded/s", flush=True)
            for kind, place in {"list": "list.csv", "shards": f"shard-{{00..{SHARDS - 1:02d}}}.tar"}.items():
                for count in map(int, args.in_flight.split(",")):
                    rates = measure(f"{url}/{place}", count, Path(name, f"home-{kind}-{count}"))
                    print(f"{kind:<8} {count:9d} {rates[0]:13.0f} {rates[1]:14.0f} {rates[2]:11.0f}", flush=True)


if __name__ == "__main__":
    main()
