"""A home of its own for every test, drawn images in class folders, and the real data where there is some."""

from __future__ import annotations

import functools
import gc
import io
import os
import signal
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

# Small networks on several threads wait for each other, on a busy machine for minutes; child processes inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Without bytecode each child process would compile all of featx anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from PIL import Image
from sklearn.datasets import load_digits

# A busy machine is no failure.
settings.register_profile("featx", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("featx")

FSYNC = os.fsync

MANY_MODULES = 50
_frozen = [0]
"""How many modules there were when the garbage collector was last told to look at none of them."""

Pack = Callable[[Path], Path]
Fill = Callable[[Path, Iterable[str]], Path]


def pytest_configure() -> None:
    """Be interrupted like a command at a terminal, though a shell's background jobs are told to ignore it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Let the garbage collector look no more at what all tests share: torch's modules alone are a million objects."""
    _freeze()


def pytest_runtest_teardown() -> None:
    """Nor at what a test was the first to load: a quarter of the time went by with that."""
    if len(sys.modules) > _frozen[0] + MANY_MODULES:
        _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()
    _frozen[0] = len(sys.modules)


@pytest.fixture(autouse=True, scope="session")
def _quick_files() -> Iterator[None]:
    """Nothing here cuts the power: a tenth of the time went by waiting for disks. Other processes wait as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        patch.setattr("sklearn.datasets.load_digits", functools.cache(load_digits))  # parsed anew by every source
        yield


@pytest.fixture
def waits_for_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written through a memory map has its time only then."""
    monkeypatch.setattr(os, "fsync", FSYNC)


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test reads or writes the user's own store."""
    monkeypatch.setenv("FEATX_HOME", str(tmp_path / "featx-home"))


@pytest.fixture(autouse=True)
def _no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training draws no curves, which take most of its time. Tests of these are marked."""
    if "pictures" not in request.keywords:
        monkeypatch.setattr("featx.runs.record.PICTURES", ())


@pytest.fixture
def png() -> Callable[..., bytes]:
    """Draw noise: ``png(seed, width, height)`` gives an encoded RGB image."""

    def draw(seed: int, width: int = 12, height: int = 10) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()

    return draw


@pytest.fixture
def fill(png: Callable[..., bytes]) -> Fill:
    """Write one drawn image a name, each different, and return the folder."""

    def write(root: Path, names: Iterable[str]) -> Path:
        for seed, name in enumerate(names):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(seed))
        return root

    return write


@pytest.fixture
def pets(tmp_path: Path, fill: Fill) -> Path:
    """Class folders: six images of cats, four of dogs."""
    return fill(tmp_path / "pets", [f"cat/{i}.png" for i in range(6)] + [f"dog/{i}.png" for i in range(4)])


@pytest.fixture
def pack() -> Pack:
    """Zip a folder's content, in an order that is not the sorted one, and return the archive beside it."""

    def zip_up(folder: Path) -> Path:
        archive = folder.with_name(folder.name + ".zip")
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as out:
            for path in sorted(folder.rglob("*"), reverse=True):
                out.write(path, path.relative_to(folder))
        return archive

    return zip_up


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files count as old enough to be remembered at once."""
    monkeypatch.setattr("featx.core.file_stamps.SETTLED_SECONDS", 0.0)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small networks train on one core: on a busy machine more threads wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; without one, the test is skipped and says so."""
    named = os.environ.get("FEATX_TEST_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"NO REAL DATA: {folder} is no folder; set FEATX_TEST_DATA to the folder of cifar10.zip")
    return folder
