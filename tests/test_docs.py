"""What the README and the documentation show works: their Python runs, and so do their featx commands."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from doc_blocks import SHELLS, Block, Command, blocks, check_names, commands, filled_in, parse

from featx.cli.main import cli
from featx.errors import FeatxError

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

COMPARED = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE

pytestmark = pytest.mark.usefixtures("one_thread")


def try_python(block: Block, names: dict[str, Any]) -> None:
    """Run a block of Python with what the blocks before it left, or only check its names."""
    if block.only_parsed:
        check_names(block.text)
    else:
        exec(compile(block.text, block.place, "exec"), names)


def try_command(block: Block, command: Command) -> None:
    """Run a command and compare what it says with what is shown, or only parse it."""
    if block.only_parsed:
        parse(command.words)
        return
    result = CliRunner().invoke(cli, filled_in(command.words))
    assert result.exit_code == 0, f"{block.place}: featx {' '.join(command.words)}\n{result.output}"
    if command.shown:
        checker, example = doctest.OutputChecker(), doctest.Example("", command.shown)
        said = checker.output_difference(example, result.stdout, COMPARED)
        assert checker.check_output(command.shown, result.stdout, COMPARED), f"{block.place}: {said}"


def try_block(block: Block, names: dict[str, Any]) -> None:
    """Try one block; what is neither Python nor a shell's is text."""
    if block.language == "python":
        try_python(block, names)
    if block.language in SHELLS:
        for command in commands(block):
            try_command(block, command)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_shows_works(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {"__name__": "reader"}
    for block in blocks(page):
        try_block(block, names)


def test_every_topic_shows_commands_that_run() -> None:
    for page in ("tutorial", "sources", "backbones", "probes", "training", "store", "reports"):
        run = [b for b in blocks(ROOT / f"docs/{page}.md") if b.language in SHELLS and not b.only_parsed]
        assert any(list(commands(block)) for block in run), page


MARKED = """\
<!-- parsed, not run: needs a download -->

```sh
featx fit cifar10 --pixels \\
    --C 0.1 > log.txt  # a note
# featx fit
```

```console
$ featx cache ls
nothing
```
"""


def test_blocks_are_read_as_a_shell_reads_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(MARKED)
    first, second = blocks(page)
    assert (first.place, first.only_parsed, second.only_parsed) == ("page.md:3", "needs a download", "")
    assert list(commands(first)) == [Command(("fit", "cifar10", "--pixels", "--C", "0.1"), "")]
    assert list(commands(second)) == [Command(("cache", "ls"), "nothing\n")]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("fit digits --pixles", "No such option"),
        ("cache lst", "no such command"),
        ("cache gc --max-size 5XB", "not a size"),
        ("train digits -b lenet5 --mode scartch", "scartch"),
    ],
)
def test_a_command_that_is_only_parsed_fails_where_an_option_was_renamed(words: str, said: str) -> None:
    with pytest.raises((click.UsageError, FeatxError)) as caught:
        parse(words.split())
    assert said.lower() in str(getattr(caught.value, "message", caught.value)).lower()


@pytest.mark.parametrize(
    "code",
    [
        "from featx import FeatureExtracter",
        "from featx import SoftmaxRegression\nSoftmaxRegression(c=1.0)",
        "from featx import load_source\nx = [load_source('digits', splitt='train')]",
    ],
)
def test_python_that_is_only_checked_fails_where_a_name_was_changed(code: str) -> None:
    with pytest.raises((AttributeError, TypeError)):
        check_names(code)


def test_a_shown_output_that_is_not_the_commands_fails(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ featx cache ls\n12 entries\n```\n\n```sh\nfeatx runs info nothing\n```\n")
    for block in blocks(page):
        with pytest.raises(AssertionError, match=block.place):
            try_block(block, {})
