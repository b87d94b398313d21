"""Merging stores: all or nothing is refused, what is copied is whole, and a kill costs nothing."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from store_samples import Sample, in_child

from featx.cache.folder import KeyFolder
from featx.cache.merge import check_parts, copy_parts, plan_merge
from featx.cache.store import FeatureStore
from featx.cache.upkeep import sweep
from featx.cache.verify import verify_key
from featx.core import atomic
from featx.errors import CorruptStoreError, DiskFullError, FeatxError, OptionError, StoreError


def nothing(n: int) -> None:
    """Hear of bytes."""


def job(home: Path, sample: Sample, shards: Sequence[int]) -> Path:
    """Make a store that holds some shards of the sample."""
    with sample.writer(FeatureStore(home)) as out:
        for shard in shards:
            assert out.claim(shard)
            sample.put(out, range(*out.rows_of(shard)))
    return home


def merge(home: Path, *homes: Path) -> FeatureStore:
    store = FeatureStore(home)
    parts = plan_merge(store, homes)
    check_parts(parts, nothing)
    copy_parts(store, parts, nothing)
    return store


def files_below(path: Path) -> dict[str, bytes]:
    """Name and bytes of every file but the marks of use."""
    found = [file for file in path.rglob("*") if file.is_file() and file.name not in ("used", ".lock", "lock")]
    return {str(file.relative_to(path)): file.read_bytes() for file in found}


def test_shards_of_several_jobs_become_one_key(tmp_path: Path, sample: Sample) -> None:
    homes = [job(tmp_path / str(shard), sample, [shard]) for shard in range(3)]
    store = merge(tmp_path / "all", *homes)
    assert np.array_equal(store.open(sample.key).X, sample.X)
    assert store.open(sample.key).ids == sample.ids
    assert not verify_key(KeyFolder(store.folder(sample.key)), nothing).faults
    assert sample.shards(tmp_path / "all") == Sample().shards(Sample().stored(tmp_path / "alone").home)


def test_a_target_gets_only_what_it_lacks(tmp_path: Path, sample: Sample) -> None:
    home = job(tmp_path / "all", sample, [0, 1])
    (part,) = plan_merge(FeatureStore(home), [job(tmp_path / "b", sample, [1, 2])])
    assert [receipt.index for _, receipt in part.shards] == [2]
    assert np.array_equal(merge(home, tmp_path / "b").open(sample.key).X, sample.X)


def test_a_whole_key_is_kept_and_the_same_merge_twice_copies_nothing(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path / "all")
    before = files_below(store.home)
    (part,) = plan_merge(store, [job(tmp_path / "b", sample, [0])])
    assert part.whole
    assert not part.shards
    merge(store.home, tmp_path / "b")
    assert files_below(store.home) == before


def test_several_keys_are_merged(tmp_path: Path, sample: Sample) -> None:
    other = Sample(layer="fc2", n=3)
    homes = [job(tmp_path / "a", sample, [0, 1, 2]), job(tmp_path / "b", other, [0])]
    store = merge(tmp_path / "all", *homes)
    assert {entry.digest for entry in store.ls()} == {sample.key.digest, other.key.digest}
    assert all(entry.complete for entry in store.ls())


def gap(homes: list[Path], sample: Sample) -> None:
    shutil.rmtree(homes[2])
    homes.pop()


def other_bytes(homes: list[Path], sample: Sample) -> None:
    shutil.rmtree(homes[2])
    changed = Sample()
    changed.X = sample.X + 1
    job(homes[2], changed, [1, 2])


def other_plan(homes: list[Path], sample: Sample) -> None:
    shutil.rmtree(homes[2])
    changed = Sample()
    changed.plan = replace(sample.plan, batch_size=5)
    job(homes[2], changed, [2])


def renamed_key(homes: list[Path], sample: Sample) -> None:
    path = FeatureStore(homes[1]).folder(sample.key)
    path.rename(path.with_name("0" * 64))


def foreign_folder(homes: list[Path], sample: Sample) -> None:
    (homes[1] / "features" / "things").mkdir()


def linked_key(homes: list[Path], sample: Sample) -> None:
    path = FeatureStore(homes[1]).folder(sample.key)
    path.rename(homes[1] / "elsewhere")
    path.symlink_to(homes[1] / "elsewhere")


def linked_shards(homes: list[Path], sample: Sample) -> None:
    path = FeatureStore(homes[1]).folder(sample.key) / "shards"
    path.rename(homes[1] / "elsewhere")
    path.symlink_to(homes[1] / "elsewhere")


def flipped_shard(homes: list[Path], sample: Sample) -> None:
    (path,) = (FeatureStore(homes[1]).folder(sample.key) / "shards").glob("*.h5")
    data = bytearray(path.read_bytes())
    data[2050] ^= 1
    path.write_bytes(data)


def bad_receipt(homes: list[Path], sample: Sample) -> None:
    (FeatureStore(homes[1]).folder(sample.key) / "shards" / "00001.json").write_text("{}")


def lost_shard(homes: list[Path], sample: Sample) -> None:
    next((FeatureStore(homes[1]).folder(sample.key) / "shards").glob("*.h5")).unlink()


def bad_rows(homes: list[Path], sample: Sample) -> None:
    path = FeatureStore(homes[1]).folder(sample.key) / "rows.bin"
    path.write_bytes(path.read_bytes()[::-1])


def the_target_itself(homes: list[Path], sample: Sample) -> None:
    homes.append(homes[0].parent / "all")


def no_store(homes: list[Path], sample: Sample) -> None:
    homes.append(homes[0].parent / "nowhere")


@pytest.mark.parametrize(
    ("spoil", "kind", "says"),
    [
        (gap, StoreError, r"of 3 shards no store has 2 \(rows 8 to 10\)"),
        (other_bytes, StoreError, r"shard 1 \(rows 4 to 8\) has different bytes"),
        (other_plan, StoreError, r"different plans \(batch_size 2 and 5\)"),
        (renamed_key, CorruptStoreError, "digest does not match the folder's name"),
        (foreign_folder, CorruptStoreError, "not named after a key"),
        (linked_key, CorruptStoreError, "symbolic link"),
        (linked_shards, CorruptStoreError, "symbolic link"),
        (flipped_shard, CorruptStoreError, "SHA-256"),
        (bad_receipt, CorruptStoreError, "00001.json is damaged"),
        (lost_shard, CorruptStoreError, "the shard is not"),
        (bad_rows, CorruptStoreError, "row hashes"),
        (the_target_itself, OptionError, "store to merge into"),
        (no_store, OptionError, "holds no feature store"),
    ],
)
@pytest.mark.parametrize("target", ["new", "other key", "first shard"])
def test_what_does_not_go_together_is_refused_and_nothing_is_written(
    tmp_path: Path,
    sample: Sample,
    spoil: Callable[[list[Path], Sample], None],
    kind: type[FeatxError],
    says: str,
    target: str,
) -> None:
    homes = [job(tmp_path / str(shard), sample, [shard]) for shard in range(3)]
    home = tmp_path / "all"
    home.mkdir()
    if target == "other key":
        Sample(layer="fc2").stored(home)
    if target == "first shard":
        job(home, sample, [0])
    spoil(homes, sample)
    before = files_below(home)
    with pytest.raises(kind, match=says) as caught:
        merge(home, *homes)
    assert type(caught.value) is kind
    assert caught.value.hint
    assert files_below(home) == before


def test_a_full_disk_is_known_before_the_first_file(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = job(tmp_path / "a", sample, [0, 1, 2])
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(DiskFullError, match="bytes needed"):
        merge(tmp_path / "all", source)
    assert files_below(tmp_path / "all") == {}


@pytest.mark.parametrize("edge", range(0, 36, 3))
def test_killed_at_any_write_it_leaves_a_sound_store_and_goes_on(tmp_path: Path, sample: Sample, edge: int) -> None:
    homes = [job(tmp_path / str(shard), sample, [shard]) for shard in range(3)]
    home = tmp_path / "all"

    def work() -> None:
        left = edge
        real = os.fsync, os.replace, os.rename

        def dying(call: Callable[..., None]) -> Callable[..., None]:
            def wrapper(*args: object) -> None:
                nonlocal left
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1
                call(*args)

            return wrapper

        os.fsync, os.replace, os.rename = map(dying, real)
        merge(home, *homes)

    code = in_child(work)
    assert code == -signal.SIGKILL
    store = FeatureStore(home)
    for entry in store.ls():
        assert not verify_key(KeyFolder(store.folder(entry.digest)), nothing).faults
    merge(home, *homes)
    sweep(store)
    assert not [path for path in home.rglob("*") if atomic.is_temporary(path.name)]
    assert sample.shards(home) == sample.shards(sample.stored(tmp_path / "alone").home)
    assert np.array_equal(store.open(sample.key).X, sample.X)
