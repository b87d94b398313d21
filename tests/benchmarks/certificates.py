"""Softmax regression's claims against long double, on random fits that are hard on floating point.

    python tests/benchmarks/certificates.py --fits 5000

Every fit's objective and its minimum are computed in long double (`tests/support/long_double.py`). Counted are bounds
that lie below the true distance from the minimum (violations; the reference's own rounding, 1e-17 of the objective,
apart), fits that call themselves converged and leave more than 1e-6, and fits without a bound. Exits with 1 where
there is any of the first two. 5,000 fits take about five minutes on two cores.
"""

from __future__ import annotations

import argparse
import sys
from multiprocessing import Pool
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from hard_fits import KINDS, Judged, draw, judge

PROMISED = 1e-6


def judged(seed: int) -> tuple[str, int, Judged]:
    """Return the fit's kind, its number and what became of it."""
    torch.set_num_threads(1)
    with np.errstate(all="ignore"):  # the reference tries what overflows
        fit = draw(seed)
        return fit.kind, seed, judge(fit)


def line(name: str, found: list[Judged]) -> str:
    """Return one row of the table."""
    converged = [one.excess for one in found if one.converged]
    gaps = [one.gap / one.minimum for one in found if one.gap is not None]
    return (
        f"| {name} | {len(found)} | {sum(one.is_violated for one in found)} | {len(found) - len(gaps)} "
        f"| {len(found) - len(converged)} | {sum(excess > PROMISED for excess in converged)} "
        f"| {np.median(converged):.1e} | {max(converged):.1e} | {np.median(gaps):.1e} |"
    )


def main() -> int:
    """Draw, fit, judge and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=5000)
    parser.add_argument("--first", type=int, default=10_000, help="number of the first fit: other numbers, other fits")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    with Pool(options.jobs) as pool:
        rows = pool.map(judged, range(options.first, options.first + options.fits), chunksize=8)
    print("| columns | fits | violations | no bound | not converged | above 1e-6 | median excess | worst | bound |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for kind in KINDS:
        print(line(kind, [one for name, _, one in rows if name == kind]))
    print(line("all", [one for _, _, one in rows]))
    wrong = [
        (kind, seed, one) for kind, seed, one in rows if one.is_violated or (one.converged and one.excess > PROMISED)
    ]
    for kind, seed, one in wrong:
        print(f"wrong: fit {seed} ({kind}): {one}")
    for kind, seed, one in rows:
        if not one.converged:
            print(f"not converged: fit {seed} ({kind}), {one.excess:.1e} above the minimum: {one.message}")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main())
