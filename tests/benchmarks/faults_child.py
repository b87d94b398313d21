"""What an attack does to a store is seen in a forked child: it may crash, hang or swell, and this process stays."""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from featx.cache import folder
from featx.cli.failures import EXIT_CODES
from featx.errors import FeatxError

SECONDS = 10.0
_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """How a child fared.

    Parameters
    ----------
    kind : str
        ``ok``; ``refused`` by an error of featx's own; ``error`` of another class; ``crash``; ``hang``.
    value : object
        What the work returned; else what was said.
    hint : str
        Of a refusal.
    code : int
        The exit code that the command line would have.
    grown : int
        Bytes by which the child's memory grew at most.
    """

    kind: str
    value: Any = None
    hint: str = ""
    code: int = 0
    grown: int = 0


def in_child(work: Callable[[], Any], seconds: float = SECONDS) -> Outcome:
    """Run `work` in a forked child that has checked no file yet, and give it so many seconds."""
    (outcome,) = in_children([work], seconds)
    return outcome


def in_children(works: Sequence[Callable[[], Any]], seconds: float = SECONDS) -> Iterator[Outcome]:
    """Run one work after the other in a forked child; where it crashes or hangs another child goes on."""
    at = 0
    while at < len(works):
        ours, theirs = _FORK.Pipe(duplex=False)
        child = _FORK.Process(target=_serve, args=(works[at:], theirs))
        child.start()
        theirs.close()
        outcome = Outcome("ok")
        while at < len(works) and outcome.kind not in ("crash", "hang"):
            outcome = _next(ours, child, seconds)
            at += 1
            yield outcome
        ours.close()
        child.kill()
        child.join()


def _next(pipe: Connection, child: Any, seconds: float) -> Outcome:
    if not pipe.poll(seconds):
        return Outcome("hang", f"longer than {seconds:g} s")
    try:
        found: Outcome = pipe.recv()
    except EOFError:
        child.join()
        return Outcome("crash", f"exit code {child.exitcode}")
    return found


def _serve(works: Sequence[Callable[[], Any]], pipe: Connection) -> None:
    for work in works:
        folder._checked.clear()
        pipe.send(_outcome(work))
    pipe.close()
    os._exit(0)


def _outcome(work: Callable[[], Any]) -> Outcome:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        found = Outcome("ok", work())
    except FeatxError as exc:
        code = next(code for kind, code in EXIT_CODES if isinstance(exc, kind))
        found = Outcome("refused", exc.message, exc.hint, code)
    except BaseException as exc:
        found = Outcome("error", f"{type(exc).__name__}: {str(exc)[:200]}")
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    return replace(found, grown=grown)


def command(*words: str | Path, home: Path) -> tuple[int, str]:
    """Run the command line in this process, which is a child; return its exit code and all that it printed."""
    from featx.cli import main

    sys.argv = ["featx", *map(str, words), "--home", str(home)]
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(said):
        try:
            main.cli.main(prog_name="featx")
        except SystemExit as exc:
            return int(exc.code or 0), said.getvalue()
    return 0, said.getvalue()
