"""The program as a whole: exit codes, errors as text and as JSON, typing mistakes, signals, pipes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from programs import PROGRAM, program

from featx.cli import main
from featx.cli.failures import Terminated
from featx.cli.output import Output
from featx.errors import (
    CorruptStoreError,
    DiskFullError,
    FeatxError,
    OptionError,
    OutOfMemoryError,
    SourceError,
    StoreError,
)


def call(action: Callable[[Output], Any], *args: str) -> Any:
    return CliRunner().invoke(program(action), ["do", *args])


def raising(exc: BaseException) -> Callable[[Output], Any]:
    def action(out: Output) -> None:
        raise exc

    return action


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (FeatxError("x"), 1),
        (SourceError("x"), 1),
        (StoreError("x"), 1),
        (OptionError("x"), 2),
        (CorruptStoreError("x"), 4),
        (DiskFullError("x"), 5),
        (OSError(28, "No space left on device"), 5),
        (OutOfMemoryError("x"), 6),
        (MemoryError(), 6),
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (Terminated(), 143),
        (ZeroDivisionError("x"), 1),
        (PermissionError(13, "Permission denied", "/data"), 1),
        (BrokenPipeError(32, "Broken pipe"), 141),
    ],
)
def test_exception_decides_the_exit_code(exc: BaseException, code: int) -> None:
    assert call(raising(exc)).exit_code == code
    assert call(raising(exc), "--json").exit_code == code


def test_error_is_two_lines_on_standard_error() -> None:
    result = call(raising(SourceError("no images in photos", "give a folder of images")))
    assert result.stdout == ""
    assert result.stderr == "error: no images in photos\nhint: give a folder of images\n"


def test_error_without_a_hint_is_one_line() -> None:
    assert call(raising(SourceError("no images"))).stderr == "error: no images\n"


def test_error_under_json_is_one_document_and_nothing_else() -> None:
    result = call(raising(SourceError("no images", "give some")), "--json")
    assert json.loads(result.stdout) == {"error": "no images", "kind": "SourceError", "hint": "give some"}
    assert result.stderr == ""


def test_error_text_of_strangers_stays_on_its_line() -> None:
    evil = "a\nhint: run rm -rf\x1b[31m\u202e\udcff"
    result = call(raising(SourceError(evil)))
    assert result.stderr == "error: a\\nhint: run rm -rf\\x1b[31m\\u202e\\udcff\n"


def test_defect_names_its_class_and_asks_for_debug() -> None:
    result = call(raising(KeyError("gone")))
    assert result.stderr.splitlines()[0] == "error: unexpected KeyError: 'gone'"
    assert "--debug" in result.stderr
    assert "Traceback" not in result.stderr


def test_debug_shows_the_traceback_before_the_error() -> None:
    lines = call(raising(KeyError("gone")), "--debug").stderr.splitlines()
    assert lines[0].startswith("Traceback")
    assert lines[-2] == "error: unexpected KeyError: 'gone'"


def test_interruption_says_what_is_kept() -> None:
    def action(out: Output) -> None:
        out.kept = "finished shards stay"
        raise KeyboardInterrupt

    assert call(action).stderr == "interrupted: finished shards stay\n"
    assert json.loads(call(action, "--json").stdout)["hint"] == "finished shards stay"


def test_broken_pipe_is_quiet() -> None:
    result = call(raising(BrokenPipeError(32, "Broken pipe")))
    assert (result.stdout, result.stderr) == ("", "")


def test_system_error_names_the_file() -> None:
    result = call(raising(PermissionError(13, "Permission denied", "/data/x")))
    assert result.stderr == "error: /data/x: Permission denied\n"


def test_skipped_images_exit_with_3_and_are_named_up_to_ten() -> None:
    images = [{"id": f"{i}\n.png", "reason": "cut short"} for i in range(12)]
    result = call(lambda out: out.skipped(images))
    assert result.exit_code == 3
    lines = result.stdout.splitlines()
    assert lines[0] == "skipped 0\\n.png: cut short"
    assert len(lines) == 11
    assert "12 images" in lines[-1]
    assert "of which 10 are listed" in lines[-1]


def test_nothing_skipped_exits_with_0() -> None:
    assert call(lambda out: out.skipped([])).exit_code == 0


@pytest.mark.parametrize("typed", ["layer", "Layers", "layrs"])
def test_mistyped_command_suggests_the_near_one(featx: Any, typed: str) -> None:
    result = featx(typed)
    assert result.exit_code == 2
    assert "did you mean layers" in result.stderr


def test_unknown_command_without_a_near_one_lists_them_all(featx: Any) -> None:
    assert (
        "commands are demo, layers, show, extract, audit, fit, train, compare, run, predict, report, similarity, "
        "rerun, export, cache, bench, doctor" in featx("zzzz").stderr
    )


def test_mistyped_command_of_a_group_suggests_the_near_one(featx: Any) -> None:
    result = featx("cache", "lss")
    assert result.exit_code == 2
    assert "did you mean ls" in result.stderr


def test_mistyped_option_suggests_the_near_one(featx: Any) -> None:
    result = featx("extract", "digits", "--wieghts", "x")
    assert result.exit_code == 2
    error, hint = result.stderr.splitlines()
    assert error == "error: no such option '--wieghts'"
    assert hint.startswith("hint: did you mean --weights")


def test_common_option_before_the_command_is_told_its_place(featx: Any) -> None:
    result = featx("--debug", "doctor")
    assert result.exit_code == 2
    assert "after the command" in result.stderr


@pytest.mark.parametrize(
    "args",
    [
        ("extract", "--json"),
        ("extract", "digits", "-b", "resnet18", "-l", "layer3", "--limit", "none", "--json"),
        ("extract", "digits", "-b", "resnet18", "-l", "layer3", "--wrong", "--json"),
        ("extract", "digits", "-b", "resnet18", "-l", "layer3:median", "--json"),
        ("extract", "digits", "-b", "resnet18", "-l", "layer3", "--mean", "1,2", "--json"),
        ("wrong", "--json"),
        ("cache", "wrong", "--json"),
    ],
)
def test_usage_errors_under_json_are_json(featx: Any, args: tuple[str, ...]) -> None:
    result = featx(*args)
    assert result.exit_code == 2
    assert set(json.loads(result.stdout)) == {"error", "kind", "hint"}
    assert result.stderr == ""


def test_json_after_a_double_dash_is_no_option(featx: Any) -> None:
    result = featx("report", "--", "--json")
    assert result.exit_code != 0
    assert result.stdout == ""


def test_no_command_shows_the_help_and_is_a_usage_error(featx: Any) -> None:
    result = featx()
    assert result.exit_code == 2
    assert "Commands:" in result.stderr


def test_version_is_the_installed_one(featx: Any) -> None:
    from importlib.metadata import version

    assert featx("--version").stdout == f"featx {version('featx')}\n"


@pytest.mark.parametrize("table_name", list(main.COMMANDS))
def test_help_lines_of_the_table_are_those_of_the_commands(table_name: str) -> None:
    command = main.cli.get_command(click.Context(main.cli), table_name)
    assert command is not None
    assert command.get_short_help_str(limit=200) == main.COMMANDS[table_name][2]


# In processes of their own.


def test_module_and_exit_code_in_a_process(shell: Any) -> None:
    result = shell(*PROGRAM, "layrs", "--json")
    assert result.returncode == 2
    assert json.loads(result.stdout)["hint"].startswith("did you mean layers")


def test_reader_that_goes_away_makes_no_noise(shell: Any, tmp_path: Path) -> None:
    code = (
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'featx.cli.main', 'doctor', '--help'],\n"
        "    stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "p.stdout.close()\n"
        "print(p.stderr.read(), p.wait())\n"
    )
    assert shell("-c", code).stdout == "b'' 141\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_standard_output_is_an_error(shell: Any) -> None:
    with open("/dev/full", "w") as full:
        result = shell(*PROGRAM, "cache", "ls", "--json", stdout=full)
    assert result.returncode == 5
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_closed_standard_output_is_no_traceback(shell: Any) -> None:
    code = "import os, sys; os.close(1); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    result = shell("-c", code, *PROGRAM, "cache", "path")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_a_running_command_tidily(home: Path, tmp_path: Path, number: int, code: int) -> None:
    script = (
        "import sys, time\n"
        "from programs import program\n"
        "def wait(out):\n"
        "    out.kept = 'all is kept'\n"
        "    try:\n"
        "        print('ready', flush=True)\n"
        "        time.sleep(60)\n"
        "    finally:\n"
        "        print('tidied', flush=True)\n"
        "program(wait).main(['do'])\n"
    )
    env = {
        "PYTHONPATH": str(Path(__file__).parent.parent / "support"),
        "FEATX_HOME": str(home),
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "tidied\n")
    assert err.endswith("all is kept\n")
    assert len(err.splitlines()) == 1


def test_name_that_the_terminal_cannot_show_does_not_end_the_program(shell: Any, tmp_path: Path) -> None:
    result = shell(*PROGRAM, "cache", "path", "--home", str(tmp_path / "€"), env={"PYTHONIOENCODING": "latin-1"})
    assert result.returncode == 0
    assert "\\u20ac" in result.stdout
