"""``featx bench``: what it measures and says; how quick a network is, is no matter for tests."""

from __future__ import annotations

from typing import Any

import pytest

from featx.errors import OutOfMemoryError
from featx.extraction import benchmark as engine

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ("--seconds", "0.01", "--device", "cpu")


def test_json_holds_what_is_promised(featx_json: Any) -> None:
    code, found = featx_json("bench", "lenet5", "--batch-sizes", "1,4", "--precisions", "fp32,bf16", *QUICK)
    assert code == 0, found
    assert found["parameters"] == {"total": 62_006}
    assert found["bytes"] == 4 * 62_006
    assert found["macs"] == 651_720  # 28^2 * 6 * 75 + 10^2 * 16 * 150 + 400 * 120 + 120 * 84 + 84 * 10
    assert (found["device"], found["shape"], found["layer"]) == ("cpu", [3, 32, 32], None)
    timed = [(t["precision"], t["batch_size"]) for t in found["timings"]]
    assert timed == [("fp32", 1), ("fp32", 4), ("bf16", 1), ("bf16", 4)]
    for t in found["timings"]:
        assert t["passes"] >= engine.LEAST
        assert t["ms_per_image"] * t["images_per_second"] == pytest.approx(1000)


def test_people_are_told_the_same(featx: Any) -> None:
    result = featx("bench", "lenet5", "--size", "32", "--batch-sizes", "2", "--precisions", "fp32", *QUICK)
    assert result.exit_code == 0, result.stderr
    assert "62,006 parameters, 248 kB" in result.stdout
    assert "3 x 32 x 32: 652 K multiply-adds" in result.stdout


@pytest.mark.parametrize("head", ["linear", "flat-linear"])
def test_trained_run_is_timed_with_its_head(featx_json: Any, head: str) -> None:
    args = ("--limit", "40", "--epochs", "1", "--augment", "none", "--device", "cpu", "--head", head)
    _, run = featx_json("train", "digits", "-b", "lenet5", "--mode", "scratch", *args)
    for name in (run["run"], f"run:{run['run'][:-1]}"):
        code, found = featx_json("bench", name, "--batch-sizes", "2", "--precisions", "fp32", *QUICK)
        assert code == 0, found
        assert found["parameters"]["total"] == run["parameters"]["total"]
        assert found["shape"] == [1, 32, 32]


def test_fit_run_is_timed_up_to_its_layer(featx_json: Any) -> None:
    fit = ("fit", "digits", "-b", "lenet5", "--weights", "random:0", "-l", "pool1:avg", "--limit", "60")
    _, run = featx_json(*fit)
    code, found = featx_json("bench", run["run"], "--batch-sizes", "2", "--precisions", "fp32", *QUICK)
    assert code == 0, found
    assert (found["layer"], found["parameters"]["total"]) == ("pool1:avg", 6 * 25 + 6)
    assert found["macs"] == 28 * 28 * 6 * 25


def test_lack_of_memory_is_a_line_of_the_table(featx: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(once: Any, seconds: float) -> Any:
        raise OutOfMemoryError("memory ran out")

    monkeypatch.setattr(engine, "_passes", lacking)
    result = featx("bench", "lenet5", "--batch-sizes", "2", "--precisions", "fp32", *QUICK)
    assert result.exit_code == 0
    assert "out of memory" in result.stdout


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("nosuchnet",), "there is no backbone 'nosuchnet'"),
        (("lenet5", "--batch-sizes", "1,x"), "expected numbers"),
        (("lenet5", "--batch-sizes", "0"), "expected numbers"),
        (("lenet5", "--precisions", "fp31"), "expected some of fp32"),
        (("lenet5", "--seconds", "0"), "seconds"),
        (("lenet5", "--size", "8"), "cannot take 8 x 8 px"),
        (("pixels",), "--size"),
        (("lenet5", "--device", "cuda:99"), "cuda:99"),
    ],
)
def test_what_cannot_be_timed_is_said_in_a_line(featx: Any, args: tuple[str, ...], said: str) -> None:
    result = featx("bench", *args)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") <= 2
