"""What ``featx fit`` says of a fit, for people."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from featx.cli import choosing
from featx.cli.calibrated import tell_calibration
from featx.cli.opening import tell_of_rows
from featx.cli.output import Output
from featx.cli.text import class_line, human_bytes
from featx.core.executors.executor import of_clocks


def tell(out: Output, record: dict[str, Any]) -> None:
    """Print a fit's result for people."""
    out.say(class_line(record["classes"]))
    if record["layers"]:
        _tell_layers(out, record)
    seconds, accuracy, loss = record["seconds"], record["accuracy"], record["loss"]
    draws = record["draw_scores"] or {}
    rows = [
        (p, record["rows"][p], _interval(accuracy[p], draws.get(p)), "" if math.isnan(loss[p]) else f"{loss[p]:.4f}")
        for p in ("train", "val", "test")
        if p in accuracy
    ]
    out.table(("part", ">rows", ">accuracy", ">loss"), rows)
    if record["search"]:
        search = record["search"]
        why = f"the best of {len(search['values'])} on the validation rows" if search["accuracy"] else "as published"
        out.say(f"{search['over']} = {search['chosen']:g}, {why}")
    choosing.tell_choice(out, record)
    if "val" not in accuracy:
        out.say("no validation rows: there is no validation score")
    if draws:
        out.say(f"means of {record['draws']} draws of {record['shots']} rows per class, with 95 % t-intervals")
    tell_calibration(out, record)
    for line in (record["calibration"] or {}).get("notes", ()):
        out.note(f"note: {line}")
    out.say(f"{_certificate(record)}{record['columns']} columns, {human_bytes(record['bytes'])}")
    stages = ", ".join(f"{stage} {seconds[stage]:.2f} s" for stage in ("extract", "read", "fit", "score"))
    out.say(f"{stages}; {record['computed']} rows computed, {record['reused']} reused")
    if "executor" in record["hardware"]:
        crowd = record["hardware"]["executor"]
        out.say(f"fitted by {crowd}{of_clocks(crowd)}")
    tell_of_rows(out, record)
    out.say(f"run {record['run']}")


def _tell_layers(out: Output, record: Mapping[str, Any]) -> None:
    rows = [
        (
            line["layer"],
            line["columns"],
            "" if line["bytes"] is None else human_bytes(line["bytes"]),
            "" if line["C"] is None else f"{line['C']:.3g}",
            f"{line['accuracy']['val']:.4f}" if "val" in line["accuracy"] else _dropped(line),
            f"{1000 * line['seconds']['fit']:.0f}",
        )
        for line in record["layers"]
    ]
    out.table(("layer", ">columns", ">bytes", ">C", ">val accuracy", ">fit ms"), rows)
    out.say(f"best on the validation rows: {record['layer']}")


def _dropped(line: Mapping[str, Any]) -> str:
    """Return with how many rows a halving dropped a layer."""
    return f"dropped with {line['dropped']['rows']} rows"


def _interval(accuracy: float, draws: Mapping[str, Any] | None) -> str:
    interval = (draws or {}).get("interval")
    return f"{accuracy:.4f}" if interval is None else f"{accuracy:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"


def _certificate(record: Mapping[str, Any]) -> str:
    """Return how far the fit went, for heads that are fitted by steps."""
    if record["converged"] is None:
        return ""
    said = f"{'converged' if record['converged'] else 'NOT converged'} in {record['n_iter']} iterations"
    if record["gradient_norm"] is not None:
        said += f", gradient norm {record['gradient_norm']:.1e}"
    if record["objective_gap"] is not None and record["objective"]:
        said += f", within {record['objective_gap'] / record['objective']:.0e} of the optimum"
    return f"{said}; "
