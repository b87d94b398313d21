"""The matrix on the disk answers like the same array in memory."""

from __future__ import annotations

import itertools
import os
import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from store_samples import Sample

from featx.cache import matrix as matrix_module
from featx.cache.store import FeatureStore
from featx.core.hashing import digest_of
from featx.errors import CorruptStoreError, OptionError

N, COLUMNS = 23, 4
SAMPLES = {
    "float32": Sample(N, COLUMNS, 5),
    "float16": Sample(N, COLUMNS, 7, "float16"),
    "skipped": Sample(N, COLUMNS, 5, skipped={0: "torn", 7: "empty", 22: "torn"}),
}


@pytest.fixture(scope="module", params=list(SAMPLES))
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """A matrix and the array that it should be like."""
    sample = SAMPLES[request.param]
    return sample.table(tmp_path_factory.mktemp("home")).X, sample.X[sample.present]


rows = st.one_of(
    st.integers(-20, 19),
    st.slices(20),
    st.lists(st.integers(-20, 19), max_size=40),
    st.lists(st.integers(0, 19), max_size=40).map(lambda rows: np.array(rows, np.uint8)),
    st.integers(0, 2**20 - 1).map(lambda bits: np.array([bits >> i & 1 for i in range(20)], bool)),
)
columns = st.one_of(st.slices(COLUMNS), st.integers(-COLUMNS, COLUMNS - 1))


@settings(deadline=None, max_examples=150)
@given(rows=rows, column=columns)
def test_indexing_equals_numpys(pair: tuple[Any, Any], rows: Any, column: Any) -> None:
    matrix, array = pair
    if getattr(rows, "dtype", None) == np.bool_:
        rows = np.resize(rows, len(array))
    for index in (rows, (rows, column)):
        got, wanted = matrix[index], array[index]
        assert got.dtype == wanted.dtype
        assert got.shape == wanted.shape
        assert np.array_equal(got, wanted)


@pytest.mark.parametrize("size", [1, 64, 100, 1 << 20])
def test_small_blocks_and_gaps_change_nothing(
    pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    matrix, array = pair
    monkeypatch.setattr(matrix_module, "_BLOCK_BYTES", size)
    monkeypatch.setattr(matrix_module, "_GAP_BYTES", size // 4)
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(array)), 2))
    assert np.array_equal(matrix[order], array[order])
    assert np.array_equal(matrix[::3, 1:3], array[::3, 1:3])


def test_it_becomes_an_array_whole(pair: tuple[Any, Any]) -> None:
    matrix, array = pair
    assert np.array_equal(np.asarray(matrix), array)
    assert np.asarray(matrix).flags.c_contiguous
    assert np.asarray(matrix, dtype=np.float64).dtype == np.float64
    assert np.array_equal(matrix[...], array)
    assert np.array_equal(matrix[..., 1], array[..., 1])
    assert (matrix.shape, len(matrix), matrix.ndim) == (array.shape, len(array), 2)
    assert (matrix.dtype, matrix.size, matrix.nbytes) == (array.dtype, array.size, array.nbytes)
    with pytest.raises(ValueError, match="copy"):
        np.asarray(matrix, copy=False)


@pytest.mark.parametrize("size", [1, 3, 5, 100, None])
def test_chunks_make_the_whole(pair: tuple[Any, Any], size: int | None) -> None:
    matrix, array = pair
    chunks = list(matrix.iter_chunks(size))
    assert np.array_equal(np.concatenate(chunks), array)
    assert size is None or all(len(chunk) == size for chunk in chunks[:-1])


def test_chunks_have_at_least_a_row(pair: tuple[Any, Any]) -> None:
    with pytest.raises(OptionError):
        list(pair[0].iter_chunks(0))
    for wrong in ({"rows": 0}, {"window": 0}):
        with pytest.raises(OptionError):
            list(pair[0].iter_shuffled(**wrong))


@pytest.mark.parametrize("block", [1, 30, 64, 1 << 20])
@pytest.mark.parametrize(("size", "window"), [(1, 1), (3, None), (4, 9), (5, 100), (100, 2), (None, None)])
def test_shuffled_chunks_hold_every_row_once(
    pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, size: int | None, window: int | None, block: int
) -> None:
    matrix, array = pair
    monkeypatch.setattr(matrix_module, "_SHUFFLED_BYTES", block)
    chunks = list(matrix.iter_shuffled(size, seed=3, window=window))
    for numbers, X in chunks:
        assert numbers.dtype == np.int64
        assert np.array_equal(X, array[numbers])
    assert size is None or all(len(X) == size for _, X in chunks[:-1])
    order = np.concatenate([numbers for numbers, _ in chunks])
    assert sorted(order) == list(range(len(array)))
    again = np.concatenate([numbers for numbers, _ in matrix.iter_shuffled(size, seed=3, window=window)])
    other = np.concatenate([numbers for numbers, _ in matrix.iter_shuffled(size, seed=4, window=window)])
    assert np.array_equal(again, order)
    assert not np.array_equal(other, order) or (block > 64 and window == 1)
    assert not np.array_equal(order, np.arange(len(array))) or (block > 64 and window == 1)


def test_a_window_of_all_rows_makes_every_order_equally_likely(tmp_path: Path) -> None:
    X = Sample(3, 2, 2).table(tmp_path).X
    orders = [tuple(np.concatenate([n for n, _ in X.iter_shuffled(2, seed=s, window=3)])) for s in range(600)]
    counts = [orders.count(order) for order in itertools.permutations(range(3))]
    assert min(counts) > 65  # 100 expected, standard deviation 9
    assert max(counts) < 135


def test_a_chunk_that_is_kept_does_not_change(pair: tuple[Any, Any]) -> None:
    matrix, array = pair
    kept = [(numbers, X) for numbers, X in matrix.iter_shuffled(2, window=4)]
    assert all(np.array_equal(X, array[numbers]) for numbers, X in kept)


def test_shuffling_holds_a_window_and_no_more(tmp_path: Path) -> None:
    table = Sample(20_000, 256, 5_000).table(tmp_path)  # 20 MB
    np.asarray(table.X)
    tracemalloc.start()
    for _, X in table.iter_shuffled(500, window=2_000):  # 2 MB
        assert len(X) == 500
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


@pytest.mark.parametrize(("start", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_of_a_data_loader_read_their_own(tmp_path: Path, start: str, workers: int) -> None:
    from torch.utils.data import BatchSampler, DataLoader, RandomSampler

    sample = Sample(50, 4, 20)
    table = sample.table(tmp_path, sample)
    table.X[0]  # a shard was read before the workers start
    batches = list(BatchSampler(RandomSampler(table.X), 8, drop_last=False))
    loader = DataLoader(table.X, sampler=batches, batch_size=None, num_workers=workers, multiprocessing_context=start)
    for numbers, X in zip(batches, loader, strict=True):
        assert np.array_equal(np.asarray(X), sample.X[numbers])


def test_threads_read_at_the_same_time(pair: tuple[Any, Any]) -> None:
    matrix, array = pair
    with ThreadPoolExecutor(8) as pool:
        orders = [np.random.default_rng(seed).permutation(len(array)) for seed in range(64)]
        for order, X in zip(orders, pool.map(matrix.__getitem__, orders), strict=True):
            assert np.array_equal(X, array[order])


@pytest.mark.parametrize(
    "index",
    [23, -24, [0, 23], np.zeros(5, bool), 1.5, [0.5], None, True, [[0, 1]], "a", (0, 0, 0), (0, [0, 1]), (0, 4)],
)
def test_what_cannot_index_is_an_index_error(pair: tuple[Any, Any], index: Any) -> None:
    with pytest.raises(IndexError):
        pair[0][index]


def test_labels_ids_and_classes_come_from_the_source(tmp_path: Path) -> None:
    sample = Sample(skipped={2: "torn", 9: "empty"})
    sample.ids = [f"first/{row}" for row in range(10)]
    store = sample.stored(tmp_path)
    sample.ids = [f"moved/{row}" for row in range(10)]
    table = store.open(sample.key, sample)
    assert table.rows.tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
    assert table.rows.dtype == np.int64
    assert table.y is not None
    assert table.y.dtype == np.int64
    assert table.y.tolist() == [0, 1, 0, 1, 2, 0, 1, 2]
    assert table.ids == [f"moved/{row}" for row in table.rows]
    assert table.classes == ("a", "b", "c")
    assert table.skipped == [(2, "moved/2", "torn"), (9, "moved/9", "empty")]
    assert (len(table), table.shape, table.dtype) == (8, (8, 3), np.dtype("float32"))
    assert digest_of(table.key) == sample.key.digest
    bare = store.open(sample.key)
    assert bare.y is None
    assert bare.classes == ()
    assert bare.ids == [f"first/{row}" for row in table.rows]


def test_a_source_of_other_images_is_refused(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    other = Sample()
    other.hashes = other.hashes[::-1]
    with pytest.raises(OptionError, match="images"):
        store.open(sample.key, other)
    with pytest.raises(OptionError, match="9 images"):
        store.open(sample.key, Sample(n=9))


def test_a_table_can_be_pickled_and_holds_no_file(tmp_path: Path, sample: Sample) -> None:
    store = sample.stored(tmp_path)
    before = len(os.listdir("/dev/fd"))
    table = store.open(sample.key, sample)
    np.asarray(table.X)
    copy = pickle.loads(pickle.dumps(table))
    assert len(os.listdir("/dev/fd")) == before
    assert np.array_equal(copy.X, sample.X)
    assert copy.ids == sample.ids


def test_no_rows_are_a_table_too(tmp_path: Path) -> None:
    sample = Sample(n=0)
    table = sample.table(tmp_path)
    assert np.asarray(table.X).shape == (0, 3)
    assert list(table.iter_chunks()) == []
    assert table.ids == []


def test_a_shard_that_shrinks_after_its_check_is_found(tmp_path: Path, sample: Sample) -> None:
    table = sample.table(tmp_path)
    np.asarray(table.X)
    shard = next((table.path / "shards").glob("00001-*.h5"))
    os.truncate(shard, shard.stat().st_size - 1)
    assert np.array_equal(table.X[:4], sample.X[:4])
    with pytest.raises(CorruptStoreError, match="00001-"):
        table.X[4]


def test_each_shard_is_checked_when_it_is_first_read(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    from featx.core import atomic

    hashed = []
    real = atomic.sha256_of
    table = sample.table(tmp_path)
    monkeypatch.setattr(atomic, "sha256_of", lambda fd, **how: hashed.append(fd) or real(fd, **how))
    sample.table(tmp_path)
    assert len(hashed) == 0
    table.X[0]
    assert len(hashed) == 1
    np.asarray(table.X)
    np.asarray(pickle.loads(pickle.dumps(table)).X)
    assert len(hashed) == 3


@pytest.mark.parametrize("skipped", [{}, {3: "broken"}])
def test_a_subset_is_read_as_the_rows_it_is_of(tmp_path: Path, skipped: dict[int, str]) -> None:
    table = Sample(skipped=skipped).table(tmp_path)
    rows = np.array([0, 2, 5, 8])
    part, whole = table.X.subset(rows), np.asarray(table.X)
    assert part.shape == (4, 3)
    assert np.array_equal(np.asarray(part), whole[rows])
    assert np.array_equal(part[1:3], whole[[2, 5]])
    assert np.array_equal(np.concatenate(list(part.iter_chunks(3))), whole[rows])
    assert np.array_equal(np.asarray(part.subset(np.array([1, 3]))), whole[[2, 8]])
    with pytest.raises(OptionError, match="not in ascending order"):
        table.X.subset(np.array([2, 0]))
    with pytest.raises(IndexError):
        table.X.subset(np.array([99]))


def test_sidecars_are_checked_and_not_parsed_when_a_table_is_opened(tmp_path: Path, sample: Sample) -> None:
    path = sample.table(tmp_path).path
    for name in ("ids.json", "rows.bin", "computed.bin"):
        data = (path / name).read_bytes()
        (path / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(CorruptStoreError, match=name):
            FeatureStore(tmp_path).open(path.name)
        (path / name).write_bytes(data)
