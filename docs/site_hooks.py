"""What mkdocs does not do by itself: find the packages, and write the command line's page from click.

mkdocstrings reads files and imports nothing, so it looks for ``featx/cache``; the checkout has it at the top
(`package_dir` in setup.cfg).
"""

from __future__ import annotations

import configparser
import html
import inspect
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.plugins import event_priority

from featx.cli.main import cli

_PLACE = "<!-- the commands -->"
_TREE = tempfile.TemporaryDirectory()  # lives as long as this process


@event_priority(100)  # before mkdocstrings reads its paths
def on_config(config: Any) -> Any:
    """Let mkdocstrings find all packages of the checkout, and `mkdocs serve` watch them."""
    top = Path(config.config_file_path).parent
    places = package_folders(top)
    link_packages(places, Path(_TREE.name))
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [_TREE.name]
    config.watch.extend(str(folder) for folder in places.values())
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put the commands where a page asks for them."""
    return markdown.replace(_PLACE, "\n".join(describe(cli, _context(cli, "featx"))))


def package_folders(top: Path) -> dict[str, Path]:
    """Return where setup.cfg says that packages lie: name -> folder."""
    setup = configparser.ConfigParser()
    setup.read(top / "setup.cfg", "utf-8")
    lines = setup["options"]["package_dir"].split("\n")
    return {name.strip(): top / place.strip() for name, _, place in (line.partition("=") for line in lines if line)}


def link_packages(places: dict[str, Path], tree: Path) -> None:
    """Lay the packages out as they are imported, by links."""
    for name, folder in sorted(places.items()):
        inside = tree / name.replace(".", "/")
        inside.mkdir(exist_ok=True)
        for path in folder.iterdir():
            if path.name != "__pycache__" and not (inside / path.name).exists():
                (inside / path.name).symlink_to(path)


def describe(command: click.Command, ctx: click.Context) -> Iterator[str]:
    """Write a command, and those below it, as Markdown."""
    path = ctx.command_path
    if ctx.parent:
        yield f"{'#' * (path.count(' ') + 1)} {path} {{ #{path.replace(' ', '-')} }}\n"
    yield from _prose(inspect.cleandoc(command.help or ""))
    yield f"```text\n{path} {' '.join(command.collect_usage_pieces(ctx))}\n```\n"
    yield from _options(command, ctx)
    if isinstance(command, click.Group):
        for name in command.list_commands(ctx):
            below = command.get_command(ctx, name)
            assert below is not None, name
            yield from describe(below, _context(below, name, ctx))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    return command.context_class(command, parent, name, **command.context_settings)


def _prose(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        if paragraph.startswith("\b"):
            title, *lines = paragraph.split("\n")[1:]
            yield f"**{title}**\n\n```sh\n" + "\n".join(line.strip() for line in lines) + "\n```\n"
        else:
            yield _plain(paragraph) + "\n"


def _options(command: click.Command, ctx: click.Context) -> Iterator[str]:
    """Write a table of options for each heading, in the order of the command's help."""
    tables: dict[str, list[tuple[str, str]]] = {}
    for option in command.get_params(ctx):
        record = option.get_help_record(ctx)
        if record:
            tables.setdefault(getattr(option, "heading", ""), []).append(record)
    for heading in sorted(tables, key=lambda heading: not heading):  # those without one come last
        yield f"| {heading or ('option' if len(tables) == 1 else 'Other options')} | meaning |\n| --- | --- |"
        for names, text in tables[heading]:
            yield f"| <code>{html.escape(names).replace('|', '&#124;')}</code> | {_plain(text)} |"
        yield ""


def _plain(text: str) -> str:
    """Escape what Markdown would take for its own; what stands in backticks stays code."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([\\*_\[\]<>|#])", r"\\\1", part) for part in parts)
