"""What libtiff says names its image, and is silent where everything is."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.data.decoding import decode
from featx.data.tiff import listening
from featx.errors import FeatxWarning, ImageError

PIXELS = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
SAID = "Using code not yet in table"


def lzw() -> bytes:
    """A TIFF whose compressed pixels are damaged: libtiff speaks of it."""
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "TIFF", compression="tiff_lzw")
    data = bytearray(buffer.getvalue())
    data[300:400] = bytes(value ^ 255 for value in data[300:400])
    return bytes(data)


def test_what_libtiff_says_stands_in_the_refusal(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImageError, match=rf"image cat/7\.tif .*libtiff: .*{SAID}"):
        decode(lzw(), "cat/7.tif")
    assert capfd.readouterr().err == ""


def test_of_an_image_that_is_decoded_all_the_same_it_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import featx.data.decoding as images

    whole = images._to_rgb

    def spoken(image: Image.Image) -> Image.Image:
        with pytest.raises(OSError, match="decoder error"), Image.open(io.BytesIO(lzw())) as other:
            other.load()
        return whole(image)

    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "TIFF", compression="tiff_lzw")
    monkeypatch.setattr(images, "_to_rgb", spoken)
    with pytest.warns(FeatxWarning, match=rf"image cat/7\.tif was decoded, but libtiff warned: {SAID}"):
        np.testing.assert_array_equal(decode(buffer.getvalue(), "cat/7.tif"), PIXELS)
    assert capfd.readouterr().err == ""


def test_each_thread_hears_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    damaged, buffer = lzw(), io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "TIFF", compression="tiff_lzw")
    heard: dict[int, list[str]] = {}

    def run(number: int) -> None:
        for _ in range(20):
            with listening() as lines, Image.open(io.BytesIO(damaged if number % 2 else buffer.getvalue())) as image:
                if number % 2:
                    with pytest.raises(OSError, match="decoder error"):
                        image.load()
                else:
                    image.load()
            heard.setdefault(number, []).extend(lines)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(heard[number]) for number in range(6)] == [0, 20, 0, 20, 0, 20]
    assert capfd.readouterr().err == ""


def test_who_does_not_listen_finds_libtiff_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    with listening():
        pass
    with pytest.raises(OSError, match="decoder error"), Image.open(io.BytesIO(lzw())) as image:
        image.load()
    assert SAID in capfd.readouterr().err


def test_the_command_says_nothing_when_quiet_and_names_the_image_when_not(tmp_path: Path) -> None:
    (tmp_path / "in" / "cat").mkdir(parents=True)
    for i in range(6):
        (tmp_path / "in" / "cat" / f"{i}.tif").write_bytes(lzw() + bytes([i]))
    Image.fromarray(PIXELS).save(tmp_path / "in" / "cat" / "good.png")
    command = [sys.executable, "-m", "featx.cli.main", "extract", "in", "-b", "lenet5", "--weights", "random:0"]
    command += ["-l", "pool2:avg", "--on-error", "skip", "--batch-size", "2"]
    quiet = subprocess.run([*command, "--quiet"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (quiet.returncode, quiet.stderr) == (3, "")
    lines = [line for line in quiet.stdout.splitlines() if SAID in line]
    assert len(lines) == 6
    assert all(line.startswith(f"skipped cat/{i}.tif: image cat/{i}.tif ") for i, line in enumerate(lines))


def test_threads_that_begin_at_once_hook_libtiff_once() -> None:
    """Each handler of a second one would be freed while libtiff still calls it: a crash in one run of ten."""
    program = """
import threading, time
from featx.data import tiff
looked = []
tiff._loaded = lambda: (looked.append(1), time.sleep(0.2))[0]
barrier = threading.Barrier(8)
def begin():
    barrier.wait()
    with tiff.listening():
        pass
threads = [threading.Thread(target=begin) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(looked))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
