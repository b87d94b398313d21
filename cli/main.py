"""The entry point: an interruption is answered from the first moment on, before the program itself is imported."""

from __future__ import annotations

import os
import signal
import sys

TYPE_CHECKING = False  # `typing` takes longer to load than everything here
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

CODE = 128 + signal.SIGINT
"""Exit code of an interrupted command."""

_SAID = "interrupted: nothing was written\n"
_SAID_AS_JSON = '{\n  "error": "interrupted",\n  "kind": "KeyboardInterrupt",\n  "hint": "nothing was written"\n}\n'


def main() -> None:
    """Run the command line and exit with its code.

    Until the program can tell an interruption as it tells other failures, one ends the process in its place: an
    exception in the middle of an import would show a traceback. Where interruptions are ignored (nohup), they stay so.
    """
    before = signal.getsignal(signal.SIGINT)
    listens = before is signal.default_int_handler
    if listens:
        signal.signal(signal.SIGINT, _end)
    from featx.cli.program import run

    try:
        if listens:
            signal.signal(signal.SIGINT, before)
        run()
    except KeyboardInterrupt:
        _end()
    finally:
        if listens:  # all is done and said; what Python tidies at its end is nobody's traceback
            signal.signal(signal.SIGINT, signal.SIG_DFL)


def _end(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    as_json = "--json" in sys.argv
    try:
        os.write(1 if as_json else 2, (_SAID_AS_JSON if as_json else _SAID).encode())
    finally:  # whoever listens
        os._exit(CODE)


def __getattr__(name: str) -> Any:
    # The program and its table of commands, for those who want them without running it.
    if name not in ("cli", "COMMANDS"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from featx.cli import program

    return getattr(program, name)


if __name__ == "__main__":
    main()
