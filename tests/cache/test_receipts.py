"""Many receipts are remembered together: found again without a look at them, and never believed against them."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_samples import Sample

from featx.cache import entries, receipts
from featx.cache.folder import KeyFolder
from featx.cache.memo import Memo
from featx.cache.receipts import receipts_of
from featx.cache.schema import ShardFile
from featx.cache.store import FeatureStore
from featx.core import file_stamps
from featx.errors import CorruptStoreError, StoreError

SKIPPED = {5: "image 5 is broken", 9: "image 9 is broken"}


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (receipts, entries):
        monkeypatch.setattr(module, "FEW_SHARDS", 2)
    monkeypatch.setattr(file_stamps, "SETTLED_SECONDS", 0.05)


@pytest.fixture
def sample() -> Sample:
    return Sample(n=14, shard_rows=2, skipped=SKIPPED)


@pytest.fixture
def folder(tmp_path: Path, sample: Sample) -> KeyFolder:
    """A key of seven shards that was written long ago."""
    folder = KeyFolder(sample.stored(tmp_path).folder(sample.key))
    age(folder)
    return folder


def age(folder: KeyFolder) -> None:
    """Wait until the folder's times are old enough to be remembered: they cannot be put back."""
    while not file_stamps.is_settled(file_stamps.file_stamp(folder.shards)):
        time.sleep(0.01)


@pytest.fixture
def touched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of shards and receipts that are opened or looked at from now on."""
    seen: list[str] = []
    for name in ("open", "stat", "lstat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, _watched(getattr(os, name), seen))
    return seen


def _watched(call: Callable[..., Any], seen: list[str]) -> Callable[..., Any]:
    def watched(path: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(path, int) and "/shards/" in os.fspath(path):
            seen.append(Path(path).name)
        return call(path, *args, **options)

    return watched


def test_what_is_remembered_is_what_was_read(sample: Sample, folder: KeyFolder, touched: list[str]) -> None:
    first = receipts_of(folder, sample.plan, sample.n)
    assert touched
    touched.clear()
    again = receipts_of(folder, sample.plan, sample.n)
    assert touched == []
    assert list(again) == list(first)
    assert [shard.file for shard in again] == [folder.receipt(i, sample.plan, sample.n).file for i in range(7)]
    assert again.skipped.tolist() == first.skipped.tolist() == [5, 9]
    assert again.bytes == first.bytes == sum(path.stat().st_size for path in folder.shards.iterdir())
    assert (len(first.new), len(again.new)) == (7, 0)


def test_opening_and_listing_touch_no_shard(
    tmp_path: Path, sample: Sample, folder: KeyFolder, touched: list[str]
) -> None:
    store = FeatureStore(tmp_path)
    size = store.ls()[0].bytes
    touched.clear()
    (entry,) = store.ls()
    assert (entry.complete, entry.bytes) == (True, size)
    table = store.open(sample.key)
    assert store.is_complete(sample.key)
    assert touched == []
    assert table.rows.tolist() == sample.present.tolist()
    assert [row for row, _, _ in table.skipped] == [5, 9]
    assert touched == ["00002.json", "00004.json"]  # they say why
    assert np.array_equal(table.X, sample.X[sample.present])
    assert np.array_equal(table.X[3:6], sample.X[sample.present][3:6])


def test_a_key_that_grows_is_read_no_further_than_it_grew(
    tmp_path: Path, sample: Sample, folder: KeyFolder, touched: list[str]
) -> None:
    gone = [folder.shards / name for name in sorted(os.listdir(folder.shards)) if name.startswith(("00001", "00006"))]
    for path in gone:
        path.rename(tmp_path / path.name)
    assert receipts_of(folder, sample.plan, sample.n).numbers == [0, 2, 3, 4, 5]
    for path in gone:
        (tmp_path / path.name).rename(path)
    age(folder)
    touched.clear()
    found = receipts_of(folder, sample.plan, sample.n)
    assert found.is_whole
    assert {name[:5] for name in touched} == {"00001", "00006"}
    assert found.skipped.tolist() == [5, 9]


def test_a_shard_that_is_gone_is_noticed(tmp_path: Path, sample: Sample, folder: KeyFolder) -> None:
    store = FeatureStore(tmp_path)
    store.open(sample.key)
    next(folder.shards.glob("00003-*.h5")).unlink()
    for _ in range(2):  # what was found out must not be forgotten
        with pytest.raises(CorruptStoreError, match=r"00003-.* its receipt is there but the shard is not"):
            store.open(sample.key)
        age(folder)


def test_a_receipt_that_is_gone_or_damaged_is_noticed(tmp_path: Path, sample: Sample, folder: KeyFolder) -> None:
    store = FeatureStore(tmp_path)
    store.open(sample.key)
    receipt = folder.shards / "00003.json"
    good = receipt.read_bytes()
    receipt.unlink()
    with pytest.raises(StoreError, match="incomplete: 6 of 7 shards"):
        store.open(sample.key)
    assert sample.writer(store).missing() == [3]
    receipt.write_bytes(good[:-20])
    with pytest.raises(CorruptStoreError, match=r"00003\.json"):
        store.open(sample.key)


def test_a_shard_of_other_bytes_replaces_what_is_remembered(tmp_path: Path, sample: Sample, folder: KeyFolder) -> None:
    store = FeatureStore(tmp_path)
    before = list(store.open(sample.key)._receipts)
    for path in folder.shards.glob("00001*"):
        path.unlink()
    with sample.writer(store) as out:
        assert out.blocks() == [1]
        out.claim(1)
        sample.put(out, [2, 3], change=1)
    found = list(receipts_of(folder, sample.plan, sample.n))
    assert [a == b for a, b in zip(found, before, strict=True)] == [True, False, *[True] * 5]
    assert np.array_equal(store.open(sample.key).X[2:4], sample.X[2:4] + 1)


def test_a_damaged_memo_costs_time_only(tmp_path: Path, sample: Sample, folder: KeyFolder) -> None:
    wanted = list(receipts_of(folder, sample.plan, sample.n))
    (path,) = (tmp_path / "memo").iterdir()
    good = path.read_bytes()
    for at in range(0, len(good), 7):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert list(receipts_of(folder, sample.plan, sample.n)) == wanted
    path.unlink()
    assert list(receipts_of(folder, sample.plan, sample.n)) == wanted


@pytest.mark.parametrize(
    ("word", "value"),
    [(4, -1), (5, -1), (5, 1 << 40), (6, 3), (6, -1), (11, 1), (11, 1 << 50), (12, -8), (13, -1), (-1, 14), (-1, 0)],
)
def test_a_forged_memo_is_not_believed(
    tmp_path: Path, sample: Sample, folder: KeyFolder, word: int, value: int
) -> None:
    """Whoever makes a memo up can also give it the right hash."""
    wanted = list(receipts_of(folder, sample.plan, sample.n))
    memo, about = Memo(tmp_path), {"key": folder.digest}
    words = np.frombuffer(memo.get_bytes("receipts", about) or b"", "<i8").copy()
    words[word] = value
    memo.put_bytes("receipts", about, words.tobytes())
    assert list(receipts_of(folder, sample.plan, sample.n)) == wanted
    FeatureStore(tmp_path).open(sample.key)


def test_a_memo_of_another_plan_is_not_believed(tmp_path: Path, sample: Sample, folder: KeyFolder) -> None:
    receipts_of(folder, sample.plan, sample.n)
    assert len(receipts_of(folder, replace(sample.plan, columns=4), sample.n)) == 0


def test_a_key_that_is_removed_is_forgotten(tmp_path: Path, sample: Sample, folder: KeyFolder) -> None:
    store = FeatureStore(tmp_path)
    store.open(sample.key)
    assert len(os.listdir(tmp_path / "memo")) == 1
    store.remove(sample.key.digest)
    assert os.listdir(tmp_path / "memo") == []


def test_a_store_that_moves_is_read_again(tmp_path: Path, sample: Sample, folder: KeyFolder) -> None:
    receipts_of(folder, sample.plan, sample.n)
    shutil.copytree(tmp_path / "features", tmp_path / "other" / "features")
    shutil.copytree(tmp_path / "memo", tmp_path / "other" / "memo")
    table = FeatureStore(tmp_path / "other").open(sample.key)
    assert np.array_equal(table.X, sample.X[sample.present])


def test_a_store_that_cannot_be_written_is_read(tmp_path: Path, sample: Sample, folder: KeyFolder) -> None:
    shutil.rmtree(tmp_path / "memo", ignore_errors=True)
    (tmp_path / "memo").write_text("a file where the memos would be")
    assert np.array_equal(FeatureStore(tmp_path).open(sample.key).X, sample.X[sample.present])


def test_what_others_write_meanwhile_is_seen_and_kept(tmp_path: Path, sample: Sample) -> None:
    """Two processes write, two look on and remember what they saw; nobody ever sees what is not there."""
    sample.writer(FeatureStore(tmp_path)).close()
    folder = KeyFolder(FeatureStore(tmp_path).folder(sample.key))
    fork = multiprocessing.get_context("fork")
    works = [lambda: sample.fill(sample.writer(FeatureStore(tmp_path)))] * 2 + [lambda: _watch(tmp_path, sample)] * 2
    processes = [fork.Process(target=work) for work in works]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert receipts_of(folder, sample.plan, sample.n).is_whole
    age(folder)
    for _ in range(2):
        assert np.array_equal(FeatureStore(tmp_path).open(sample.key).X, sample.X[sample.present])


def _watch(home: Path, sample: Sample) -> None:
    """Look at the receipts until all are there; none that was there may be gone, each must be the file's own."""
    folder = KeyFolder(FeatureStore(home).folder(sample.key))
    seen: set[int] = set()
    deadline = time.monotonic() + 50
    while len(seen) < 7 and time.monotonic() < deadline:
        found = receipts_of(folder, sample.plan, sample.n)
        assert seen <= set(found.numbers)
        assert list(found) == [_read(folder, sample, number) for number in found.numbers]
        seen = set(found.numbers)
    assert len(seen) == 7


def _read(folder: KeyFolder, sample: Sample, number: int) -> ShardFile:
    receipt = folder.receipt(number, sample.plan, sample.n)
    return ShardFile(number, receipt.start, receipt.stop, receipt.sha256, receipt.bytes, receipt.offset)
