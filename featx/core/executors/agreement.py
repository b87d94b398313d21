"""Whether workers would give what this process would: the same versions, and the same code of featx."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from featx.core.executors.executor import Executor
from featx.core.executors.worker import worker_name
from featx.core.packages import version
from featx.errors import FeatxError, WorkerError

CODE = "featx's code"
"""What stands for the digest of featx's own modules among versions: one of them may be in the making."""


@functools.cache
def code_of(*packages: str) -> str:
    """Return the SHA-256, in part, over the modules of some packages."""
    digest = hashlib.sha256()
    for package in packages:
        for folder in map(Path, import_module(package).__path__):
            for path in sorted(folder.rglob("*.py")):
                digest.update(f"{package}/{path.relative_to(folder).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def check_versions(wanted: Iterable[tuple[str, str]], here: Mapping[str, str]) -> None:
    """Refuse to compute in this process, a worker, what other versions would give otherwise; WorkerError says which."""
    for name, expected in wanted:
        if here.get(name) != expected:
            raise WorkerError(
                f"worker {worker_name()} has {name} {here.get(name, 'not at all')}, expected {expected} as here",
                "install the same versions there as here",
            )


def refuse_others(executor: Executor, check: Callable[..., None], *arguments: Any) -> None:
    """Let each worker check whether it can take part.

    Parameters
    ----------
    executor : Executor
        Whose workers.
    check : callable
        Called with the arguments on each of them; raises where it cannot.

    Raises
    ------
    WorkerError
        Names the first that cannot.
    """
    for name, answer in executor.ask_all(check, *arguments).items():
        if isinstance(answer, BaseException):
            raise _refusal(name, answer) from answer


def _refusal(name: str, answer: BaseException) -> WorkerError:
    if isinstance(answer, WorkerError):
        return answer
    if isinstance(answer, FeatxError):
        return WorkerError(f"worker {name} cannot take part: {answer.message}", answer.hint)
    if isinstance(answer, ModuleNotFoundError):
        return WorkerError(
            f"worker {name} has no module {answer.name}, expected featx {version('featx')} as here",
            "install the same versions there as here",
        )
    return WorkerError(f"worker {name} cannot take part: {type(answer).__name__}: {str(answer)[:200]}", "")
