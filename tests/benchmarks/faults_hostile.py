"""Stores that somebody made up: nothing outside is read, no code runs, memory and time stay bounded."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from faults_child import Outcome, command, in_child
from faults_damage import LAYER, Victim, victim
from faults_table import Line, Options
from forgeries import FORGERIES, forge
from outside import Outside

from featx.errors import printable

MEMORY = 300 << 20
"""Bytes by which a command may grow over a made-up store of a few kB: torch's own first use is the most of them."""


def hostile(options: Options) -> Iterator[Line]:
    """Show every forgery to every command that reads a store."""
    attacked = victim(options.scratch)
    outside = Outside.at(options.scratch / "outside")
    for group in dict.fromkeys(name.partition(":")[0] for name in FORGERIES):
        chosen = {name: build for name, build in FORGERIES.items() if name.startswith(group + ":")}
        yield _attack(attacked, outside, group, chosen)


def _attack(
    attacked: Victim, outside: Outside, group: str, forgeries: dict[str, Callable[[Path, Outside], None]]
) -> Line:
    names = "reads outside", "code run", "crashes", "hangs", "memory", "raw escapes", "other errors"
    faults: Counter[str] = Counter(dict.fromkeys(names, 0))
    notes: Counter[str] = Counter()
    most = attempts = 0
    for name, build in forgeries.items():
        for what in COMMANDS:
            attacked.restore()
            shutil.rmtree(attacked.home / "elsewhere", ignore_errors=True)
            forge(attacked.folder, build, outside)
            words = _commands(attacked)[what]
            outside.arm()
            outcome = in_child(partial(_run, attacked, words))
            attempts += 1
            most = max(most, outcome.grown)
            found = _judge(outside, outcome)
            for fault in found:
                faults[fault] += 1
                print(f"  {fault}: {name}: {what}: {str(outcome.value)[-600:]!r}", flush=True)
            if outcome.kind == "ok":
                notes[f"exit {outcome.value[0]}"] += 1
    return Line("hostile stores", group, attempts, dict(faults), {**dict(sorted(notes.items())), "most MB": most >> 20})


COMMANDS = (
    *("ls", "ls --json", "info", "verify", "verify --repair", "gc", "fit"),
    *("export", "export --virtual", "merge", "rm"),
)


def _commands(attacked: Victim) -> dict[str, tuple[Any, ...]]:
    digest, out = attacked.folder.name, attacked.home.parent / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    road = ("-b", "lenet5", "--weights", "random:0", "--size", "28", "-l", LAYER, "--device", "cpu")
    return {
        "ls": ("cache", "ls"),
        "ls --json": ("cache", "ls", "--json"),
        "info": ("cache", "info", digest),
        "verify": ("cache", "verify"),
        "verify --repair": ("cache", "verify", "--repair"),
        "gc": ("cache", "gc", "--max-size", "1GB", "--dry-run"),
        "fit": ("fit", attacked.source, *road, "--batch-size", "4"),
        "export": ("cache", "export", digest, "-o", out / "x.npz"),
        "export --virtual": ("cache", "export", digest, "-o", out / "x.h5", "--virtual"),
        "merge": ("cache", "merge", attacked.home),
        "rm": ("cache", "rm", digest, "--yes"),
    }


def _run(attacked: Victim, words: tuple[Any, ...]) -> tuple[int, str]:
    home = attacked.home / "elsewhere" if words[:2] == ("cache", "merge") else attacked.home
    return command(*words, home=home)


def _judge(outside: Outside, outcome: Outcome) -> list[str]:
    found = [name for name, happened in outside.touched().items() if happened]
    if outcome.grown > MEMORY:
        found.append("memory")
    if outcome.kind != "ok":
        return [*found, {"crash": "crashes", "hang": "hangs"}.get(outcome.kind, "other errors")]
    code, said = outcome.value
    if any(printable(line) != line for line in said.splitlines()):
        found.append("raw escapes")
    if "Traceback" in said or "unexpected" in said or code not in (0, 1, 2, 3, 4):
        found.append("other errors")
    return found
