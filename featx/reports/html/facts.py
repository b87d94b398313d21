"""What the runs learnt from, what they were told, and the commands that repeat them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featx.data.missing_classes import missing_lines, missing_of
from featx.errors import first_few
from featx.reports.html.content import Content, ReadRun
from featx.reports.html.markup import Safe, details, esc, joined, mapping, name, shortened, within
from featx.reports.html.tables import table
from featx.reports.identity import FOUND
from featx.reports.rows import PATHS, is_number, line_text, short_name

SETS = 6
"""So many data sets are told of in full."""

NAMED = 200
"""Classes that are named."""

NOT_OPTIONS = {*FOUND, "id", "run", "path", "command", "classes", "layers", "asked", "test_by_seed", "kind"} - {"keys"}
"""What is shown elsewhere in the report, or is a result."""

FILES = (*PATHS, "weights_file", "origin")
"""Options that may be paths: where they lie on its author's machine is no part of a report that is sent."""

RUN_BYTES, COMMAND_BYTES = 60_000, 35_000
"""Of what is told of the runs one by one."""


def data_facts(content: Content) -> Safe:
    """Return what is known of each data set, and of each choice of its rows."""
    seen: dict[str, ReadRun] = {}
    for place in range(len(content.rows)):
        run = content.runs_of(place)[0]
        facts = _facts(run.record)
        seen.setdefault(repr(facts), run)
    parts = [_set(run) for run in [*seen.values()][:SETS]]
    more = len(seen) - SETS
    note = f'<p class="note">{more} more are in the records: featx report --json.</p>' if more > 0 else ""
    return Safe(joined(parts) + note)


def _facts(record: Mapping[str, Any]) -> list[Any]:
    keys = ("source", "classes", "rows", "splits", "conflicting", "shared_with_test", "excluded_rows")
    return [record.get(key) for key in keys]


def _set(run: ReadRun) -> Safe:
    lines = [[head, cell] for head, cell in _set_lines(run.record) if cell]
    return table(
        f"{short_name(run.record.get('source'))}, of run {run.id}", ["fact", ""], lines, [True, True], kind="facts"
    )


def _set_lines(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    found = record.get("classes")
    classes = [shortened(one, 60) for one in found] if isinstance(found, list) else []
    yield "source", name(short_name(record.get("source")))
    if classes:
        bdi = ", ".join(name(one) for one in classes[:NAMED])
        more = f" and {len(classes) - NAMED:,} more" if len(classes) > NAMED else ""
        yield "classes", Safe(f"{len(classes):,}: {bdi}{more}")
    splits, rows = mapping(record.get("splits")), mapping(record.get("rows"))
    for part in ("train", "val", "test"):
        if part in rows or part in splits:
            count = f"{rows[part]:,} images" if is_number(rows.get(part)) else "no images"
            yield f"{part} rows", count + (f", of split {line_text(splits[part])}" if part in splits else "")
    yield (
        "missing",
        "; ".join(missing_lines(missing_of(record), len(classes) or None)) or "every part has images of every class",
    )
    yield "test images also learnt from", _count(record.get("shared_with_test"))
    excluded = mapping(record.get("excluded_rows"))
    yield "left out by --exclude", ", ".join(f"{line_text(n)} of {split}" for split, n in excluded.items())
    conflicting = mapping(record.get("conflicting"))
    if conflicting:
        yield "images under several classes", _count(conflicting.get("images"))
    unlabelled = mapping(record.get("unlabelled"))
    yield "without a label", ", ".join(f"{line_text(n)} in {part}" for part, n in unlabelled.items())
    skipped = record.get("skipped")
    if isinstance(skipped, list) and skipped:
        ids = [shortened(mapping(one).get("id", one), 80) for one in skipped]
        yield "left out, not readable", f"{len(ids):,}: {first_few(ids, 10)}"


def _count(value: Any) -> str:
    return ("none" if value == 0 else f"{value:,}") if is_number(value) else ""


def options(content: Content) -> Safe:
    """Return every option, version, device and key: those that all runs share once, the others run by run."""
    told = [dict(_leaves(run.record)) for run in content.runs]
    names = dict.fromkeys(key for found in told for key in found)
    same = {key: told[0][key] for key in names if all(found.get(key) == told[0].get(key) for found in told)}
    heading = "Of this run" if len(told) == 1 else f"Same for all {len(told)} runs"
    shared = table(
        heading, ["name", "value"], [[key, value] for key, value in same.items()], [True, True], limit=40_000
    )
    pieces = [
        _run(run, {k: v for k, v in found.items() if k not in same})
        for run, found in zip(content.runs, told, strict=True)
    ]
    kept, left_out = within([piece for piece in pieces if piece], content.room(RUN_BYTES))
    more = f'<p class="note">{left_out:,} more runs are left out; featx report --json has all.</p>' if left_out else ""
    apart = f'<dl class="note">{joined(kept)}</dl>{more}' if kept else ""
    return Safe(details(heading, shared) + (details("Run by run, what differs", apart) if apart else ""))


def _run(run: ReadRun, found: Mapping[str, str]) -> str:
    if not found:
        return ""
    said = "; ".join(f"{esc(key, 80)} <code>{esc(value, 150)}</code>" for key, value in found.items())
    return f"<dt><strong>{esc(run.id)}</strong></dt><dd>{said}</dd>\n"


def _leaves(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key, value in record.items():
        if key in NOT_OPTIONS or value is None or value in ({}, [], ""):
            continue
        if isinstance(value, dict):
            yield from ((f"{key}.{inner}", _text(part)) for inner, part in value.items() if part not in (None, {}, []))
        else:
            yield key, short_name(value) if key in FILES else _text(value)


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else shortened(value)


def commands(content: Content) -> Safe:
    """Return the command of each run, as a shell reads it."""
    pieces = [_commands(content, place) for place in range(len(content.rows))]
    kept, left_out = within([piece for piece in pieces if piece], content.room(COMMAND_BYTES))
    more = f'<p class="note">{left_out:,} more rows are left out; featx report --json has all.</p>' if left_out else ""
    note = '<p class="note">In the folder where they were given; `featx rerun RUN` repeats a run and compares it.</p>'
    return Safe(f"{note}{joined(kept)}{more}") if kept else Safe("")


def _commands(content: Content, place: int) -> str:
    lines: Sequence[str] = [line for run in content.runs_of(place) if (line := _command(run.record))]
    if not lines:
        return ""
    shown = "\n".join(esc(line, 1000) for line in dict.fromkeys(lines))
    return f"<h3>{name(content.label(place), 120)}</h3><pre><code>{shown}</code></pre>\n"


def _command(record: Mapping[str, Any]) -> str:
    words = record.get("command")
    return shlex.join(map(str, words)) if isinstance(words, list) else ""
