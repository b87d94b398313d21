"""What commands print: tables, JSON, progress, on terminals and in pipes."""

from __future__ import annotations

import io
import json
import os
import pty
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.cli.output import Output, table_lines
from featx.cli.progress import LINE_SECONDS, MAX_SECONDS, LineProgress, show_progress
from featx.cli.text import human_age, human_bytes, human_count, human_seconds
from featx.errors import printable

ESC = "\x1b"


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_say_goes_to_standard_output_and_under_json_to_standard_error(capsys: Any) -> None:
    Output().say("one")
    Output(json=True).say("two")
    assert capsys.readouterr() == ("one\n", "two\n")


def test_quiet_keeps_results_and_drops_notes(capsys: Any) -> None:
    out = Output(quiet=True)
    out.say("result")
    out.note("by the way")
    assert capsys.readouterr() == ("result\n", "")


def test_json_and_quiet_print_the_document_only(capsys: Any) -> None:
    out = Output(json=True, quiet=True)
    out.say("for people")
    out.table(["a"], [[1]])
    out.note("by the way")
    with out.progress() as progress:
        progress("extract", 1, 1)
    out.result({"a": 1})
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"a": 1}
    assert shown.err == ""


def test_result_is_printed_under_json_only(capsys: Any) -> None:
    Output().result({"a": 1})
    assert capsys.readouterr().out == ""


def test_result_holds_numpy_paths_and_missing_numbers(capsys: Any) -> None:
    document = {"x": np.float32(0.5), "n": np.arange(2), "p": Path("a"), "loss": float("nan")}
    Output(json=True).result(document)
    assert json.loads(capsys.readouterr().out) == {"x": 0.5, "n": [0, 1], "p": "a", "loss": None}


def test_printable_spells_out_what_could_deceive() -> None:
    assert printable("a\tb\r\x1b[2J\u202e\udc80é") == "a\\tb\\r\\x1b[2J\\u202e\\udc80é"


def test_table_in_a_pipe_is_plain_and_whole(capsys: Any, home: Path) -> None:
    long = "x" * 200
    Output().table(["name", ">n"], [[long, 5], ["[red]b[/red]", 1234]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "n"]
    assert lines[1].split() == [long, "5"]
    assert lines[2].split() == ["[red]b[/red]", "1234"]
    assert {len(line) for line in lines} == {206}


def test_table_folds_into_the_width_and_loses_nothing() -> None:
    lines = table_lines(["name", ">n"], [["x" * 100, 5]], width=40, fancy=False)
    assert max(map(len, lines)) <= 40
    assert "".join(lines).count("x") == 100


def test_table_escapes_cells_of_strangers() -> None:
    lines = table_lines(["name"], [["a\nb\x1b[31m"]], width=80, fancy=False)
    assert lines[1] == "a\\nb\\x1b[31m"


def test_table_is_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    assert ESC in "".join(table_lines(["a"], [[1]], width=80, fancy=True))
    assert ESC not in "".join(table_lines(["a"], [[1]], width=80, fancy=False))


@pytest.mark.parametrize(("extra", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_terminal_decides_about_escape_sequences(shell: Any, extra: dict[str, str], coloured: bool) -> None:
    reader, writer = pty.openpty()
    code = (
        "from featx.cli.output import Output; out = Output(); out.table(['name'], [['zebra']])\n"
        "with out.progress() as step: step('extract', 1, 2); out.note('by the way'); step('extract', 2, 2)"
    )
    env = {"TERM": "xterm-256color", **extra}
    assert shell("-c", code, env=env, stdout=writer, stderr=writer).returncode == 0
    os.close(writer)
    shown = b""
    try:
        while part := os.read(reader, 4096):
            shown += part
    except OSError:  # what Linux says at a terminal's end
        pass
    os.close(reader)
    assert (ESC.encode() in shown) is coloured
    assert b"zebra" in shown
    assert b"by the way" in shown


class Clock:
    """Time that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines_of(steps: list[tuple[float, int]], total: int, stage: str = "extract") -> list[str]:
    """Return the lines for steps of (seconds, images done)."""
    clock, lines = Clock(), []
    progress = LineProgress(lines.append, "images", clock)
    for clock.now, done in steps:
        progress(stage, done, total)
    return lines


def test_progress_lines_tell_share_rate_and_remaining_time() -> None:
    lines = lines_of([(0, 0), (10, 200)], 1000)
    assert lines == ["extract: 200/1000 images (20 %), 20.0 images/s, 40 s left"]


def test_progress_counts_no_time_for_what_was_there_before() -> None:
    lines = lines_of([(0, 500), (10, 600)], 1000)
    assert "10.0 images/s, 40 s left" in lines[0]


def test_progress_lines_are_few() -> None:
    quick = lines_of([(i / 100, i) for i in range(101)], 100)
    assert quick == ["extract: 100/100 images (100 %), 100 images/s"]
    hour = lines_of([(i, i) for i in range(3601)], 3600)
    assert 10 <= len(hour) <= 3600 / MAX_SECONDS + 10


def test_progress_lines_keep_their_distance() -> None:
    assert lines_of([(0, 0), (LINE_SECONDS - 1, 50), (LINE_SECONDS, 50)], 100)[0].startswith("extract: 50/100")
    assert lines_of([(0, 0), (LINE_SECONDS - 1, 50)], 100) == []


def test_stage_that_was_done_already_says_nothing() -> None:
    assert lines_of([(0, 100)], 100) == []


def test_progress_escapes_its_stage() -> None:
    page = io.StringIO()
    with show_progress(page, fancy=False, quiet=False, unit="images") as progress:
        progress("a\x1b[31m", 0, 2)
        progress("a\x1b[31m", 2, 2)
    assert ESC not in page.getvalue()
    assert "\\x1b" in page.getvalue()


def test_bar_draws_every_stage_and_survives_markup() -> None:
    page = Terminal()
    with show_progress(page, fancy=True, quiet=False, unit="images") as progress:
        progress("[bold]one[/nope]", 1, 4)
        progress("two", 4, 4)
    assert "[bold]one[/nope]" in page.getvalue()
    assert "two" in page.getvalue()


def test_values_for_people() -> None:
    assert [human_count(n) for n in (0, 999, 1000, 1_814_073_344, 999_600)] == [
        "0",
        "999",
        "1.00 K",
        "1.81 G",
        "1.00 M",
    ]
    assert [human_bytes(n) for n in (512, 4096, 1_500_000)] == ["512 B", "4.10 kB", "1.50 MB"]
    assert [human_seconds(s) for s in (8.2, 200, 7500)] == ["8 s", "3 min 20 s", "2 h 5 min"]
    assert [human_age(s) for s in (3, 300, 10_800, 1_036_800)] == ["now", "5 min", "3 h", "12 d"]
