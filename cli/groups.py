"""Groups of commands that import a command only when it is called, and know what a typo may have meant."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from featx.cli.failures import conclude, settle, sigterm_raises
from featx.cli.output import Session
from featx.errors import speaking_options, suggest
from featx.training.launch import launched


class UnknownCommand(click.UsageError):
    """A command's name that does not exist."""

    def __init__(self, name: str, names: Sequence[str], ctx: click.Context) -> None:
        super().__init__(f"no such command {name!r}", ctx)
        self.hint = suggest(name, names) or f"commands are {', '.join(names)}"


class Group(click.Group):
    """A group that suggests near names and lists its commands in the order they were declared."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in declared order."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` names; UnknownCommand says what is near."""
        names = self.list_commands(ctx)
        if args[0] not in names and not args[0].startswith("-") and not ctx.resilient_parsing:
            raise UnknownCommand(args[0], names, ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """The program: commands stand in a table and are imported when called.

    Launched as several processes, it runs only what they can do together.

    Parameters
    ----------
    table : mapping of str to (module, attribute, help)
        Where a command lives, and its help in one line, so that the list needs no import.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str, str]], **options: Any) -> None:
        super().__init__(*args, **options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands' names in the table's order."""
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command; None if the table lacks it."""
        if cmd_name not in self.table:
            return None
        module, attribute, _ = self.table[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that `args` names; OptionError for one that several processes cannot share."""
        if launched().size > 1:
            from featx.cli.processes import check_command

            check_command(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in self.table.items()])

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the program and exit: every exception becomes one line and an exit code."""
        with speaking_options():
            if not standalone_mode or os.environ.get("_FEATX_COMPLETE"):
                return super().main(args, prog_name, complete_var, standalone_mode, **extra)
            sys.exit(self._run(list(sys.argv[1:] if args is None else args), prog_name or "featx"))

    def _run(self, args: list[str], prog_name: str) -> int:
        options = args[: args.index("--")] if "--" in args else args
        session = Session(json="--json" in options, debug="--debug" in options)
        try:
            with sigterm_raises():
                return settle(self._call(args, prog_name, session))
        except click.exceptions.Exit as exc:
            return settle(exc.exit_code)
        except SystemExit:
            raise
        except BaseException as exc:
            return conclude(exc, session)

    def _call(self, args: list[str], prog_name: str, session: Session) -> int:
        with self.make_context(prog_name, args, obj=session) as ctx:
            code: int | None = self.invoke(ctx)
        return code or 0
