"""``featx export``: files that other programs run, and that give what featx predicts."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from runs_once import RunsOnce
from safetensors import safe_open

import featx
from featx.core.run_folder import RECORD_FILE
from featx.data.sources import load_source

pytestmark = pytest.mark.usefixtures("one_thread")

FEW = ("--limit", "100")
TRAIN = ("--epochs", "1", "--augment", "none", "--device", "cpu", "--lr", "0.01")
VIT = ("-b", "timm:test_vit", "--weights", "random:0", "--size", "32")
RUNS: dict[str, tuple[str, ...]] = {
    "pixels": ("fit", "--pixels", "--normalize", "l2", "--mean", "0.3", "--std", "0.2"),
    "LeNet": ("fit", "-b", "lenet5", "--weights", "random:3", "-l", "pool2", "--dtype", "float16"),
    "LeNet, trained": ("train", "-b", "lenet5", "--mode", "scratch", *TRAIN),
    "frozen, head kept alone": ("train", "-b", "lenet5", "--weights", "random:1", "--mode", "frozen", *TRAIN),
    "flat head": ("train", "-b", "lenet5", "--mode", "scratch", "--head", "flat-mlp:8:dropout=0.2", *TRAIN),
    "own": ("fit", "-b", "own.py:gated", "--size", "16", "-l", "norm:avg3"),
    "ViT": ("fit", *VIT, "-l", "blocks.0:cls", "--head", "lda"),
    "mobile": ("fit", "-b", "timm:test_efficientnet", "--weights", "random:0", "--size", "32", "-l", "blocks.2:avg"),
}
MORE = {"LeNet, trained": (".pt2", ".safetensors"), "own": (".pt2", ".safetensors")}
"""Runs that are exported in other formats too."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> RunsOnce:
    """Each kind of run, made once."""
    commands = {name: (command, "digits", *options, *FEW) for name, (command, *options) in RUNS.items()}
    return RunsOnce(tmp_path_factory.mktemp("shared"), commands)


@pytest.fixture
def made(runs: RunsOnce, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Return the document of one of `RUNS`, whose folder is copied into this test's home."""
    monkeypatch.chdir(tmp_path)
    return partial(runs.into, home)


@pytest.mark.parametrize("name", list(RUNS))
def test_an_exported_model_gives_what_featx_predicts(made: Any, featx_json: Any, name: str) -> None:
    run = made(name)["run"]
    for ending in (".onnx", *MORE.get(name, ())):
        code, found = featx_json("export", run, "-o", f"model{ending}", "--images", "12")
        assert code == 0, found
        assert (found["format"], found["images"], found["path"]) == (ending[1:], 12, f"model{ending}")
        assert found["largest_difference"] < 1e-4
        assert Path(found["path"]).stat().st_size == found["bytes"]


def test_the_onnx_file_alone_tells_how_to_run_it(made: Any, featx_json: Any) -> None:
    run = made("LeNet, trained")
    featx_json("export", run["run"], "-o", "model.onnx")
    onnx.checker.check_model("model.onnx", full_check=True)
    session = onnxruntime.InferenceSession("model.onnx")
    (image,), (logits,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["n", 1, 32, 32])
    assert (logits.name, logits.shape) == ("logits", ["n", 10])
    about = session.get_modelmeta().custom_metadata_map
    card = json.loads(about["card"])
    assert json.loads(about["classes"]) == card["classes"] == run["classes"]
    assert (card["run"], card["source"], card["accuracy"]["test"]) == (run["run"], "digits", run["accuracy"]["test"])
    assert card["preprocessing"]["crop"] == 32
    assert str(Path.cwd()).encode() not in Path("model.onnx").read_bytes()

    code, predicted = featx_json("predict", run["run"], "digits", "--limit", "20")
    assert code == 0
    digits = load_source("digits")
    rows = [digits.ids.index(one["id"]) for one in predicted["predictions"]]
    from PIL import Image

    images = [Image.fromarray(digits[row][0][..., 0]).resize((32, 32), Image.Resampling.BILINEAR) for row in rows]
    given = np.stack([np.asarray(one, np.float32)[None] / 255 for one in images])
    (found,) = session.run(None, {"image": given})
    assert [card["classes"][at] for at in found.argmax(1)] == [one["classes"][0] for one in predicted["predictions"]]


def test_torch_alone_runs_the_exported_program(made: Any, featx_json: Any) -> None:
    code, found = featx_json("export", made("ViT")["run"], "-o", "model.pt2", "--images", "12")
    assert (code, found["largest_difference"] < 1e-4) == (0, True)
    extra = {"featx.json": ""}
    program = torch.export.load("model.pt2", extra_files=extra)
    assert json.loads(extra["featx.json"])["backbone"] == "timm:test_vit.r160_in1k"
    assert program.module()(torch.rand(3, 3, 32, 32)).shape == (3, 10)
    with zipfile.ZipFile("model.pt2") as file:
        content = b"".join(map(file.read, file.namelist()))
    assert not any(
        str(place).encode() in content for place in (Path(torch.__file__).parent, Path(featx.__file__).parent)
    )


def test_tensors_have_the_networks_own_names(made: Any, featx_json: Any) -> None:
    run = made("mobile")["run"]
    featx_json("export", run, "-o", "model.safetensors")
    with safe_open("model.safetensors", "numpy") as file:
        names = set(file.keys())
        card = json.loads(file.metadata()["featx"])
    assert {"mean", "std", "head.weight", "head.bias", "network.conv_stem.weight", "network.bn1.running_var"} <= names
    assert not any("blocks.3" in name or "classifier" in name for name in names)
    assert (card["layer"], card["head"]) == ("blocks.2:avg", "softmax")


REFUSED = {
    ("fit", "--pixels", "--head", "knn"): "keeps no model",
    ("fit", "-b", "lenet5", "--weights", "random:3", "-l", "pool2", "--flip"): "averages views",
}


@pytest.mark.parametrize("options", list(REFUSED))
def test_what_cannot_be_exported_is_refused_in_one_line(featx_json: Any, tmp_path: Path, options: Any) -> None:
    command, *rest = options
    _, run = featx_json(command, "digits", *rest, "--limit", "100")
    code, said = featx_json("export", run["run"], "-o", tmp_path / "model.onnx")
    assert code == 2
    assert REFUSED[options] in said["error"]
    assert said["hint"]
    assert not list(tmp_path.glob("model*"))


def test_a_wrong_name_is_answered_before_anything_is_opened(featx_json: Any, tmp_path: Path) -> None:
    code, said = featx_json("export", "20261121", "-o", tmp_path / "model.tflite")
    assert (code, said["kind"]) == (2, "OptionError")
    assert ".onnx, .pt2 or .safetensors" in said["error"]
    code, said = featx_json("export", "20261121", "-o", tmp_path / "missing" / "model.onnx")
    assert (code, "does not exist" in said["error"]) == (2, True)


def test_without_the_extra_one_line_says_what_to_install(
    featx_json: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = lambda name: None if name == "onnxscript" else object()  # noqa: E731
    monkeypatch.setattr("featx.runs.export_formats.find_spec", found)
    code, said = featx_json("export", "20261121", "-o", tmp_path / "model.onnx")
    assert (code, said["hint"]) == (2, "pip install 'featx[onnx]'")
    assert "onnxscript" in said["error"]


def test_noise_stands_in_for_a_source_that_is_gone(made: Any, featx_json: Any, home: Path) -> None:
    _change(home, run := made("LeNet, trained")["run"], source="gone.zip", asked={})
    code, found = featx_json("export", run, "-o", "model.safetensors", "--images", "5")
    assert (code, found["images"]) == (0, 5)
    assert "noise" in found["notes"][0]
    _change(home, run := made("pixels")["run"], source="gone.zip", asked={})
    code, said = featx_json("export", run, "-o", "other.safetensors")
    assert (code, "--source" in said["hint"]) == (2, True)
    code, _ = featx_json("export", run, "-o", "other.safetensors", "--source", "digits")
    assert code == 0


def test_the_runs_own_files_are_not_replaced(made: Any, featx_json: Any, home: Path) -> None:
    run = made("pixels")["run"]
    model = home / "runs" / run / "model.safetensors"
    before = model.read_bytes()
    other = made("frozen, head kept alone")["run"]
    kept = home / "runs" / other / "weights.safetensors"  # would be taken for its base
    for path, of in ((model, run), (model, other), (kept, other)):
        code, said = featx_json("export", of, "-o", path)
        assert (code, "needs" in said["error"]) == (2, True)
    assert model.read_bytes() == before
    assert not kept.exists()


def test_the_weights_below_a_head_that_is_kept_alone_are_not_replaced(
    made: Any, featx_json: Any, home: Path, tmp_path: Path
) -> None:
    base = made("LeNet, trained")["run"]
    weights = tmp_path / "base.safetensors"
    shutil.copy(home / "runs" / base / "model.safetensors", weights)
    before = weights.read_bytes()
    _, run = featx_json("train", "digits", "-b", "lenet5", "--weights", weights, "--mode", "frozen", *TRAIN, *FEW)
    code, said = featx_json("export", run["run"], "-o", weights)
    assert (code, "needs" in said["error"]) == (2, True)
    assert weights.read_bytes() == before


@pytest.mark.parametrize(
    "fields",
    [
        {"model_classes": [0, 1, 99]},
        {"model_classes": [*range(9), -1]},
        {"model_classes": [*range(9), 8]},
        {"model_classes": "0123456789"},
        {"model_classes": [*range(9), 10**30]},
        {"classes": ["one"]},
        {"classes": [["nested"]] * 10},
        {"normalize": "l3"},
        {"layer": 3},
        {"preprocess": 3},
        {"held": {"head": "x", "n_classes": "y"}},
        {"accuracy": 1},
    ],
    ids=str,
)
def test_damage_is_told_in_one_line(made: Any, featx_json: Any, home: Path, fields: Any) -> None:
    _change(home, run := made("LeNet")["run"], **fields)
    code, said = featx_json("export", run, "-o", "model.safetensors")
    assert (code, said["kind"]) == (4, "CorruptStoreError"), said
    assert "is damaged" in said["error"]
    assert not Path("model.safetensors").exists()


def test_a_head_for_other_columns_is_refused(made: Any, featx_json: Any, home: Path) -> None:
    _change(home, run := made("LeNet")["run"], layer="pool1")
    code, said = featx_json("export", run, "-o", "model.safetensors")
    assert (code, "the run's head takes 400" in said["error"]) == (2, True)


def test_a_tolerance_that_is_no_number_accepts_nothing(made: Any, featx_json: Any) -> None:
    code, said = featx_json("export", made("pixels")["run"], "-o", "model.safetensors", "--tolerance", "nan")
    assert (code, "tolerance is nan" in said["error"]) == (2, True)


def test_a_model_that_differs_is_not_written(
    made: Any, featx_json: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made("pixels")["run"]
    (tmp_path / "model.safetensors").write_text("what was there")
    monkeypatch.setattr("featx.runs.exportable.Normalized.normalized", lambda self, image: image * 1.001)
    code, said = featx_json("export", run, "-o", "model.safetensors")
    assert (code, said["kind"]) == (1, "FeatureError")
    assert "differ from featx's own" in said["error"]
    assert (tmp_path / "model.safetensors").read_text() == "what was there"


def _change(home: Path, run: str, **fields: Any) -> None:
    path = home / "runs" / run / RECORD_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
