"""Full devices, deleted folders, other locales, interruptions, and documents that come alone."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from command import document, featx, process
from programs import PROGRAM

from featx.core.outputs import write_output
from featx.core.paths import home_folder, recorded_path
from featx.core.run_folder import Runs, jsonable
from featx.errors import DiskFullError, StoreError, legible, printable

FULL = Path("/dev/full")
FIT = ("fit", "digits", "--limit", "100", "--pixels")
EXTRACT = ("extract", "digits", "--limit", "100", "-b", "pixels", "-l", "pixels")
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")

# ---- /dev/full ------------------------------------------------------------------------------------------------------


@needs_full
@pytest.mark.parametrize("args", [(*FIT, "--quiet"), ("cache", "ls"), ("--help",), ("--version",), ("runs", "ls")])
def test_a_full_standard_output_is_one_line_and_exit_code_5(args: tuple[str, ...]) -> None:
    if args[0] == "fit":
        document(*EXTRACT)
    with FULL.open("w") as full:
        done = process(*args, stdout=full)
    assert (done.returncode, done.stderr) == (5, "error: standard output: No space left on device\n")
    assert len(Runs().list()) == (args[0] == "fit")  # what was done is done


@needs_full
def test_a_full_standard_error_ends_no_work() -> None:
    with FULL.open("w") as full:
        done = process(*FIT, stderr=full)
    assert done.returncode == 0
    assert "accuracy" in done.stdout


@pytest.mark.parametrize("args", [("report", "nosuch"), ("nosuch",), FIT])
def test_a_standard_error_that_nobody_reads_ends_as_a_closed_standard_output_does(args: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        if args == FIT:  # which says nothing there, and is done
            document(*EXTRACT)
            done = process(*args, "--quiet", stderr=writer)
            assert (done.returncode, "accuracy" in done.stdout) == (0, True)
        else:
            assert process(*args, stderr=writer).returncode == 141
            assert process(*args, stdout=writer, stderr=writer).returncode == 141
    finally:
        os.close(writer)


@pytest.fixture
def full_device(tmp_path: Path) -> Path:
    """A device that is full, of the test's own: one that is spoilt is to be nobody else's."""
    path = tmp_path / "full"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        pytest.skip("no devices can be made here")
    return path


@pytest.mark.parametrize(
    "args",
    [
        ("show", "digits", "-o"),
        (*FIT, "--sweep", "clip", "-o"),
        ("report", "--output"),
    ],
)
def test_a_full_device_as_output_is_exit_code_5_and_stays_a_device(full_device: Path, args: tuple[str, ...]) -> None:
    if args[0] == "report":
        document(*FIT)
    result = featx(*args, full_device)
    assert result.exit_code == 5, result.output
    error, hint = result.stderr.splitlines()[-2:]
    assert error.startswith(f"error: no room to write {full_device}")
    assert "--home" not in hint
    assert stat.S_ISCHR(full_device.stat().st_mode)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    document(*FIT)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cat", pipe], stdout=subprocess.PIPE) as reader:
        assert featx("report", "--format", "csv", "--output", pipe).exit_code == 0
        told = reader.communicate(timeout=30)[0]
    assert told.startswith(b"run,")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_of_a_link_the_target_is_written(tmp_path: Path) -> None:
    (tmp_path / "link.md").symlink_to("real.md")
    write_output(tmp_path / "link.md", b"x")
    write_output(tmp_path / "link.md", b"y")
    assert (tmp_path / "link.md").is_symlink()
    assert (tmp_path / "real.md").read_bytes() == b"y"
    assert sorted(os.listdir(tmp_path)) == ["link.md", "real.md"]


def test_a_place_that_cannot_be_written_asks_for_another_one(full_device: Path, tmp_path: Path) -> None:
    with pytest.raises(DiskFullError) as caught:
        write_output(full_device, b"x")
    assert "another place" in caught.value.hint
    with pytest.raises(StoreError) as found:
        write_output(tmp_path / "nowhere" / "x", b"x")
    assert "another place" in found.value.hint


# ---- a folder that was deleted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "code"), [(FIT, 1), (("cache", "ls"), 1), (("doctor",), 1), (("--version",), 0), (("fit", "--help"), 0)]
)
def test_from_a_deleted_folder_the_answer_is_a_sentence(tmp_path: Path, args: tuple[str, ...], code: int) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = "import os, sys; os.chdir(sys.argv[1]); os.rmdir(sys.argv[1]); os.execv(sys.executable, sys.argv[2:])"
    command = [sys.executable, "-c", script, str(gone), sys.executable, *PROGRAM, *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == code, done.stderr
    if code:
        assert done.stderr == (
            "error: the current folder was deleted, expected one that exists\nhint: cd to another folder\n"
        )


# ---- other locales --------------------------------------------------------------------------------------------------


def lone(document: Any) -> list[str]:
    """Return the texts in a document that are no text: they hold half a pair of UTF-16."""
    if isinstance(document, dict):
        return [found for part in (*document, *document.values()) for found in lone(part)]
    if isinstance(document, list):
        return [found for part in document for found in lone(part)]
    return [document] if isinstance(document, str) and any("\ud800" <= c <= "\udfff" for c in document) else []


def test_a_run_in_an_ascii_locale_has_the_names_that_utf_8_has(tmp_path: Path, fill: Any) -> None:
    import torch

    from featx.models.backbones import resolve

    weights = tmp_path / "gewichte-ü.pth"
    torch.save(resolve("lenet5", weights="random:0").module().state_dict(), weights)
    names = [f"{folder}/{i}é.png" for folder in ("hünde", "katzen") for i in range(10)]
    fill(tmp_path / "bilder-ä", names)
    fit = ("fit", tmp_path / "bilder-ä", "-b", "lenet5", "--weights", weights, "-l", "pool2", "--size", "28", "--json")
    there = process(*fit, env=ASCII)
    assert there.returncode == 0, there.stderr
    records = [Runs().open(done["run"]).read() for done in (json.loads(there.stdout), document(*fit[:-1]))]
    assert [lone(record) for record in records] == [[], []]
    for name in ("classes", "source", "model_classes", "accuracy", "fingerprints"):
        assert records[0][name] == records[1][name]
    assert records[0]["classes"] == ["hünde", "katzen"]
    assert [record["weights_file"] for record in records] == [str(weights)] * 2
    run = records[0]["id"]
    predict = ("predict", run, tmp_path / "bilder-ä")
    told = process(*predict, "--json", env=ASCII)
    assert told.returncode == 0, told.stderr
    for found in (json.loads(told.stdout), document(*predict)):
        assert found["labelled"] == 20
        assert lone(found) == []
        assert "hünde/0é.png" in {one["id"] for one in found["predictions"]}


def test_names_that_are_no_text_are_spelled_out_and_found_again(tmp_path: Path) -> None:
    assert jsonable({"caf\udce9": ["\udcc3\udcbc", Path("x\udcff"), "\ud800", "é"]}) == {
        "caf\\udce9": ["ü", "x\\udcff", "\\ud800", "é"]
    }
    assert legible("plain") == "plain"
    assert printable("\udcc3\udcbc\udc1b") == "\\udcc3\\udcbc\\udc1b"
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.pth")
    Path(odd).touch()
    assert recorded_path(legible(odd)) == odd
    plain = str(tmp_path / "a\\udce9")
    Path(plain).touch()
    assert recorded_path(plain) == plain


# ---- interruptions --------------------------------------------------------------------------------------------------

WAITS = """
import sys, time, types
sys.argv = ["featx", *{argv!r}]
from featx.cli import main
class Slow:  # an import that takes its time
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
main.main()
"""


@pytest.mark.parametrize("name", ["featx.cli.program", "click", "featx.cli.fit", "featx.cache.memo", "torch"])
@pytest.mark.parametrize("as_json", [False, True])
def test_an_interruption_while_modules_are_imported_is_one_line(name: str, as_json: bool) -> None:
    argv = [*FIT[:4], "-b", "lenet5", "--weights", "random:0", "-l", "pool2", *["--json"] * as_json]
    command = [sys.executable, "-c", WAITS.format(argv=argv, name=name)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "importing\n"
        time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    if as_json:
        assert json.loads(out)["error"] == "interrupted"
        assert err == ""
    else:
        assert (out, err) == ("", "interrupted: nothing was written\n")


def test_the_way_to_the_entry_point_is_short() -> None:
    """What is imported before it can only be interrupted with a traceback."""
    code = "import os, sys, signal; before = set(sys.modules); import featx.cli.main; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert set(done.stdout.split()) <= {"featx", "featx.cli", "featx.cli.main", "__future__"}


def test_where_interruptions_are_ignored_they_stay_so() -> None:
    """As `nohup` and a shell's background jobs have it."""
    code = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "sys.argv = ['featx', '--version']\n"
        "from featx.cli import main\n"
        "try: main.main()\n"
        "finally: print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.splitlines()[-1] == "True"


# ---- predict --json -------------------------------------------------------------------------------------------------


def test_a_document_comes_without_its_tables(pets: Path) -> None:
    run = document("fit", pets, "--pixels", "--size", "8")["run"]
    result = featx("predict", run, pets, "--json")
    assert len(json.loads(result.stdout)["predictions"]) == 10
    assert "cat/0.png" not in result.stderr
    assert "probability" not in result.stderr
    for args in (("runs", "ls"), ("cache", "ls"), ("runs", "info", run), ("layers", "lenet5")):
        told = featx(*args, "--json")
        assert told.exit_code == 0
        assert len(told.stderr.splitlines()) <= 1, told.stderr


def test_what_a_table_showed_is_in_the_document() -> None:
    train = ("train", "digits", "-b", "lenet5", "--mode", "scratch", "--limit", "60", "--epochs", "2", "--json")
    result = featx(*train, "--home", home_folder())
    assert len(json.loads(result.stdout)["history"]) == 2
    assert "train loss" not in result.stderr
