"""The store keeps what it was given, whatever happens to the process, the disk or the files."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from store_samples import Sample, in_child

from featx.cache import folder
from featx.cache.schema import Plan, seal
from featx.cache.store import FeatureStore, FeatureTable
from featx.core import atomic
from featx.errors import CorruptStoreError, DiskFullError, OptionError, StoreError


def files_below(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*")}


def test_what_was_stored_comes_back(tmp_path: Path, sample: Sample) -> None:
    store = FeatureStore(tmp_path)
    assert not store.is_complete(sample.key)
    sample.fill(sample.writer(store))
    assert store.is_complete(sample.key)
    assert np.array_equal(FeatureStore(tmp_path).open(sample.key).X, sample.X)
    assert isinstance(store.open(sample.key.digest), FeatureTable)
    assert store.folder(sample.key) == tmp_path / "features" / sample.key.digest


def test_shards_are_plain_hdf5(tmp_path: Path, sample: Sample) -> None:
    sample.stored(tmp_path)
    parts = []
    for path in sorted((tmp_path / "features" / sample.key.digest / "shards").glob("*.h5")):
        with h5py.File(path) as file:
            parts.append(file["X"][:])
            assert file["X"].attrs["key"] == sample.key.digest.encode()
    assert np.array_equal(np.concatenate(parts), sample.X)


def test_receipts_record_time_versions_and_skipped_rows(tmp_path: Path) -> None:
    sample = Sample(skipped={5: "torn " * 100})
    store = sample.stored(tmp_path)
    receipt = json.loads((store.folder(sample.key) / "shards" / "00001.json").read_text())["receipt"]
    assert receipt["seconds"] == {"forward": 1.0}
    assert receipt["versions"]["torch"] == "2"
    assert set(receipt["versions"]) >= {"featx", "numpy", "h5py"}
    assert receipt["skipped"] == [[5, ("torn " * 100)[:200]]]
    with h5py.File(store.folder(sample.key) / "shards" / f"00001-{receipt['sha256'][:12]}.h5") as file:
        assert np.isnan(file["X"][1]).all()


@pytest.mark.parametrize("batch", [1, 3, 4, 7, 10])
def test_batches_need_not_end_where_shards_do(tmp_path: Path, sample: Sample, batch: int) -> None:
    store = FeatureStore(tmp_path)
    with sample.writer(store) as out:
        assert all(map(out.claim, out.blocks()))
        for start in range(0, 10, batch):
            sample.put(out, range(start, min(start + batch, 10)))
    assert np.array_equal(store.open(sample.key).X, sample.X)


def test_rows_that_are_there_already_are_ignored(tmp_path: Path, sample: Sample) -> None:
    store = FeatureStore(tmp_path)
    with sample.writer(store) as out:
        assert out.claim(1)
        sample.put(out, range(4, 8))
    with sample.writer(store) as out:
        assert out.missing() == out.blocks() == [0, 2]
        assert out.claim(0)
        assert out.claim(2)
        out.put(np.arange(10), np.where(np.arange(10)[:, None] // 4 == 1, 99, sample.X).astype("float32"))
        assert out.missing() == []
    assert np.array_equal(store.open(sample.key).X, sample.X)


def test_rows_out_of_order_or_of_another_shape_are_refused(tmp_path: Path, sample: Sample) -> None:
    out = sample.writer(FeatureStore(tmp_path))
    with pytest.raises(OptionError, match="not claimed"):
        sample.put(out, [0])
    assert out.claim(0)
    for rows, X in (([1], sample.X[1:2]), ([0], sample.X[:1, :2]), ([9, 10], sample.X[:2]), ([-1], sample.X[:1])):
        with pytest.raises(OptionError):
            out.put(np.array(rows), X)
    for rows, X in (([1, 0], sample.X[:2]), ([0, 0], sample.X[:2]), ([0], sample.X[:2])):
        with pytest.raises(OptionError, match="in ascending order"):
            out.put(np.array(rows), X)
    with pytest.raises(OptionError):
        out.put(np.array([0]), sample.X[:1].astype("float64"))
    with pytest.raises(OptionError):
        out.put(np.array([0, 1]), sample.X[:2], [(2, "not among them")])
    sample.put(out, [0, 1])
    for row, why in ((0, "row 2 is next"), (3, "row 2 is next"), (4, "not claimed")):
        with pytest.raises(OptionError, match=why):
            sample.put(out, [row])


def test_an_exception_leaves_finished_shards_and_nothing_else(tmp_path: Path, sample: Sample) -> None:
    store = FeatureStore(tmp_path)

    def interrupted() -> None:
        with sample.writer(store) as out:
            assert all(map(out.claim, out.blocks()))
            sample.put(out, range(6))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert sorted(p.suffix for p in (store.folder(sample.key) / "shards").iterdir()) == [".h5", ".json"]
    with pytest.raises(StoreError, match="1 of 3 shards"):
        store.open(sample.key)


def test_the_first_plan_and_the_first_ids_win(tmp_path: Path, sample: Sample) -> None:
    store = FeatureStore(tmp_path)
    sample.writer(store)
    other = store.writer(sample.key, Plan(64, 5, 5, 3, "float32", ("x",)), ["z"] * 10, sample.hashes, {})
    assert other.plan == sample.plan
    sample.fill(other)
    assert store.open(sample.key).ids == sample.ids


def test_rows_that_are_not_the_keys_are_refused(tmp_path: Path, sample: Sample) -> None:
    store = FeatureStore(tmp_path)
    for ids, hashes in ((sample.ids[:9], sample.hashes), (sample.ids, sample.hashes[::-1])):
        with pytest.raises(OptionError):
            store.writer(sample.key, sample.plan, ids, hashes, {})
    with pytest.raises(OptionError, match="float16"):
        store.writer(sample.key, Plan(2, 4, 4, 3, "float16", ()), sample.ids, sample.hashes, {})
    assert not (tmp_path / "features").exists()


def test_absent_features_say_what_computes_them(tmp_path: Path, sample: Sample) -> None:
    with pytest.raises(StoreError) as caught:
        FeatureStore(tmp_path / "none").open(sample.key)
    assert "featx extract" in caught.value.hint
    assert not (tmp_path / "none").exists()
    for bad in ("../../etc", "A" * 64, "a" * 63, ""):
        with pytest.raises(OptionError, match="digest"):
            FeatureStore(tmp_path).folder(bad)


# --- death of the process -------------------------------------------------------------------------------------


def kill_at(number: int) -> None:
    """Make the process kill itself before its `number`-th step on the disk."""
    steps = itertools.count()
    for name in ("fsync", "replace", "rename", "write", "mkdir"):
        real = getattr(os, name)

        def step(*args: Any, real: Any = real, **kwargs: Any) -> Any:
            if next(steps) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        setattr(os, name, step)


def test_killed_before_any_step_it_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    sample = Sample(6, 2, 3, skipped={4: "torn"})
    sample.stored(tmp_path / "whole")
    expected = sample.shards(tmp_path / "whole")
    names = files_below(tmp_path / "whole")
    for number in itertools.count():
        home = tmp_path / str(number)

        def work(home: Path = home, number: int = number) -> None:
            kill_at(number)
            sample.stored(home)
            os._exit(0)

        code = in_child(work)
        assert code in (0, -signal.SIGKILL)
        store = FeatureStore(home)
        complete = store.is_complete(sample.key)
        assert complete or code != 0
        if complete:
            assert np.array_equal(store.open(sample.key).X, sample.X[sample.present])
        sample.stored(home)
        assert sample.shards(home) == expected, number
        assert files_below(home) == names, number
        assert np.array_equal(store.open(sample.key).X, sample.X[sample.present])
        if code == 0:
            break
    assert number > 30


def test_a_killed_program_keeps_its_finished_shards(tmp_path: Path, sample: Sample) -> None:
    def work() -> None:
        out = sample.writer(FeatureStore(tmp_path))
        assert all(map(out.claim, out.blocks()))
        sample.put(out, range(9))
        os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    out = sample.writer(FeatureStore(tmp_path))
    assert out.missing() == [2]
    sample.fill(out)
    assert np.array_equal(FeatureStore(tmp_path).open(sample.key).X, sample.X)


def test_a_shard_without_a_receipt_does_not_exist(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    (store.folder(sample.key) / "shards" / "00001.json").unlink()
    assert not store.is_complete(sample.key)
    assert not store.ls()[0].complete
    with pytest.raises(StoreError, match="2 of 3 shards"):
        store.open(sample.key)
    assert sample.writer(store).missing() == [1]


def test_old_shards_without_a_receipt_are_removed_by_the_next_writer(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    shards = store.folder(sample.key) / "shards"
    (shards / "00001.json").unlink()
    for name, age in (("00001-000000000000.h5", 9000), ("00001-111111111111.h5", 9), ("00000-2.h5", 9000)):
        (shards / name).write_bytes(b"x")
        os.utime(shards / name, (time.time() - age,) * 2)
    sample.writer(store)
    assert not (shards / "00001-000000000000.h5").exists()
    assert (shards / "00001-111111111111.h5").exists()  # perhaps another process is about to write its receipt
    assert (shards / "00000-2.h5").exists()  # not ours


# --- full and broken disks ------------------------------------------------------------------------------------


def full_from(patch: pytest.MonkeyPatch, number: int) -> None:
    """Let the disk be full from its `number`-th step on."""
    steps = itertools.count()

    def limited(real: Any) -> Any:
        def step(*args: Any, **kwargs: Any) -> Any:
            if next(steps) >= number:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*args, **kwargs)

        return step

    for name in ("write", "fsync", "mkdir"):
        patch.setattr(os, name, limited(getattr(os, name)))


def test_a_full_disk_at_any_write_is_an_error_that_can_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = Sample(6, 2, 3)
    sample.stored(tmp_path / "whole")
    expected, names = sample.shards(tmp_path / "whole"), files_below(tmp_path / "whole")
    for number in itertools.count():
        home = tmp_path / str(number)
        with monkeypatch.context() as patch:
            full_from(patch, number)
            try:
                sample.stored(home)
            except DiskFullError:
                assert not any(".tmp-" in name for name in files_below(home)), number
            else:
                break
        sample.stored(home)
        assert sample.shards(home) == expected
        assert files_below(home) == names, number
    assert number > 20


def test_a_real_limit_on_file_size_leaves_older_shards_intact(tmp_path: Path) -> None:
    sample = Sample(64, 64, 16)
    with sample.writer(FeatureStore(tmp_path)) as out:
        assert out.claim(0)
        sample.put(out, range(16))

    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            sample.fill(sample.writer(FeatureStore(tmp_path)))
        except DiskFullError:
            os._exit(5)
        os._exit(0)

    assert in_child(work) == 5
    assert not any(".tmp-" in name for name in files_below(tmp_path))
    out = sample.writer(FeatureStore(tmp_path))
    assert out.missing() == [1, 2, 3]
    sample.fill(out)
    assert np.array_equal(FeatureStore(tmp_path).open(sample.key).X, sample.X)


def test_a_store_that_cannot_be_written_can_be_read(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sample.stored(tmp_path)
    real = os.open

    def read_only(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", read_only)
    assert np.array_equal(store.open(sample.key).X, sample.X)
    assert store.ls()[0].complete
    with pytest.raises(StoreError, match="read-only"):
        Sample(layer="other").stored(tmp_path)


# --- damaged and hostile files --------------------------------------------------------------------------------


def read_all(store: FeatureStore, sample: Sample) -> tuple[Any, ...]:
    folder._checked.clear()
    table = store.open(sample.key)
    return np.asarray(table.X).tobytes(), table.ids, table.skipped, table.key


def test_every_flipped_byte_is_found_or_harmless(tmp_path: Path) -> None:
    sample = Sample(4, 2, 2, skipped={1: "torn"})
    store = sample.stored(tmp_path)
    expected = read_all(store, sample)
    path = store.folder(sample.key)
    for name in sorted(files_below(path) - {"used", "lock", "shards"}):
        file = path / name
        good = file.read_bytes()
        found = 0
        for at in range(0, len(good), 1 if len(good) < 200 else 29):
            file.write_bytes(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
            try:
                assert read_all(store, sample) == expected, (name, at)
            except CorruptStoreError as exc:
                found += 1
                complete = "--repair" in exc.hint and str(path) in exc.message
            else:
                complete = True
            assert complete, (name, at)
            store.ls()
        file.write_bytes(good)
        assert found > 0 or name == "about.json", name
        if name.endswith((".h5", ".bin")) or name == "ids.json":
            assert found == len(range(0, len(good), 1 if len(good) < 200 else 29)), name
    assert read_all(store, sample) == expected


def test_a_flipped_byte_of_features_names_its_file(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    shard = next((store.folder(sample.key) / "shards").glob("00002-*.h5"))
    data = bytearray(shard.read_bytes())
    data[2048] ^= 1
    shard.write_bytes(data)
    table = store.open(sample.key)
    assert np.array_equal(table.X[:8], sample.X[:8])
    with pytest.raises(CorruptStoreError, match=shard.name) as caught:
        table.X[8]
    assert f"featx cache verify {sample.key.digest[:12]} --repair" in caught.value.hint


def test_a_truncated_shard_and_an_absent_one_are_found_at_opening(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    shard = next((store.folder(sample.key) / "shards").glob("00002-*.h5"))
    os.truncate(shard, 2048)
    with pytest.raises(CorruptStoreError, match=shard.name):
        store.open(sample.key)
    shard.unlink()
    with pytest.raises(CorruptStoreError, match=shard.name):
        store.open(sample.key)


def test_a_damaged_receipt_is_no_receipt_and_is_written_anew(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    path = store.folder(sample.key) / "shards" / "00000.json"
    path.write_text(path.read_text().replace('"stop": 4', '"stop": 5'))
    assert not store.is_complete(sample.key)
    with pytest.raises(CorruptStoreError, match=r"00000\.json"):
        store.open(sample.key)
    sample.stored(tmp_path)
    assert np.array_equal(store.open(sample.key).X, sample.X)


@pytest.mark.parametrize(
    "change", [{"offset": 2**40}, {"offset": 2049 + 10**6}, {"bytes": 2**50, "offset": 2**49}, {"sha256": "f" * 64}]
)
def test_a_forged_receipt_is_refused_before_anything_is_allocated(
    tmp_path: Path, sample: Sample, change: dict[str, Any]
) -> None:
    store = sample.stored(tmp_path)
    path = store.folder(sample.key) / "shards" / "00000.json"
    whole = json.loads(path.read_text())
    del whole["check"]
    whole["receipt"].update(change)
    path.write_text(json.dumps(seal(whole)))
    with pytest.raises(CorruptStoreError):
        store.open(sample.key)


def test_a_receipt_of_another_key_is_refused(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    other = Sample(layer="other")
    other.stored(tmp_path)
    for name in ("shards/00000.json", "plan.json", "key.json"):
        path = store.folder(sample.key) / name
        good = path.read_bytes()
        shutil.copy(store.folder(other.key) / name, path)
        with pytest.raises(CorruptStoreError, match=path.name):
            store.open(sample.key)
        path.write_bytes(good)
    assert np.array_equal(store.open(sample.key).X, sample.X)


@pytest.mark.parametrize("plan", [None, b"", b"{}", b"[1]", b"null", b'{"plan": {}}', b"\x00" * 9])
def test_a_folder_without_a_sound_plan_is_started_again(tmp_path: Path, sample: Sample, plan: bytes | None) -> None:
    store = sample.stored(tmp_path)
    path = store.folder(sample.key) / "plan.json"
    path.unlink()
    if plan is not None:
        path.write_bytes(plan)
    assert not store.is_complete(sample.key)
    with pytest.raises(StoreError):
        store.open(sample.key)
    out = sample.writer(store)
    assert out.missing() == [0, 1, 2]
    sample.fill(out)
    assert np.array_equal(store.open(sample.key).X, sample.X)
    assert [e for e in os.listdir(tmp_path / "features") if not e.startswith(".lock")] == [sample.key.digest]


@pytest.mark.parametrize("moment", ["has_plan", "plan"])
def test_a_folder_that_another_process_lays_out_meanwhile_is_resumed(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    store = sample.stored(tmp_path)
    aside = tmp_path / "aside"
    store.folder(sample.key).rename(aside)
    look = getattr(folder.KeyFolder, moment)

    def then_it_is_there(self: folder.KeyFolder) -> Any:
        try:
            return look(self)
        finally:
            if aside.exists() and not self.path.exists():
                aside.rename(self.path)

    monkeypatch.setattr(folder.KeyFolder, moment, then_it_is_there)
    out = sample.writer(store)
    assert out.missing() == ([] if moment == "has_plan" else [0, 1, 2])


def test_other_row_hashes_or_ids_are_found(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    for name in ("rows.bin", "ids.json"):
        path = store.folder(sample.key) / name
        good = path.read_bytes()
        for bad in (good[:-1], good + b"x", good.replace(good[10:11], b"?", 1)):
            path.write_bytes(bad)
            folder._checked.clear()
            with pytest.raises(CorruptStoreError, match=name):
                store.open(sample.key)
            with pytest.raises(CorruptStoreError, match=name):
                sample.writer(store)
        path.write_bytes(good)


def test_links_out_of_the_store_are_refused(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path / "home")
    path = store.folder(sample.key)
    outside = tmp_path / "outside"
    for part in (path / "shards", next((path / "shards").glob("*.h5")), path / "key.json", path):
        part.rename(outside)
        part.symlink_to(outside)
        with pytest.raises(CorruptStoreError, match="link"):
            np.asarray(store.open(sample.key).X)
        if part == path:
            with pytest.raises(StoreError, match="link"):
                sample.writer(store)
            with pytest.raises(StoreError, match="link"):
                store.remove(sample.key.digest)
            assert store.ls() == []
            assert (outside / "key.json").exists()
        part.unlink()
        outside.rename(part)
    assert np.array_equal(store.open(sample.key).X, sample.X)


# --- several processes ----------------------------------------------------------------------------------------

CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from store_samples import Sample
from featx.cache.store import FeatureStore
sample = Sample(40, 3, 4)
store = FeatureStore(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
sample.fill(sample.writer(store))
"""


def test_processes_that_make_one_key_at_once_agree(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(Path(__file__).parent.parent / "support"), str(tmp_path)]
    children = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    for child in children:
        child.communicate("go\n", timeout=30)
        assert child.returncode == 0
    sample = Sample(40, 3, 4)
    assert np.array_equal(FeatureStore(tmp_path).open(sample.key).X, sample.X)
    assert len(sample.shards(tmp_path)) == 10
    assert not any(".tmp-" in name for name in files_below(tmp_path))


def test_a_folder_made_meanwhile_wins(tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FeatureStore(tmp_path)
    real = atomic.locked

    def late(path: Path) -> Any:
        monkeypatch.setattr(atomic, "locked", real)
        with sample.writer(store) as other:
            assert other.claim(0)
            sample.put(other, range(4))
        return real(path)

    monkeypatch.setattr(atomic, "locked", late)
    out = store.writer(sample.key, Plan(64, 5, 5, 3, "float32", ("x",)), sample.ids, sample.hashes, {})
    assert out.plan == sample.plan
    assert out.missing() == [1, 2]
    assert not any(".tmp-" in name for name in files_below(tmp_path))


def test_a_shard_that_another_process_finished_is_kept(tmp_path: Path, sample: Sample) -> None:
    store = FeatureStore(tmp_path)
    slow, quick = sample.writer(store), sample.writer(store)
    assert slow.claim(0)
    sample.put(slow, [0, 1])
    sample.fill(quick)
    before = sample.shards(tmp_path)
    sample.put(slow, [2, 3], change=1)
    assert slow.missing() == [1, 2]
    assert sample.shards(tmp_path) == before
    assert np.array_equal(store.open(sample.key).X, sample.X)


# --- looking and removing -------------------------------------------------------------------------------------


def test_ls_tells_everything_and_opens_no_shard(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = sample.stored(tmp_path)
    half = Sample(layer="half")
    with half.writer(store) as out:
        assert out.claim(0)
        half.put(out, range(4))
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *args, **kw: opened.append(str(path)) or real(path, *args, **kw))
    entries = {entry.layer: entry for entry in store.ls()}
    assert opened
    assert not any("shards" in path for path in opened)
    entry = entries["fc1:avg"]
    assert (entry.source, entry.split, entry.backbone, entry.weights) == ("photos", "train", "lenet5", "DEFAULT")
    assert (entry.digest, entry.rows, entry.columns, entry.complete) == (sample.key.digest, 10, 3, True)
    path = store.folder(sample.key)
    assert entry.bytes == sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert not entries["half"].complete


def test_ls_shows_damaged_folders_and_ignores_what_is_not_ours(tmp_path: Path, sample: Sample) -> None:
    assert FeatureStore(tmp_path).ls() == []
    store = sample.stored(tmp_path)
    (tmp_path / "features" / "notes").mkdir()
    (tmp_path / "features" / ("b" * 64)).write_text("a file")
    (tmp_path / "features" / ("a" * 64)).mkdir()
    about = store.folder(sample.key) / "about.json"
    sealed = folder.sealed_file(sample.key.digest, about={"source": "a\x1b[2Jb\nc", "split": 7})
    about.write_text(json.dumps(sealed))
    entries = {entry.digest: entry for entry in store.ls()}
    assert set(entries) == {sample.key.digest, "a" * 64}
    assert entries[sample.key.digest].source == "a?[2Jb?c"
    assert not entries["a" * 64].complete
    about.write_text("{")
    assert {entry.digest: entry.complete for entry in store.ls()} == {sample.key.digest: True, "a" * 64: False}


def test_the_last_used_comes_first(tmp_path: Path) -> None:
    first, second = Sample(layer="first"), Sample(layer="second")
    store = first.stored(tmp_path)
    second.stored(tmp_path)
    for sample in (first, second):
        os.utime(store.folder(sample.key) / "used", (1000, 1000))
    store.open(first.key)
    assert [entry.layer for entry in store.ls()] == ["first", "second"]
    assert store.ls()[1].last_used == 1000
    os.utime(store.folder(first.key) / "used", (900, 900))
    store.touch(second.key)
    assert [entry.layer for entry in store.ls()] == ["second", "first"]
    store.touch("0" * 64)


def test_find_takes_a_unique_beginning(tmp_path: Path) -> None:
    samples = [Sample(layer=f"layer{i}") for i in range(17)]  # two of them begin alike
    store = FeatureStore(tmp_path)
    for sample in samples:
        sample.writer(store)
    digest = samples[0].key.digest
    assert store.find(digest).layer == "layer0"
    assert store.find(digest[:40]).digest == digest
    beginnings = [sample.key.digest[0] for sample in samples]
    shared = next(letter for letter in beginnings if beginnings.count(letter) > 1)
    with pytest.raises(OptionError, match="digests"):
        store.find(shared)
    wrong = digest[:11] + ("0" if digest[11] != "0" else "1")
    with pytest.raises(OptionError, match="no features") as caught:
        store.find(wrong)
    assert digest[:12] in caught.value.hint
    for bad in ("", "../", "x"):
        with pytest.raises(OptionError):
            store.find(bad)


def test_remove_frees_what_ls_counted(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    other = Sample(layer="other")
    other.stored(tmp_path)
    size = store.find(sample.key.digest).bytes
    assert store.remove(sample.key.digest) == size
    assert [entry.digest for entry in store.ls()] == [other.key.digest]
    with pytest.raises(StoreError, match="no features"):
        store.remove(sample.key.digest)
    with pytest.raises(OptionError):
        store.remove("../" + sample.key.digest)


def test_a_removal_that_was_killed_is_finished_by_the_next_writer(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)

    def work() -> None:
        shutil.rmtree = lambda path: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment]
        store.remove(sample.key.digest)

    assert in_child(work) == -signal.SIGKILL
    assert store.ls() == []
    Sample(layer="other").writer(store)
    assert not any(name.startswith(".tmp-") for name in os.listdir(tmp_path / "features"))


def test_a_name_too_long_to_read_back_is_refused(tmp_path: Path, sample: Sample) -> None:
    ids = ["x" * 50_000, *sample.ids[1:]]
    with pytest.raises(StoreError, match="ids"):
        FeatureStore(tmp_path).writer(sample.key, sample.plan, ids, sample.hashes, {})
    assert not any(".tmp-" in name for name in files_below(tmp_path))


def test_names_that_are_no_unicode_come_back(tmp_path: Path, sample: Sample) -> None:
    sample.ids[3] = os.fsdecode(b"caf\xe9.png")
    store = sample.stored(tmp_path)
    assert store.open(sample.key).ids == sample.ids
