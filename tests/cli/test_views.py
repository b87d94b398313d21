"""Options of averaged views, and what is said of memory that ran out and of images that hang, by the commands."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from featx.core.run_folder import Runs

pytestmark = pytest.mark.usefixtures("one_thread")

LENET = ("-b", "lenet5", "--weights", "random:0", "--limit", "60", "--device", "cpu", "-l", "conv1:avg")
VIEWS = ("--size", "32", "--crops", "10", "--scales", "1,1.25")

GREEDY = """
import torch
from torch import fx, nn

@fx.wrap
def greedy(x):
    if x.device.type != "meta" and len(x) > 3:
        raise torch.OutOfMemoryError("CUDA out of memory")
    return x

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv(greedy(x))

def make():
    torch.manual_seed(0)
    return Net()
"""


@pytest.fixture
def short_of_memory(tmp_path: Path) -> tuple[str, ...]:
    """Arguments of an extraction by a network that takes three images at a time."""
    (tmp_path / "net.py").write_text(GREEDY)
    name = f"{tmp_path / 'net.py'}:make"
    return ("extract", "digits", "-b", name, "-l", "conv:avg", "--size", "16", "--limit", "20", "--batch-size", "8")


def test_views_have_a_key_of_their_own_and_are_found_again(featx_json: Any) -> None:
    keys = set()
    ways = ((), ("--crops", "5"), ("--crops", "10"), ("--flip",), ("--scales", "1,1.25"))
    for way in ways:
        args = ("extract", "digits", *LENET, "--size", "32", *way)
        (_, first), (code, again) = featx_json(*args), featx_json(*args)
        assert code == 0
        assert (first["layers"][0]["computed"], again["layers"][0]["computed"]) == (60, 0)
        keys.add(first["layers"][0]["key"])
    assert len(keys) == len(ways)


def test_record_and_report_name_the_views(featx: Any, featx_json: Any, home: Path) -> None:
    code, document = featx_json("fit", "digits", *LENET, *VIEWS)
    assert code == 0
    assert document["views"] == "5 crops, flip, scales 1,1.25"
    record = Runs(home).list()[0].read()
    assert record["preprocess"]["views"] == {"crops": 5, "flip": True, "scales": [1.0, 1.25]}
    assert (record["preprocess"]["resize"], record["preprocess"]["crop"]) == (37, 32)
    assert featx_json("fit", "digits", *LENET, "--size", "32")[1]["views"] is None
    report = " ".join(featx("report").stdout.split())
    assert "flip, scales 1,1.25" in report


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--crops", "3"), "--crops"),
        (("--scales", "1,a"), "expected numbers separated by commas"),
        (("--scales", "0"), "scales"),
        (("--scales", "1,1"), "each once"),
        (("--crops", "5", "--resize", "pad"), "--resize pad keeps the whole image"),
    ],
)
def test_impossible_views_are_usage_errors(featx: Any, args: tuple[str, ...], said: str) -> None:
    result = featx("extract", "digits", *LENET, *args)
    assert result.exit_code == 2
    assert said in result.stderr


def test_training_has_no_such_options(featx: Any) -> None:
    result = featx("train", "digits", "-b", "lenet5", "--mode", "scratch", "--flip")
    assert result.exit_code == 2
    assert "--flip" in result.stderr


def test_sheet_shows_views(featx_json: Any, tmp_path: Path) -> None:
    heights = []
    for views in ((), VIEWS[2:4], VIEWS[2:]):  # none, ten of one scale, ten of each of two
        args = ("show", "digits", "-b", "lenet5", "--size", "32", *views, "-n", "2", "-o", tmp_path / "sheet.png")
        code, document = featx_json(*args)
        assert (code, document["images"]) == (0, 2)
        with Image.open(tmp_path / "sheet.png") as sheet:
            heights.append(sheet.height)
    one_row = heights[1] - heights[0]  # two images side by side are a row, two of ten views are two
    assert one_row > 100
    assert heights[2] - heights[1] == pytest.approx(2 * one_row, abs=20)


def test_memory_that_runs_out_is_said_in_one_line(featx: Any, short_of_memory: tuple[str, ...]) -> None:
    result = featx(*short_of_memory)
    assert result.exit_code == 0
    said = [line for line in result.stderr.splitlines() if "memory" in line]
    assert said == [
        "warning: out of memory with 8 images in a forward pass, continuing with 2; --batch-size 2 avoids this"
    ]


def test_memory_that_runs_out_is_in_the_document(featx_json: Any, short_of_memory: tuple[str, ...]) -> None:
    code, document = featx_json(*short_of_memory, "--quiet")
    assert code == 0
    assert document["batch_size"] == 2
    assert len(document["notes"]) == 1
    assert "continuing with 2" in document["notes"][0]
    _, again = featx_json(*short_of_memory)
    assert (again["batch_size"], again["notes"]) == (None, [])


def test_quiet_is_quiet(featx: Any, short_of_memory: tuple[str, ...]) -> None:
    assert featx(*short_of_memory, "--quiet").stderr == ""


# A shell's background jobs ignore SIGINT, and their children with them: it is listened to again.
HANGS = """
import signal, sys, threading
from featx.data import arrays
from featx.data import batch_loader
from featx.cli.main import cli
signal.signal(signal.SIGINT, signal.default_int_handler)
batch_loader.SLOW_SECONDS = 0.5
def stuck(self, i):
    threading.Event().wait()
arrays.ArraySource.__getitem__ = stuck
cli.main(sys.argv[1:], prog_name="featx")
"""


def test_ctrl_c_ends_a_program_that_waits_for_an_image(home: Path) -> None:
    args = [sys.executable, "-c", HANGS, "extract", "digits", *LENET, "--size", "32"]
    process = subprocess.Popen(args, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert line.startswith("warning: image ")
        assert "has been loading for 0.5 s" in line
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, rest = process.communicate(timeout=30)
        assert time.monotonic() - began < 10
        assert process.returncode == 130
        assert "interrupted" in rest
    finally:
        process.kill()
        process.wait()
