"""One command run by several processes, as torchrun starts them: one speaks for all, and a failure ends them all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import click

from featx import errors
from featx.cli.failures import Failure, Terminated, explain, report
from featx.cli.output import Session
from featx.errors import FeatxError, OptionError
from featx.training.launch import check_address, launched
from featx.training.world import ALONE, LostProcessError, World, joined

TOGETHER = ("train",)
"""Commands that several processes run together."""

SECONDS = 5.0
"""So long process 0 has to tell of a failure; where it is gone too, another one tells."""

GRACE = 2.0
"""So long a process that failed has to say why, after the others lost it."""

ERROR, TOLD, TELLER = "featx/error", "featx/told", "featx/teller"
"""Keys of what the processes know of a failure: the first one's, that it was told, and by which of the others."""

_WORLD = "featx.cli.processes.world"


def check_command(name: str) -> None:
    """Refuse a command that several processes would each run whole; process 0 says so.

    Raises
    ------
    OptionError
        In process 0.
    click.exceptions.Exit
        In the others.
    """
    found = launched()
    if found.size > 1 and name not in TOGETHER:
        with one_speaks():
            raise OptionError(
                f"featx {name} was launched {found.size} times (WORLD_SIZE), and only {', '.join(TOGETHER)} runs in "
                "several processes",
                "launch it once, without torchrun",
            )


@contextlib.contextmanager
def one_speaks() -> Iterator[None]:
    """Keep all processes but process 0 quiet: of what is wrong in all of them, it tells."""
    if launched().first:
        yield
        return
    try:
        with _quiet():
            yield
    except (click.ClickException, FeatxError) as exc:
        time.sleep(SECONDS)  # a launcher ends all as soon as one ends
        raise click.exceptions.Exit(explain(exc, Session()).code) from exc


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Print no results, which process 0 prints, and no warnings."""
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def current() -> World:
    """Return the processes that run the current command."""
    world: World = click.get_current_context().meta.get(_WORLD, ALONE)
    return world


@contextlib.contextmanager
def together(ctx: click.Context) -> Iterator[None]:
    """Join the other processes, where there are some, for as long as a command runs.

    A failure, wherever it happened, is told once: by process 0, as long as it lives.
    """
    found, session = launched(), ctx.find_root().obj
    if found.size == 1:
        yield
        return
    with one_speaks():
        check_address()
    store = _meet()
    try:
        try:
            with joined() as world, contextlib.nullcontext() if found.first else _quiet():
                ctx.meta[_WORLD] = world
                yield
        finally:
            _leave()
    except (click.exceptions.Exit, SystemExit):
        raise
    except BaseException as exc:
        raise click.exceptions.Exit(_fail(exc, session or Session(), store)) from exc


def _meet() -> Any:
    """Open torch's process group, and return what the processes can still read when it is broken."""
    import torch

    found, dist = launched(), _distributed()
    try:
        store, rank, size = next(dist.rendezvous("env://"))
        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        dist.init_process_group(backend, store=dist.PrefixStore("group", store), rank=rank, world_size=size)
    except (RuntimeError, ValueError, OSError) as exc:
        where = ":".join(os.environ[name] for name in ("MASTER_ADDR", "MASTER_PORT"))
        said = str(exc).strip().splitlines() or [type(exc).__name__]
        raise LostProcessError(
            f"process {found.rank} of {found.size} did not meet the others at {where}: {said[0]:.200}",
            "launch all of them, and let them reach each other",
        ) from exc
    return dist.PrefixStore("featx", store)


def _distributed() -> Any:
    import torch.distributed

    return torch.distributed  # whose types lack what its C++ part defines


def _leave() -> None:
    """Close all connections: others that wait for this process then learn that it is gone."""
    import torch.distributed as dist

    with contextlib.suppress(RuntimeError, ValueError, AssertionError):
        dist.destroy_process_group()


def _fail(exc: BaseException, session: Session, store: Any) -> int:
    """Tell of a failure, or let it be told, and return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the launcher ends the others of a process that failed
        signal.signal(number, signal.SIG_IGN)
    failure = explain(exc, session)
    if not launched().first:
        return _fail_quietly(exc, failure, session, store)
    code = report(_first_failure(exc, store), session)
    _flush()
    with contextlib.suppress(RuntimeError):
        store.set(TOLD, "1")
    return code


def _fail_quietly(exc: BaseException, failure: Failure, session: Session, store: Any) -> int:
    if session.debug:
        traceback.print_exception(exc)
    try:
        if not isinstance(exc, (LostProcessError, Terminated)):
            store.compare_set(ERROR, "", json.dumps({**asdict(failure), "rank": launched().rank}))
        if _appears(store, TOLD, SECONDS):
            return failure.code
    except RuntimeError:
        pass  # the store was process 0's, and is gone with it
    with contextlib.suppress(RuntimeError):
        if store.compare_set(TELLER, "", str(launched().rank)) != str(launched().rank).encode():
            return failure.code
    return report(exc, Session(debug=session.debug))


def _first_failure(exc: BaseException, store: Any) -> BaseException:
    """Return what went wrong first: where others were lost, perhaps one of them said why."""
    if not isinstance(exc, (LostProcessError, Terminated)):
        return exc
    if isinstance(exc.__context__, LostProcessError):  # the launcher ended this process because of the other
        exc = exc.__context__
    try:
        if not _appears(store, ERROR, GRACE):
            return exc
        told: dict[str, Any] = json.loads(store.get(ERROR))
    except RuntimeError:
        return exc
    kind = getattr(errors, told["kind"], FeatxError)
    message = f"{told['error']} (in process {told['rank']})"
    return kind(message, told["hint"]) if issubclass(kind, FeatxError) else FeatxError(message, told["hint"])


def _appears(store: Any, key: str, seconds: float) -> bool:
    """Wait for a key, and tell whether it came; torch's own waiting complains where none does."""
    end = time.monotonic() + seconds
    while not store.check([key]):
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def _flush() -> None:
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
