"""What strangers, typos and full or locked disks do: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from featx.cache.store import FeatureStore
from featx.core.run_folder import Runs

pytestmark = pytest.mark.usefixtures("one_thread")

LENET = ("-b", "lenet5", "--weights", "random:0")
POOL2 = (*LENET, "-l", "pool2:avg")
Refused = Callable[..., dict[str, str]]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """JPEGs of three classes, six each."""
    folder = tmp_path / "photos"
    for i in range(18):
        path = folder / ("ant", "bee", "cat")[i % 3] / f"{i:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
        Image.fromarray(noise).save(path, quality=90)
    return folder


@pytest.fixture
def truncated(photos: Path) -> str:
    """Cut one of the JPEGs short, as a broken download is; return its id."""
    path = photos / "bee" / "07.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return "bee/07.jpg"


def left_behind(folder: Path) -> list[str]:
    """Return what a failed command may not leave: runs without a record, torn files, shards without a receipt."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    torn = [p for p in files if p.name.startswith(".tmp") or p.name.endswith((".tmp", ".part"))]
    shards = [p for p in files if p.parent.name == "shards" and p.suffix == ".h5"]
    torn += [p for p in shards if not p.with_name(p.name[:5] + ".json").exists()]
    runs = [p for p in folder.glob("home/runs/*") if not (p / "run.json").exists()]
    return [str(p) for p in torn + runs]


def same(one: str, other: str) -> bool:
    """Compare two messages, whatever the names of temporary files and of runs in them."""
    chance = r"\d{8}-\d{6}-[a-z]+-[0-9a-f]{4}|[0-9a-f]{8,}"
    return re.sub(chance, "", one) == re.sub(chance, "", other)


@pytest.fixture
def refused(featx: Any, tmp_path: Path) -> Refused:
    """Run a command that must fail, in words and as JSON; check its form and what it leaves; return the JSON."""

    def check(*args: object, code: int, kind: str, says: tuple[str, ...] = ()) -> dict[str, str]:
        before = sorted(p for p in tmp_path.rglob("*") if p.is_file())
        told = featx(*args)
        assert told.exit_code == code, told.stderr
        assert told.stdout == ""
        lines = told.stderr.splitlines()
        at = next(i for i, line in enumerate(lines) if line.startswith("error: "))
        error, hint = lines[at], "".join(lines[at + 1 :])
        assert len(lines) <= at + 2
        for word in says:
            assert word in error + hint
        as_json = featx(*args, "--json")
        assert as_json.exit_code == code
        document: dict[str, str] = json.loads(as_json.stdout)
        assert set(document) == {"error", "kind", "hint"}
        assert document["kind"] == kind
        assert same(f"error: {document['error']}", error)
        assert hint == (f"hint: {document['hint']}" if document["hint"] else "")
        assert left_behind(tmp_path) == []
        known = {p for p in tmp_path.rglob("*") if p.is_file()} - set(before)
        assert [p for p in known if "home" not in p.parts] == []
        assert Runs(tmp_path / "home").list() == []
        return document

    return check


def every_command(source: object) -> list[tuple[object, ...]]:
    """The three commands that read a source, each in its shortest form."""
    return [
        ("extract", source, *POOL2),
        ("fit", source, *POOL2),
        ("train", source, *LENET, "--mode", "finetune", "--epochs", "1"),
        ("train", source, *LENET, "--mode", "frozen", "--epochs", "1"),
    ]


# ---- sources --------------------------------------------------------------------------------------------------------


def test_empty_folder(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for command in every_command(tmp_path / "nothing"):
        refused(*command, code=1, kind="SourceError", says=("nothing",))


def test_source_that_does_not_exist(refused: Refused, tmp_path: Path) -> None:
    for command in every_command(tmp_path / "nowhere"):
        refused(*command, code=2, kind="OptionError", says=("nowhere",))
    refused(*every_command("digitts")[0], code=2, kind="OptionError", says=("did you mean digits",))
    refused(*every_command("")[0], code=2, kind="OptionError")


def test_truncated_image_stops_every_command_by_its_name(refused: Refused, photos: Path, truncated: str) -> None:
    for command in every_command(photos):
        refused(*command, code=1, kind="ImageError", says=(truncated, "truncated"))


def test_truncated_image_leaves_no_output_file(featx: Any, photos: Path, truncated: str, tmp_path: Path) -> None:
    result = featx("extract", photos, *POOL2, "-o", tmp_path / "out.h5")
    assert result.exit_code == 1
    assert not (tmp_path / "out.h5").exists()
    result = featx("extract", photos, *POOL2, "-o", tmp_path / "out.h5", "--on-error", "skip")
    assert result.exit_code == 3  # what the failed call left could be gone on with
    with h5py.File(tmp_path / "out.h5") as file:
        (split,) = [name for name in file if name != "classes"]
        assert file[split]["pool2:avg"].shape == (17, 16)
        assert truncated.encode() not in list(file[split]["ids"])


@pytest.mark.parametrize("command", ["extract", "fit"])
def test_skipped_image_is_named_with_its_reason(
    featx: Any, featx_json: Any, photos: Path, truncated: str, command: str
) -> None:
    for _ in range(2):  # read back from the store the second time
        code, document = featx_json(command, photos, *POOL2, "--on-error", "skip")
        assert code == 3
        (skipped,) = document["skipped"]
        assert skipped["id"] == truncated
        assert "truncated" in skipped["reason"]
    if command == "extract":
        assert document["layers"][0]["rows"] == 17
    else:
        assert sum(document["rows"].values()) == 17
        assert set(document["accuracy"]) == {"train", "val", "test"}
    told = featx(command, photos, *POOL2, "--on-error", "skip")
    assert told.exit_code == 3
    assert f"skipped {truncated}" in told.stdout
    assert featx(command, photos, *POOL2).exit_code == 1  # who did not ask to skip is not given fewer rows


def test_text_in_an_images_clothes(refused: Refused, featx_json: Any, photos: Path) -> None:
    (photos / "ant" / "99.jpg").write_text("I am no JPEG\n")
    for command in every_command(photos):
        refused(*command, code=1, kind="ImageError", says=("ant/99.jpg", "no known image format"))
    code, document = featx_json("extract", photos, *POOL2, "--on-error", "skip")
    assert (code, document["skipped"][0]["id"]) == (3, "ant/99.jpg")


def test_name_with_control_characters_cannot_paint_the_terminal(featx: Any, photos: Path) -> None:
    (photos / "ant" / "a\x1b[31m\nerror: all is well.jpg").write_bytes(b"")
    told = featx("extract", photos, *POOL2)
    assert told.exit_code == 1
    assert "\x1b" not in told.stderr
    assert len([line for line in told.stderr.splitlines() if line.startswith("error: ")]) == 1


def test_nothing_left_when_every_image_is_broken(featx_json: Any, refused: Refused, photos: Path) -> None:
    for path in photos.rglob("*.jpg"):
        path.write_bytes(b"")
    code, document = featx_json("extract", photos, *POOL2, "--on-error", "skip")
    assert (code, len(document["skipped"]), document["layers"][0]["rows"]) == (3, 18, 0)
    refused("fit", photos, *POOL2, "--on-error", "skip", code=1, kind="SourceError", says=("class",))


def test_one_class_and_no_class(refused: Refused, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (photos / "ant").rename(tmp_path / "one" / "ant")
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (photos / "bee").iterdir():
        path.rename(flat / path.name)
    for folder, says in ((tmp_path / "one", "class"), (flat, "labels")):
        for command in every_command(folder)[1:]:
            refused(*command, code=1, kind="SourceError", says=(says,))


@pytest.mark.parametrize(
    ("command", "option"),
    [("extract", "--split"), ("fit", "--train-split"), ("fit", "--test-split"), ("train", "--test-split")],
)
def test_split_that_does_not_exist(refused: Refused, photos: Path, command: str, option: str) -> None:
    args = (*LENET, "--mode", "frozen") if command == "train" else POOL2
    refused(command, photos, *args, option, "tset", code=2, kind="OptionError", says=("tset", "all"))


# ---- networks and weights -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["extract", "fit"])
def test_unknown_layer_offers_the_nearest(refused: Refused, home: Path, command: str) -> None:
    args = (command, "digits", *LENET, "--limit", "20")
    refused(*args, "-l", "pol2", code=2, kind="OptionError", says=("did you mean", "pool2"))
    refused(*args, "-l", "pool2:agv", code=2, kind="OptionError", says=("agv",))
    assert not list(home.glob("features/*"))


def test_unknown_backbone_offers_the_nearest(refused: Refused) -> None:
    for command in every_command("digits"):
        args = [("resnet81" if arg == "lenet5" else arg) for arg in command]
        refused(*args, code=2, kind="OptionError", says=("resnet81", "did you mean", "resnet18"))


def with_weights(path: object) -> list[list[object]]:
    return [[(path if arg == "random:0" else arg) for arg in command] for command in every_command("digits")]


def lenet_state(channels: int = 1) -> dict[str, torch.Tensor]:
    from featx.models.built_in_networks import LeNet5

    return LeNet5(channels=channels).state_dict()


def test_wrong_weights_files(refused: Refused, tmp_path: Path) -> None:
    from torchvision.models import squeezenet1_1

    other, text, part = tmp_path / "other.pth", tmp_path / "text.pth", tmp_path / "part.safetensors"
    torch.save(squeezenet1_1().state_dict(), other)
    text.write_text("these are no weights\n")
    part.write_bytes(b"\x80\0\0\0\0\0\0\0{")
    for path, says in ((other, "another network"), (text, "text.pth"), (part, "part.safetensors")):
        for command in with_weights(path):
            refused(*command, code=1, kind="WeightsError", says=(says,))
    refused(*with_weights(tmp_path / "none.pth")[0], code=1, kind="WeightsError", says=("none.pth",))
    refused(*with_weights("random:x")[0], code=2, kind="OptionError", says=("random:SEED",))
    refused(*with_weights("DEFAULT")[0], code=2, kind="OptionError", says=("random:0",))


class Payload:
    """Touches a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


def test_pickle_that_would_run_code_does_not(refused: Refused, tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    for name, content in (("a.pth", Payload(proof)), ("b.pth", {"state_dict": lenet_state(), "x": Payload(proof)})):
        torch.save(content, tmp_path / name)
        for command in with_weights(tmp_path / name):
            refused(*command, code=1, kind="WeightsError", says=(name,))
            assert not proof.exists()
    torch.load(tmp_path / "a.pth", weights_only=False)
    assert proof.exists()  # the file is as bad as it is meant to be


def test_weights_that_make_nan(refused: Refused, featx_json: Any, home: Path, tmp_path: Path) -> None:
    state, path = lenet_state(), tmp_path / "nan.pth"
    state["conv2.weight"][3] = torch.nan
    torch.save(state, path)
    for command in with_weights(path)[:2]:
        refused(*command, "--limit", "50", code=1, kind="FeatureError", says=("pool2:avg", "NaN"))
    for command in with_weights(path)[2:]:
        refused(*command, "--limit", "50", code=1, kind="FeatureError")
    assert not list(home.glob("features/*/shards/*.h5"))
    # The layers before the damage are as good as ever.
    args = ("extract", "digits", "-b", "lenet5", "--weights", path, "--limit", "50")
    assert featx_json(*args, "-l", "pool1:avg")[0] == 0


# ---- numbers and devices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("c", ["0", "-1", "nan", "inf", "much"])
def test_impossible_penalty(refused: Refused, home: Path, c: str) -> None:
    kind = "BadParameter" if c == "much" else "OptionError"
    refused("fit", "digits", "--pixels", "--C", c, code=2, kind=kind, says=("C",))
    assert not home.exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--tol", "0"),
        ("--max-iter", "0"),
        ("--size", "0"),
        ("--limit", "0"),
        ("--per-class", "-3"),
        ("--batch-size", "0"),
        ("--mean", "a,b"),
        ("--std", "0"),
        ("--dtype", "float64"),
        ("--precision", "fp8"),
        ("--on-error", "ignore"),
    ],
)
def test_impossible_numbers_and_choices(featx_json: Any, home: Path, options: tuple[str, ...]) -> None:
    code, document = featx_json("fit", "digits", *POOL2, *options)
    assert code == 2
    assert options[0].removeprefix("--") in document["error"]
    assert document["hint"]
    assert not list(home.glob("runs/*"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is here: what happens without it cannot be seen")
@pytest.mark.parametrize("device", ["cuda", "cuda:3", "tpu"])
def test_device_that_is_not_here(refused: Refused, device: str) -> None:
    for command in every_command("digits"):
        refused(*command, "--device", device, code=2, kind="OptionError", says=(device,))


# ---- where nothing can be written -----------------------------------------------------------------------------------


def test_home_below_a_file(refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for command in [*every_command("digits"), ("fit", "digits", "--pixels")]:
        refused(*command, "--home", tmp_path / "file" / "home", code=1, kind="StoreError", says=("--home",))
    assert (tmp_path / "file").read_text() == "not a folder"


def test_read_only_home(refused: Refused, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a disk mounted read-only; permission bits would not stop root."""
    (home / "features").mkdir(parents=True)
    (home / "runs").mkdir()
    whole: dict[str, Any] = {name: getattr(os, name) for name in ("open", "mkdir")}

    def locked(name: str) -> Callable[..., Any]:
        def call(path: Any, *args: Any, **options: Any) -> Any:
            writes = name == "mkdir" or (args and args[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if writes and str(home) in os.fsdecode(path):
                raise OSError(errno.EROFS, "Read-only file system", str(path))
            return whole[name](path, *args, **options)

        return call

    for name in whole:
        monkeypatch.setattr(os, name, locked(name))
    for command in every_command("digits"):
        refused(*command, code=1, kind="StoreError", says=("read-only", "--home"))
    assert sorted(p.name for p in home.rglob("*")) == ["features", "runs"]


def test_full_disk(featx_json: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for command in every_command("digits")[:2]:
            code, document = featx_json(*command)
            assert (code, document["kind"]) == (5, "DiskFullError")
    assert left_behind(home.parent) == []
    assert featx_json(*every_command("digits")[0])[0] == 0  # once there is room, it goes on


# ---- Ctrl-C ---------------------------------------------------------------------------------------------------------

IMAGES = 3000
"""Three shards of at least 1,024 rows."""

# A shell's background jobs ignore SIGINT, and their children with them: it is listened to again.
LISTENING = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from featx.cli.main import main
main()
"""


@pytest.fixture
def many(tmp_path: Path) -> Path:
    folder = tmp_path / "many"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (IMAGES, 192), np.uint8)
    for i, pixels in enumerate(noise):
        (folder / f"{i:04d}.ppm").write_bytes(b"P6 8 8 255\n" + pixels.tobytes())
    return folder


def test_interrupted_extraction_goes_on_where_it_stopped(
    many: Path, home: Path, tmp_path: Path, featx_json: Any
) -> None:
    args = ["extract", str(many), "-b", "resnet18", "--weights", "random:0", "--size", "32", "-l", "layer1:avg"]
    args += ["--device", "cpu", "--batch-size", "16"]
    child = subprocess.Popen(
        [sys.executable, "-c", LISTENING, *args],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 120
        while not (receipts := list(home.glob("features/[!.]*/shards/*.json"))):
            assert child.poll() is None, child.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.005)
        child.send_signal(signal.SIGINT)
        stdout, stderr = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == 130, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert "resumes from there" in stderr.splitlines()[-1]
    kept = {path: path.read_bytes() for path in home.glob("features/*/shards/*")}
    assert set(receipts) <= set(kept)
    assert len(kept) in (2, 4)  # one shard or two, each with its receipt
    assert left_behind(tmp_path) == []
    (entry,) = FeatureStore(home).ls()
    assert not entry.complete

    code, document = featx_json(*args)
    assert code == 0
    (layer,) = document["layers"]
    assert layer["rows"] == IMAGES
    assert layer["computed"] == IMAGES - 1024 * len(kept) // 2
    assert layer["computed"] + layer["reused"] == IMAGES
    assert {path: path.read_bytes() for path in kept} == kept  # what was finished was not touched


def test_interrupt_before_a_checkpoint_leaves_no_run(featx: Any, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("featx.training.loop.Loop.run", interrupt)
    result = featx("train", "digits", *LENET, "--mode", "finetune", "--epochs", "1", "--limit", "60")
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1].startswith("interrupted")
    assert not list((home / "runs").iterdir())


def test_damaged_receipt_or_shard_is_told_with_its_mending(featx: Any, featx_json: Any, home: Path) -> None:
    args = ("extract", "digits", *POOL2, "--limit", "40")
    assert featx(*args).exit_code == 0
    (shard,) = home.glob("features/*/shards/*.h5")
    damaged = bytearray(shard.read_bytes())
    damaged[-20] ^= 1
    shard.write_bytes(bytes(damaged))
    code, document = featx_json("fit", "digits", *POOL2, "--limit", "40")
    assert (code, document["kind"]) == (4, "CorruptStoreError")
    assert "featx cache verify" in document["hint"] + document["error"]
    assert not list(home.glob("runs/*"))


def test_truncated_image_is_one(photos: Path, truncated: str) -> None:
    with Image.open(photos / truncated) as image:
        assert image.size == (64, 64)
        with pytest.raises(OSError, match="truncated"):
            image.load()
