"""Which part of an array a job is, as it is told or as Slurm and PBS say."""

from __future__ import annotations

import pytest

from featx.core.executors.here import Part
from featx.core.executors.job_arrays import share_of
from featx.errors import OptionError


def slurm(number: int, first: int, last: int, count: int) -> dict[str, str]:
    values = {"ID": number, "MIN": first, "MAX": last, "COUNT": count}
    return {f"SLURM_ARRAY_TASK_{name}": str(value) for name, value in values.items()}


@pytest.mark.parametrize(
    ("text", "variables", "share"),
    [
        ("0/4", {}, "0/4"),
        ("3/4", {}, "3/4"),
        ("slurm", slurm(0, 0, 7, 8), "0/8"),
        ("slurm", slurm(8, 1, 8, 8), "7/8"),
        ("slurm", slurm(6, 2, 10, 5), "2/5"),  # --array=2-10:2
        ("slurm", slurm(5, 5, 5, 1), "0/1"),
        ("pbs/8", {"PBS_ARRAY_INDEX": "7"}, "7/8"),
        ("pbs/2", {"PBS_ARRAYID": "1"}, "1/2"),
    ],
)
def test_a_part_is_what_is_said(text: str, variables: dict[str, str], share: str) -> None:
    assert str(share_of(text, variables)) == share


@pytest.mark.parametrize(
    ("text", "variables", "said"),
    [
        ("4/4", {}, "expected 0/4 to 3/4"),
        ("0/0", {}, "is of no parts"),
        ("1", {}, "expected i/n"),
        ("-1/4", {}, "expected i/n"),
        ("lsf", {}, "slurm or pbs"),
        ("slurm", {}, "SLURM_ARRAY_TASK_ID is not set"),
        ("slurm", slurm(5, 1, 7, 3), "equal steps"),  # --array=1,5,7
        ("slurm/4", slurm(0, 0, 3, 4), "expected slurm"),
        ("pbs", {"PBS_ARRAY_INDEX": "0"}, "expected pbs/n"),
        ("pbs/8", {}, "PBS_ARRAY_INDEX is not set"),
        ("pbs/8", {"PBS_ARRAY_INDEX": "8"}, "expected 0/8 to 7/8"),
        ("pbs/8", {"PBS_ARRAY_INDEX": "x"}, "is 'x'"),
    ],
)
def test_what_is_no_part_is_refused(text: str, variables: dict[str, str], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        share_of(text, variables)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_every_piece_falls_to_one_part(count: int) -> None:
    parts = [Part(f"{index}/{count}") for index in range(count)]
    for piece in range(20):
        assert sum(part.owns(piece) for part in parts) == 1


def test_a_part_runs_its_own_calls() -> None:
    assert [(done.index, done.value) for done in Part("1/3").run(pow, [(n, 2) for n in range(7)])] == [(1, 1), (4, 16)]
