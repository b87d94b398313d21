"""``featx doctor``: what it checks, and what it does when something is wrong."""

from __future__ import annotations

import errno
import os
from collections import namedtuple
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from featx.cli import doctor


def test_healthy_machine_exits_with_0_and_keeps_nothing(featx: Any, home: Path) -> None:
    result = featx("doctor")
    assert result.exit_code == 0, result.stdout
    assert {line.split()[0] for line in result.stdout.splitlines()} <= {"ok", "warn"}
    assert not home.exists()


def test_json_holds_every_check(featx_json: Any) -> None:
    code, document = featx_json("doctor")
    assert code == 0
    assert all(set(check) == {"name", "status", "detail"} for check in document["checks"])
    names = {check["name"] for check in document["checks"]}
    assert {"python", "torch", "torchvision", "scikit-learn", "numpy", "h5py"} <= names
    assert {"processors", "memory", "bf16", "cuda", "home", "disk", "file locks", "weights"} <= names


def test_failed_check_exits_with_1(featx_json: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "packages", lambda: [doctor.Check("torch", doctor.FAIL, "missing")])
    code, document = featx_json("doctor")
    assert code == 1
    assert {"name": "torch", "status": "fail", "detail": "missing"} in document["checks"]


def test_package_too_old_or_missing_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata, "version", lambda name: "2.9.1+cpu")
    assert doctor.package("torch", "2.10").status == "fail"
    assert doctor.package("torch", "2.9").status == "ok"
    monkeypatch.undo()
    assert doctor.package("surely-not-installed", "1").status == "fail"


def test_every_required_package_is_checked() -> None:
    wanted = [line for line in metadata.requires("featx") or [] if "extra" not in line]
    assert len(wanted) == len(list(doctor.packages())) > 5


def test_home_that_cannot_be_written_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor, "try_writing", refuse)
    check = {check.name: check for check in doctor.places(tmp_path)}["home"]
    assert check.status == "fail"
    assert "Permission denied" in check.detail
    assert "--home" in check.detail


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_folder_is_found_unwritable(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert doctor.attempt("home", lambda: doctor.try_writing(tmp_path), "").status == "fail"


def test_home_below_a_file_fails(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    check = {check.name: check for check in doctor.places(tmp_path / "file" / "home")}["home"]
    assert check.status == "fail"


@pytest.mark.parametrize(("free", "status"), [(10**12, "ok"), (10**9, "warn"), (10**6, "fail")])
def test_disk_is_judged_by_its_room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, free: int, status: str) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage(0, 0, free))
    assert doctor.disk(tmp_path).status == status


def test_weights_in_the_hub_folder_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from torch import hub

    monkeypatch.setattr(hub, "get_dir", lambda: str(tmp_path))
    assert "none yet" in doctor.weights().detail
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18.pth").write_bytes(b"x" * 512)
    assert "resnet18.pth (512 B)" in doctor.weights().detail


def test_locks_that_fail_or_that_all_get_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    assert doctor.locks(tmp_path).status == "ok"
    for stub, said in ((refuse, "No locks available"), (lambda *args: None, "the same lock")):
        for name in ("flock", "lockf"):
            monkeypatch.setattr(doctor.fcntl, name, stub)
        check = doctor.locks(tmp_path)
        assert check.status == "warn"
        assert said in check.detail
    assert not list(tmp_path.iterdir())
