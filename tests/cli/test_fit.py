"""``featx fit``: what it promises in JSON, what it says, what it keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from drawn import explode
from programs import PROGRAM

from featx.core.run_folder import MODEL_FILE, Runs
from featx.portable import read_model
from featx.reports.formats import to_markdown
from featx.reports.rows import rows_of, to_text

pytestmark = pytest.mark.usefixtures("one_thread")

PIXELS = ("fit", "digits", "--pixels", "--limit", "300", "--device", "cpu")
LENET = ("fit", "digits", "-b", "lenet5", "--weights", "random:0", "--limit", "200", "--device", "cpu")


def test_json_holds_what_is_promised(featx_json: Any, home: Path) -> None:
    code, document = featx_json(*PIXELS, "--C", "0.5")
    assert code == 0
    assert {"run", "path", "converged", "gradient_norm", "objective", "n_iter", "C", "seconds"} <= set(document)
    assert set(document["accuracy"]) == set(document["loss"]) == {"train", "val", "test"}
    assert document["C"] == 0.5
    assert document["converged"] is True
    assert 0 <= document["gradient_norm"] <= 3e-5
    assert {"extract", "read", "fit", "score", "total"} == set(document["seconds"])
    assert document["rows"] == {"train": 240, "val": 30, "test": 30}
    assert (document["computed"], document["reused"], document["skipped"]) == (300, 0, [])
    (run,) = Runs(home).list()
    assert (run.id, str(run.path)) == (document["run"], document["path"])
    assert (run.path / MODEL_FILE).is_file()
    assert run.read()["command"][0] == "featx"
    record = run.read()
    assert isinstance(document.pop("checks"), list)
    assert {name: record.get(name) for name in document} == document


def test_pixels_of_all_digits(featx_json: Any) -> None:
    code, document = featx_json("fit", "digits", "--pixels")
    assert code == 0
    assert document["accuracy"]["test"] > 0.93
    assert document["columns"] == 64


def test_people_are_told_the_same(featx: Any, home: Path) -> None:
    result = featx(*PIXELS)
    assert result.exit_code == 0, result.stderr
    record = Runs(home).list()[0].read()
    for said in (f"{record['accuracy']['test']:.4f}", f"{record['loss']['val']:.4f}", record["run"], "converged in"):
        assert said in result.stdout
    assert "warning" not in result.stderr


def test_second_fit_computes_nothing(featx_json: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    _, first = featx_json(*LENET, "-l", "pool2")
    monkeypatch.setattr("featx.extraction.forward.Forward.__call__", explode)
    code, again = featx_json(*LENET, "-l", "pool2")
    assert code == 0
    assert (again["computed"], again["reused"]) == (0, 200)
    assert again["accuracy"] == first["accuracy"]
    assert again["run"] != first["run"]
    assert featx_json(*LENET, "-l", "pool1")[0] != 0  # what was never computed still is


def test_options_are_obeyed(featx_json: Any) -> None:
    losses = [featx_json(*PIXELS, "--C", c)[1]["loss"]["train"] for c in ("0.001", "1", "10")]
    assert losses == sorted(losses, reverse=True)
    _, scaled = featx_json(*PIXELS)
    _, plain = featx_json(*PIXELS, "--no-standardize")
    assert plain["objective"] != scaled["objective"]
    _, seeded = featx_json(*PIXELS, "--seed", "1")
    assert seeded["accuracy"] != scaled["accuracy"]
    _, few = featx_json("fit", "digits", "--pixels", "--per-class", "20")
    assert few["rows"] == {"train": 160, "val": 20, "test": 20}


def test_fit_that_did_not_converge_says_so(featx: Any, featx_json: Any) -> None:
    result = featx(*PIXELS, "--max-iter", "1")
    assert result.exit_code == 0
    assert "NOT converged" in result.stdout
    assert "did not converge" in result.stderr
    assert featx_json(*PIXELS, "--max-iter", "1")[1]["converged"] is False


def test_own_splits_are_kept_apart(featx_json: Any, fill: Any, tmp_path: Path) -> None:
    names = [f"{s}/{c}/{i}.png" for s, n in (("train", 12), ("val", 3), ("test", 4)) for c in "ab" for i in range(n)]
    fill(tmp_path / "data", names)
    args = ("fit", tmp_path / "data", "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg")
    assert featx_json(*args)[1]["rows"] == {"train": 24, "val": 6, "test": 8}
    assert featx_json(*args, "--test-split", "val")[1]["rows"] == {"train": 22, "val": 2, "test": 6}
    code, document = featx_json(*args, "--train-split", "val", "--test-split", "val")
    assert (code, document["kind"]) == (2, "OptionError")


def test_images_that_test_and_train_are_warned_of(featx: Any, tmp_path: Path, png: Any) -> None:
    for split, seeds in (("train", range(8)), ("test", range(6, 10))):
        for seed in seeds:
            path = tmp_path / "data" / split / "ab"[seed % 2] / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(seed))
    result = featx("fit", tmp_path / "data", "-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg")
    assert result.exit_code == 0, result.stderr
    assert "2 test images" in result.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("fit", "digits"), "--pixels"),
        (("fit", "digits", "-b", "lenet5"), "layer"),
        ((*LENET, "-l", "pool2", "-o", "map.png"), "nothing to plot"),
        ((*PIXELS, "--sweep", "dinov2", "--C", "2"), "--sweep dinov2 chooses --C"),
        ((*PIXELS, "--sweep", "dinov2", "--no-standardize"), "chooses --standardize"),
        ((*PIXELS, "--sweep", "dino"), "dinov2"),
        ((*PIXELS, "--head", "forest"), "softmax"),
        ((*PIXELS, "--head", "knn", "--penalty", "l1"), "--head is knn"),
        ((*PIXELS, "-b", "lenet5"), "--pixels"),
        ((*PIXELS, "-l", "pixels"), "--pixels"),
        (("fit",), "SOURCE"),
    ],
)
def test_what_to_fit_on_must_be_clear(featx: Any, home: Path, args: tuple[str, ...], said: str) -> None:
    result = featx(*args)
    assert result.exit_code == 2
    assert said.lower() in result.stderr.lower()
    assert not home.exists()


def test_several_layers_name_the_best_and_show_no_other_test_score(
    featx: Any, featx_json: Any, home: Path, tmp_path: Path
) -> None:
    args = (*LENET, "-l", "pool2", "-l", "fc*", "-o", tmp_path / "map.png")
    result = featx(*args)
    assert result.exit_code == 0, result.stderr
    record = Runs(home).list()[0].read()
    assert [line["layer"] for line in record["layers"]] == ["pool2", "fc1", "fc2", "fc3"]
    assert f"best on the validation rows: {record['layer']}" in result.stdout
    best = max(line["accuracy"]["val"] for line in record["layers"])
    assert record["accuracy"]["val"] == best
    assert all("test" in line["accuracy"] for line in record["layers"])  # the record keeps all
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    code, document = featx_json(*args)
    assert code == 0
    assert document["layer"] == record["layer"]
    assert all(set(line["accuracy"]) == {"train", "val"} for line in document["layers"])
    assert read_model(Path(document["path"]) / MODEL_FILE).coef.shape[1] == document["columns"]


def test_a_sweep_records_what_it_tried(featx_json: Any, home: Path, tmp_path: Path) -> None:
    code, document = featx_json(*PIXELS, "--sweep", "clip", "-o", tmp_path / "sweep.png")
    assert code == 0
    assert document["sweep"] == "clip"
    assert document["C"] == document["search"]["chosen"]
    assert "2103.00020" in document["search"]["origin"]
    assert len(document["search"]["values"]) == len(document["search"]["accuracy"]) >= 11
    assert (document["standardize"], document["normalize"]) == (False, None)
    assert 0 <= document["objective_gap"] < 1e-3 * document["objective"]
    assert (tmp_path / "sweep.png").read_bytes()[:4] == b"\x89PNG"
    assert "sweep=clip" in to_text(rows_of(Runs(home).list()))


@pytest.mark.parametrize("head", ["knn", "centroid", "lda", "svm", "ridge"])
def test_other_heads_are_fitted_recorded_and_reported(featx: Any, home: Path, head: str) -> None:
    result = featx(*PIXELS, "--head", head)
    assert result.exit_code == 0, result.stderr
    (run,) = Runs(home).list()
    record = run.read()
    assert record["head"] == head
    assert record["accuracy"]["test"] > 0.7
    assert (record["loss"]["test"] is None) == (head in ("centroid", "svm", "ridge"))
    assert (run.path / MODEL_FILE).is_file() == (head != "knn")
    assert head in to_text(rows_of([run]))
    assert head in to_markdown(rows_of([run]))


def test_few_labels_have_an_interval(featx: Any, featx_json: Any) -> None:
    args = (*PIXELS, "--shots", "3", "--draws", "4")
    code, document = featx_json(*args)
    assert code == 0
    told = document["draw_scores"]["test"]
    assert told["n"] == 4
    assert told["interval"][0] < document["accuracy"]["test"] < told["interval"][1]
    assert document["rows"]["train"] == 30
    assert "4 draws of 3 rows per class" in featx(*args).stdout


def test_the_certificate_is_told(featx: Any) -> None:
    assert "of the optimum" in featx(*PIXELS).stdout


def test_a_fit_that_does_not_converge_is_told_in_one_line(featx: Any, shell: Any, home: Path) -> None:
    assert featx("extract", "digits", "-b", "pixels", "-l", "pixels").exit_code == 0
    done = shell(*PROGRAM, "fit", "digits", "--pixels", "--max-iter", "1")
    assert done.returncode == 0
    (line,) = [line for line in done.stderr.splitlines() if "max_iter" in line]
    assert "Warning" not in done.stderr
    assert "gradient norm" in line
    assert "NOT converged" in done.stdout


def test_simclrs_recipe_has_no_c_and_nothing_to_draw(featx: Any, featx_json: Any, tmp_path: Path) -> None:
    code, document = featx_json("fit", "digits", "--pixels", "--sweep", "simclr-sgd")
    assert code == 0
    assert document["C"] is None
    assert document["search"]["values"] == [90]
    assert "epochs = 90, as published" in featx("fit", "digits", "--pixels", "--sweep", "simclr-sgd").stdout
    drawn = featx("fit", "digits", "--pixels", "--sweep", "simclr-sgd", "-o", tmp_path / "map.png")
    assert drawn.exit_code == 2
    assert not (tmp_path / "map.png").exists()


def test_what_is_doubtful_about_a_fit_is_noted_at_its_end_with_a_remedy(featx: Any, featx_json: Any) -> None:
    done = featx("fit", "digits", "--pixels", "--limit", "100", "--seeds", "0,1")
    notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
    assert [line.split(": ")[1] for line in notes] == ["few-test-images"]
    assert "-fit-" in notes[0]
    assert "a larger --limit" in notes[0]
    _, document = featx_json("fit", "digits", "--pixels", "--limit", "100")
    assert [check["code"] for check in document["checks"]] == ["few-test-images"]


def test_of_a_fit_without_doubts_nothing_is_noted(featx: Any) -> None:
    done = featx("fit", "digits", "--pixels", "--C", "0.1")
    assert "note: " not in done.stderr
