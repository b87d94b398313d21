"""Help: every command has one, with examples, and it is quick because it imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import click
import pytest
from heavy import HEAVY, loaded_after

from featx.cli.main import COMMANDS, cli
from featx.core.specs import BackboneConfig, ExtractConfig
from featx.extraction.compute import SMALLEST_BATCH

CALLS = """
from featx.cli.main import cli
for args in {calls}:
    try:
        cli.main(args)
    except SystemExit as exc:
        assert exc.code == 0, args
"""


def walk(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from walk(command, (*path, name))


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_has_help_and_two_examples(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    nested = walk(command, (name,)) if isinstance(command, click.Group) else iter(())
    for path, each in [((name,), command), *nested]:
        text = each.get_help(each.context_class(each, info_name=" ".join(("featx", *path))))
        assert each.help, path
        examples = [line for line in text.splitlines() if line.strip().startswith(("featx ", "du "))]
        assert "Examples:" in text, path
        assert len(examples) >= 2, path
        for option in each.params:
            if isinstance(option, click.Option):
                assert option.help, (path, option.name)


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_takes_the_common_options(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    leaves = [each for _, each in walk(command)] if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        taken = {flag for parameter in leaf.params for flag in parameter.opts}
        assert {"--json", "--quiet", "--debug", "--home"} <= taken


def test_help_fits_80_columns(featx: Any) -> None:
    for path, _ in walk(cli):
        lines = featx(*path, "--help", terminal_width=80).stdout.splitlines()
        assert max(map(len, lines)) <= 80, path


@pytest.mark.parametrize("name", ["extract", "fit", "train"])
def test_options_stand_under_headings(name: str) -> None:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    text = command.get_help(command.context_class(command, info_name=f"featx {name}"))
    _, *sections = re.split(r"\n\n(?=[A-Z][a-z ]+:\n  -)", text)
    found = {section.split(":")[0]: re.findall(r"^  (?:-\w, )?(--[\w-]+)", section, re.M) for section in sections}
    assert found.pop("Other options") == ["--home", "--json", "--quiet", "--debug", "--help"]
    assert max(map(len, found.values())) <= 12
    assert "--weights" in found["Network"]
    assert "--size" in found["Preprocessing"]
    flags = [flag for flags in found.values() for flag in flags]
    given = {param.opts[-1] for param in command.params if isinstance(param, click.Option)}
    assert {*flags} == given - {"--home", "--json", "--quiet", "--debug"}
    assert len(flags) == len({*flags})


def test_list_of_commands_imports_no_command_and_nothing_heavy() -> None:
    modules = loaded_after(CALLS.format(calls=[["--help"]]))
    assert not {module for module, _, _ in COMMANDS.values()} & modules
    assert not set(HEAVY) & modules


def test_help_of_all_commands_imports_nothing_heavy() -> None:
    calls = [[*path, "--help"] for path, _ in walk(cli)]
    assert ["cache", "merge", "--help"] in calls
    modules = loaded_after(CALLS.format(calls=calls))
    assert {module for module, _, _ in COMMANDS.values()} <= modules
    assert not set(HEAVY) & modules


def test_help_shows_the_defaults_of_the_specs(featx: Any) -> None:
    text = " ".join(featx("extract", "--help").stdout.split())
    defaults = ExtractConfig()
    for value in (BackboneConfig.weights, defaults.precision, defaults.dtype, SMALLEST_BATCH, defaults.device):
        assert f"[default: {value}" in text
