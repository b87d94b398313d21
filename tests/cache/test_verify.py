"""Verify names whatever is damaged, repair drops just that, and neither leaves the store."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from locks import held
from store_samples import Sample

from featx.cache import schema
from featx.cache.folder import KeyFolder, receipt_name, sealed_file
from featx.cache.key import SCHEMA
from featx.cache.store import FeatureStore
from featx.cache.upkeep import in_use, repair
from featx.cache.verify import Findings, RepairAction, stray_names, verify_key
from featx.errors import CorruptStoreError


def nothing(n: int) -> None:
    """Hear of bytes."""


def check(store: FeatureStore, sample: Sample) -> Findings:
    return verify_key(KeyFolder(store.folder(sample.key)), nothing)


def shard_files(store: FeatureStore, sample: Sample) -> list[Path]:
    return sorted((store.folder(sample.key) / "shards").glob("*.h5"))


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def files_of(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def test_a_sound_key_has_no_faults_and_every_byte_is_read(tmp_path: Path) -> None:
    sample = Sample(skipped={5: "torn"})
    store = sample.stored(tmp_path)
    seen: list[int] = []
    found = verify_key(KeyFolder(store.folder(sample.key)), seen.append)
    assert (found.faults, found.notes, found.shards) == ([], [], 3)
    assert sum(seen) == sum(path.stat().st_size for path in shard_files(store, sample))


@pytest.mark.parametrize("name", ["key.json", "plan.json", "ids.json", "rows.bin", "about.json"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty"])
def test_damaged_sidecars_are_named(tmp_path: Path, sample: Sample, name: str, damage: str) -> None:
    store = sample.stored(tmp_path)
    path = store.folder(sample.key) / name
    size = path.stat().st_size
    if damage == "flip":
        flip(path, size // 2)
    else:
        os.truncate(path, size // 2 if damage == "cut" else 0)
    found = check(store, sample)
    assert [fault.path for fault in found.faults] == [path]
    assert found.faults[0].mend is (RepairAction.RECORD if name == "about.json" else RepairAction.FOLDER)


def test_every_flipped_byte_of_a_receipt_and_a_shard_is_found(tmp_path: Path) -> None:
    sample = Sample(n=4, columns=1)
    store = sample.stored(tmp_path)
    receipt = store.folder(sample.key) / "shards" / receipt_name(0)
    (shard,) = shard_files(store, sample)
    # Every third byte of the receipt but not its last line end, which means nothing; of the shard fewer.
    for path, places in (
        (receipt, range(0, receipt.stat().st_size - 1, 3)),
        (shard, range(0, shard.stat().st_size, 37)),
    ):
        data = path.read_bytes()
        for at in places:
            flip(path, at)
            same = path == receipt and _same_json(data, path.read_bytes())
            assert bool(check(store, sample).faults) is not same, (path.name, at)
            path.write_bytes(data)


def _same_json(a: bytes, b: bytes) -> bool:
    try:
        return bool(json.loads(a) == json.loads(b))
    except ValueError:
        return False


@pytest.mark.parametrize("size", [0, 1, 100, -1])
def test_a_shard_of_another_length_is_named(tmp_path: Path, sample: Sample, size: int) -> None:
    store = sample.stored(tmp_path)
    shard = shard_files(store, sample)[1]
    os.truncate(shard, size if size >= 0 else shard.stat().st_size - 1)
    (fault,) = check(store, sample).faults
    assert (fault.path, fault.mend, fault.shard) == (shard, RepairAction.SHARD, 1)
    assert "its receipt says" in fault.reason


def test_a_time_put_back_hides_no_change_of_a_shard_that_was_checked(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    store.open(sample.key).X[:]
    shard = shard_files(store, sample)[0]
    before = shard.stat()
    flip(shard, 2050)
    os.utime(shard, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CorruptStoreError, match=shard.name):
        store.open(sample.key).X[:]
    assert [fault.path for fault in check(store, sample).faults] == [shard]


@pytest.mark.parametrize("how", ["delete", "rename", "link", "folder"])
def test_a_missing_shard_is_named(tmp_path: Path, sample: Sample, how: str) -> None:
    store = sample.stored(tmp_path / "home")
    shard = shard_files(store, sample)[2]
    outside = tmp_path / "outside.h5"
    shutil.move(shard, outside if how != "rename" else shard.with_name("other.h5"))
    if how == "link":
        shard.symlink_to(outside)
    if how == "folder":
        shard.mkdir()
    found = check(store, sample)
    assert [(fault.path, fault.shard) for fault in found.faults] == [(shard, 2)]
    done = repair(store, found)
    assert not done.left
    assert not check(store, sample).faults
    assert outside.exists() is (how != "rename")


def test_an_unreadable_file_is_named_and_never_removed(tmp_path: Path, sample: Sample) -> None:
    if os.geteuid() == 0:
        pytest.skip("the superuser may read everything")
    store = sample.stored(tmp_path)
    shard = shard_files(store, sample)[0]
    shard.chmod(0)
    found = check(store, sample)
    assert found.faults[0].mend is RepairAction.NOTHING
    assert [fault.path for fault, _ in repair(store, found).left] == [shard]
    assert shard.exists()


def test_strays_are_notes_and_stay(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    path = store.folder(sample.key)
    strays = [path / "notes.txt", path / "shards" / "copy.h5", path / "shards" / "00099.json"]
    temporary = path / "shards" / ".tmp-1-0123456789abcdef"
    orphan = path / "shards" / "00001-0123456789ab.h5"
    for stray in (*strays, temporary, orphan):
        stray.write_text("x")
    (path.parent / "stray").mkdir()
    found = check(store, sample)
    assert not found.faults
    remarks = dict(found.notes)
    assert set(remarks) == {*strays, temporary, orphan}
    assert remarks[temporary] == "a temporary file"
    assert stray_names(path.parent) == [path.parent / "stray"]
    repair(store, found)
    assert all(stray.exists() for stray in strays)


def test_an_incomplete_key_is_no_fault(tmp_path: Path, sample: Sample) -> None:
    store = FeatureStore(tmp_path)
    with sample.writer(store) as out:
        assert out.claim(0)
        sample.put(out, range(4))
    found = check(store, sample)
    assert not found.faults
    assert found.notes == [(store.folder(sample.key), "incomplete: 1 of 3 shards")]


@pytest.mark.parametrize("part", ["shard", "receipt"])
def test_repair_drops_a_bad_shard_and_the_next_run_computes_just_that(
    tmp_path: Path, sample: Sample, part: str
) -> None:
    store = sample.stored(tmp_path)
    shards = store.folder(sample.key) / "shards"
    before = files_of(shards)
    flip(shard_files(store, sample)[1] if part == "shard" else shards / receipt_name(1), 60)
    found = check(store, sample)
    assert len(repair(store, found, dry_run=True).removed) == 2
    assert check(store, sample).faults == found.faults
    repair(store, found)
    assert sorted(files_of(shards)) == sorted(name for name in before if not name.startswith("00001"))
    with sample.writer(store) as out:
        assert out.missing() == [1]
        assert out.claim(1)
        sample.put(out, range(4, 8))
    assert np.array_equal(store.open(sample.key).X, sample.X)
    assert not check(store, sample).faults


@pytest.mark.parametrize("name", ["key.json", "plan.json", "ids.json", "rows.bin"])
def test_repair_removes_a_folder_that_cannot_be_read_and_no_other(tmp_path: Path, sample: Sample, name: str) -> None:
    other = Sample(layer="fc2")
    store = sample.stored(tmp_path)
    other.stored(tmp_path)
    (store.folder(sample.key) / name).unlink()
    done = repair(store, check(store, sample))
    assert done.whole
    assert not store.folder(sample.key).exists()
    assert np.array_equal(store.open(other.key).X, other.X)


def test_repair_drops_a_damaged_record_and_keeps_the_features(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    flip(store.folder(sample.key) / "about.json", 30)
    repair(store, check(store, sample))
    found = check(store, sample)
    assert not found.faults
    assert [path.name for path, _ in found.notes] == ["about.json"]
    assert np.array_equal(store.open(sample.key).X, sample.X)


@pytest.mark.parametrize("what", ["shards", "key.json", "about.json", "00001.json"])
def test_links_are_faults_and_what_they_point_to_stays(tmp_path: Path, sample: Sample, what: str) -> None:
    store = sample.stored(tmp_path / "home")
    path = store.folder(sample.key) / ("shards/" * what.startswith("0") + what)
    outside = tmp_path / "outside"
    shutil.move(path, outside)
    path.symlink_to(outside)
    before = files_of(outside) if outside.is_dir() else outside.read_bytes()
    found = check(store, sample)
    assert path in [fault.path for fault in found.faults]
    assert "symbolic link" in found.faults[0].reason
    assert not repair(store, found).left
    assert not path.is_symlink()
    assert (files_of(outside) if outside.is_dir() else outside.read_bytes()) == before


def test_a_key_that_a_process_holds_is_in_use_until_it_dies(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    path = store.folder(sample.key)
    assert not in_use(path)
    with held(path / "lock"):
        assert in_use(path)
        flip(shard_files(store, sample)[0], 2050)
        done = repair(store, check(store, sample))
        assert [why for _, why in done.left] == ["in use by another process"]
        assert not done.removed
    assert not in_use(path)


def test_without_locks_nothing_is_in_use(tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError(37, "No locks available")

    store = sample.stored(tmp_path)
    (store.folder(sample.key) / "lock").touch()
    monkeypatch.setattr(fcntl, "lockf", refuse)
    assert not in_use(store.folder(sample.key))


def reseal(store: FeatureStore, sample: Sample, build: Callable[[h5py.File], None], **changed: Any) -> Path:
    """Put a forged HDF5 file in place of shard 0, with a receipt that is sealed and says its SHA-256."""
    folder = KeyFolder(store.folder(sample.key))
    receipt = folder.receipt(0, sample.plan, sample.n)
    path = folder.shards / "forged.h5"
    with h5py.File(path, "w", libver=("earliest", "v110")) as file:
        build(file)
    data = path.read_bytes()
    data += bytes(max(0, receipt.bytes - len(data)))
    body = receipt.as_dict() | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)} | changed
    (folder.shards / receipt.file).unlink()
    path.unlink()
    target = folder.shards / f"00000-{body['sha256'][:12]}.h5"
    target.write_bytes(data)
    (folder.shards / receipt_name(0)).write_text(json.dumps(sealed_file(folder.digest, receipt=body)))
    return target


def test_forged_hdf5_is_named_and_nothing_outside_is_opened(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path / "home")
    outside = tmp_path / "outside.h5"
    with h5py.File(outside, "w") as file:
        file["X"] = sample.X[:4]
    raw = tmp_path / "raw.bin"
    raw.write_bytes(sample.X[:4].tobytes())
    layout = h5py.VirtualLayout((4, 3), "<f4")
    layout[:] = h5py.VirtualSource(str(outside), "X", (4, 3))
    forgeries: dict[str, Callable[[h5py.File], Any]] = {
        "no dataset X of its own": lambda f: f.__setitem__("X", h5py.ExternalLink(str(outside), "/X")),
        "of its own": lambda f: f.__setitem__("X", h5py.SoftLink("/Y")),
        "no dataset X": lambda f: f.create_group("X"),
        "as plain rows": lambda f: f.create_virtual_dataset("X", layout),
        "not stored as plain rows": lambda f: f.create_dataset("X", (4, 3), "<f4", external=[(str(raw), 0, 48)]),
        "plain rows": lambda f: f.create_dataset("X", data=sample.X[:4], compression="gzip"),
        "receipt says float32": lambda f: f.create_dataset("X", (4, 3), h5py.ref_dtype, fillvalue=None),
        "float32 (4, 3)": lambda f: f.create_dataset("X", data=sample.X[:5]),
        "attributes": lambda f: f.create_dataset("X", data=sample.X[:4]),
    }
    for reason, build in forgeries.items():
        copy = FeatureStore(tmp_path / "copy")
        shutil.copytree(store.home, copy.home)
        changed = {"offset": 2048} if reason == "attributes" else {}
        path = reseal(copy, sample, build, **changed)
        for file in (outside, raw):
            os.utime(file, (0, 1))  # read before written: the next read is noted even under relatime
        (fault,) = check(copy, sample).faults
        assert fault.path == path
        assert reason in fault.reason
        assert [os.stat(file).st_atime for file in (outside, raw)] == [0, 0]
        shutil.rmtree(copy.home)
    outside.read_bytes()
    if os.stat(outside).st_atime == 0:
        pytest.skip("the file system does not note reads: it was not seen whether the other files were opened")


def test_a_file_that_is_no_hdf5_is_named_though_its_receipt_agrees(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    folder = KeyFolder(store.folder(sample.key))
    receipt = folder.receipt(0, sample.plan, sample.n)
    data = b"PK" * (receipt.bytes // 2)
    body = receipt.as_dict() | {"sha256": hashlib.sha256(data).hexdigest()}
    (folder.shards / f"00000-{body['sha256'][:12]}.h5").write_bytes(data)
    (folder.shards / receipt_name(0)).write_text(json.dumps(sealed_file(folder.digest, receipt=body)))
    (fault,) = check(store, sample).faults
    assert fault.reason.startswith("HDF5 cannot read it")


def test_a_receipt_of_a_huge_sparse_file_is_refused_before_it_is_read(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    folder = KeyFolder(store.folder(sample.key))
    receipt = folder.receipt(0, sample.plan, sample.n)
    os.truncate(folder.shards / receipt.file, 1 << 40)
    body = receipt.as_dict() | {"bytes": 1 << 40}
    (folder.shards / receipt_name(0)).write_text(json.dumps(sealed_file(folder.digest, receipt=body)))
    (fault,) = check(store, sample).faults
    assert "besides its rows" in fault.reason


def test_a_key_of_another_version_is_left_alone(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    key = sample.key.as_dict() | {"schema": SCHEMA + 1}
    later = store.folder(sample.key).with_name(schema.digest_of(key))
    later.mkdir()
    (later / "key.json").write_text(json.dumps(key))
    found = verify_key(KeyFolder(later), nothing)
    assert not found.faults
    assert "another version" in found.notes[0][1]


def test_a_key_removed_while_it_is_checked_is_no_fault(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    gone = False

    def remove_once(n: int) -> None:
        nonlocal gone
        if not gone:
            gone = True
            store.remove(sample.key.digest)

    found = verify_key(KeyFolder(store.folder(sample.key)), remove_once)
    assert gone
    assert not found.faults
