"""``featx predict RUN --mistakes FILE``: the test images that a run got wrong, without the images themselves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from featx.cli.given import refuse
from featx.cli.output import Output
from featx.cli.targets import check_report
from featx.cli.text import counted
from featx.errors import OptionError

if TYPE_CHECKING:
    from featx.core.run_folder import Run

FLAG = "--mistakes"
OF_IMAGES = (
    *("top", "format", "split", "root", "limit", "weights"),
    *("batch_size", "device", "workers", "on_error"),
)
"""Options without effect where no image is predicted."""


def write_mistakes(out: Output, run: Run, images: tuple[str, ...], file: Path) -> None:
    """Write the misclassified images of a run's own test predictions, and say how many they are."""
    from featx.core.outputs import write_output
    from featx.reports.mistakes import mistakes_csv, mistakes_of

    if images:
        raise OptionError(
            f"{FLAG} is about the run's own test images, and others were given", f"leave out {FLAG}, or the images"
        )
    refuse(OF_IMAGES, f"beside {FLAG}")
    check_report(file, FLAG, "mistakes.csv")
    found = mistakes_of(run)
    write_output(file, mistakes_csv(found.wrong).encode("utf-8", "backslashreplace"))
    if run.read().get("shots") is not None:
        out.note("of the first draw of training rows; the run's accuracy is the mean over all draws")
    share = f" ({len(found.wrong) / found.images:.4f})" if found.images else ""
    out.say(f"wrote {file}: {len(found.wrong):,} of {counted(found.images, 'test image', 'test images')} wrong{share}")
    wrong = [asdict(one) for one in found.wrong]
    out.result({"run": found.run, "path": str(file), "images": found.images, "mistakes": wrong})
