"""What a run says of its probabilities, and of what a calibration changed of them, as people read it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from featx.cli.output import Output
from featx.cli.text import counted
from featx.reports.rows import is_number, part_of

SAID = {"loss": "log loss", "brier": "Brier score", "ece": "ECE"}


def tell_calibration(out: Output, record: Mapping[str, Any]) -> None:
    """Say in a line how well the probabilities of the test rows are calibrated; nothing where there are none."""
    part = "test" if is_score(part_of(record, "ece", "test")) else "val"
    done = record.get("calibration")
    if done:
        before, after = (done[when].get(part, {}) for when in ("before", "after"))
        changed = ", ".join(f"{said} {before[name]:.4f} to {after[name]:.4f}" for name, said in SAID.items())
        rows = counted(done["rows"], "validation row", "validation rows")
        by = "" if done["model"] == OWN else f" by {done['model']}"
        within = f", within {done['objective_gap']:.0e} of the optimum"
        out.say(f"{done['method']} scaling on {rows}{by}, T = {done['temperature']:.4g}{within}")
        out.say(f"{part} before and after: {changed}")
    elif is_score(part_of(record, "ece", part)):
        from featx.core.calibration_error import BINS  # numpy

        brier, error = record["brier"][part], record["ece"][part]
        out.say(f"{part}: Brier score {brier:.4f}, expected calibration error ({BINS} bins of equal mass) {error:.4f}")


OWN = "the run's own"


def is_score(value: Any) -> bool:
    """Tell whether a score was found."""
    return is_number(value) and math.isfinite(value)
