"""Where images come from does not matter; what they are does."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from source_facts import facts

from featx.cache.memo import Memo
from featx.data.sources import Source, load_source, load_splits
from featx.errors import OptionError

Pack = Callable[[Path], Path]


# One data set, several places


def test_a_folder_gives_images_labels_and_relative_ids(pets: Path) -> None:
    source = load_source(pets)
    assert isinstance(source, Source)
    assert list(source.ids) == [f"cat/{i}.png" for i in range(6)] + [f"dog/{i}.png" for i in range(4)]
    assert source.labels.tolist() == [0] * 6 + [1] * 4
    assert source.labels.dtype == np.int64
    assert source.classes == ("cat", "dog")
    image, label = source[7]
    assert (image.shape, image.dtype, label) == ((10, 12, 3), np.uint8, 1)


def test_folder_and_archive_of_the_same_images_are_equal(pets: Path, pack: Pack) -> None:
    folder, archive = load_source(pets), load_source(pack(pets))
    assert facts(folder) == facts(archive)
    np.testing.assert_array_equal(folder.row_hashes(), archive.row_hashes())
    for i in range(len(folder)):
        np.testing.assert_array_equal(folder[i][0], archive[i][0])


def test_moved_wrapped_and_touched_images_are_the_same_source(pets: Path, tmp_path: Path) -> None:
    before = facts(load_source(pets))
    shutil.copytree(pets, tmp_path / "elsewhere/wrapped/pets")
    for path in (tmp_path / "elsewhere").rglob("*.png"):
        os.utime(path, (1, 1))
    assert facts(load_source(tmp_path / "elsewhere/wrapped")) == before


def test_splits_of_folder_and_archive_are_equal(split_pets: Path, pack: Pack) -> None:
    folder, archive = load_splits(split_pets), load_splits(pack(split_pets))
    assert list(folder) == ["train", "test"]
    assert {s: facts(source) for s, source in folder.items()} == {s: facts(source) for s, source in archive.items()}


def test_paths_may_be_objects_relative_or_the_users_own(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = facts(load_source(pets))
    monkeypatch.chdir(pets.parent)
    monkeypatch.setenv("HOME", str(pets.parent))
    for spec in ("pets", "./pets", "pets/", "~/pets"):
        assert facts(load_source(spec)) == expected


# Labels are no part of the content


def test_relabelling_an_image_keeps_its_row_hash(pets: Path) -> None:
    before = load_source(pets)
    hashes = dict(zip([h.tobytes() for h in before.row_hashes()], before.labels.tolist(), strict=True))
    (pets / "cat/5.png").rename(pets / "dog/moved.png")
    after = load_source(pets)
    assert {h.tobytes() for h in after.row_hashes()} == set(hashes)
    changed = [h for h, label in zip(after.row_hashes(), after.labels, strict=True) if hashes[h.tobytes()] != label]
    assert len(changed) == 1


def test_renaming_the_classes_in_place_keeps_the_fingerprint(pets: Path) -> None:
    before = load_source(pets).fingerprint()
    (pets / "cat").rename(pets / "cats and kittens")
    after = load_source(pets)
    assert after.fingerprint() == before
    assert after.classes == ("cats and kittens", "dog")


def test_every_change_of_content_or_order_changes_the_fingerprint(pets: Path, png: Any) -> None:
    source = load_source(pets)
    seen = {
        source.fingerprint(),
        source.subset(np.arange(9)).fingerprint(),
        source.subset(np.arange(9, -1, -1)).fingerprint(),
    }
    (pets / "dog/0.png").write_bytes(png(1000))
    seen.add(load_source(pets).fingerprint())
    assert len(seen) == 4


@pytest.mark.usefixtures("settled")
def test_a_memo_changes_no_answer(split_pets: Path, pack: Pack, tmp_path: Path) -> None:
    for spec in (split_pets, pack(split_pets)):
        plain = [facts(source) for source in load_splits(spec).values()]
        for _ in range(2):
            memo = Memo(tmp_path / "home")
            assert [facts(source) for source in load_splits(spec, memo=memo).values()] == plain


# Fewer rows


def test_one_split_can_be_asked_for(split_pets: Path) -> None:
    assert facts(load_source(split_pets, "test")) == facts(load_splits(split_pets)["test"])


def test_limit_holds_for_each_split_and_per_class_for_what_is_learnt(split_pets: Path) -> None:
    limited = load_splits(split_pets, limit=3)
    assert {s: len(source) for s, source in limited.items()} == {"train": 3, "test": 3}
    few = load_splits(split_pets, per_class=1)
    assert {s: len(source) for s, source in few.items()} == {"train": 2, "test": 4}
    assert few["train"].classes == ("cat", "dog")
    assert len(load_source(split_pets, "test", per_class=1)) == 2


def test_asking_for_more_than_there_is_gives_all(pets: Path) -> None:
    assert facts(load_source(pets, limit=99, per_class=99)) == facts(load_source(pets))


def test_the_choice_is_seeded_and_the_same_in_folder_and_archive(pets: Path, pack: Pack) -> None:
    archive = pack(pets)
    chosen = {seed: tuple(load_source(pets, limit=4, seed=seed).ids) for seed in range(5)}
    assert len(set(chosen.values())) > 1
    for seed, ids in chosen.items():
        assert tuple(load_source(archive, limit=4, seed=seed).ids) == ids


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"per_class": 0}, {"limit": -3}, {"limit": 2.5}], ids=str)
def test_a_limit_that_is_no_count_is_refused(pets: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="expected a whole number"):
        load_source(pets, **wrong)


# What is not there


def test_a_mistyped_path_is_answered_with_its_neighbour(pets: Path) -> None:
    with pytest.raises(OptionError, match="there is no file or folder") as caught:
        load_source(pets.parent / "pest")
    assert "did you mean pets" in caught.value.hint


def test_a_mistyped_built_in_is_answered_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError) as caught:
        load_source("digit")
    assert "did you mean digits" in caught.value.hint


@pytest.mark.parametrize("spec", ["nowhere/at/all", "", " ", "a\0b", "x" * 5000])
def test_what_does_not_exist_is_refused(tmp_path: Path, spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OptionError, match=r"neither built in nor|no file or folder") as caught:
        load_source(spec)
    assert caught.value.hint


def test_no_name_is_not_the_current_folder(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # `featx fit "$DATA"` with DATA never set.
    monkeypatch.chdir(pets)
    with pytest.raises(OptionError):
        load_source("")


def test_a_mistyped_split_is_answered_with_those_there_are(split_pets: Path) -> None:
    with pytest.raises(OptionError, match="there is no split 'tets', expected one of: train, test") as caught:
        load_source(split_pets, "tets")
    assert "did you mean test" in caught.value.hint


def test_one_image_is_answered_with_its_folder(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pets)
    for spec in ("cat/1.png", "./cat/1.png", str(pets / "cat/1.png")):
        with pytest.raises(OptionError, match="is one image, expected a folder"):
            load_source(spec)


@pytest.mark.parametrize("name", ["data.rar", "data", "data.doc"])
def test_an_unknown_kind_of_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(OptionError, match=r"expected a folder, \.zip"):
        load_source(tmp_path / name)


def test_a_suffix_counts_in_any_case(pets: Path, pack: Pack) -> None:
    archive = pack(pets)
    assert facts(load_source(archive.rename(archive.with_suffix(".ZIP")))) == facts(load_source(pets))


# Names


def test_spaces_case_and_other_scripts(tmp_path: Path, fill: Any, pack: Pack) -> None:
    names = ["big cats/Löwe 1.PNG", "big cats/#2 %20.Png", "犬/いぬ.png"]
    folder = fill(tmp_path / "Bilder für alle", names)
    source = load_source(folder)
    assert list(source.ids) == sorted(names)
    assert source.classes == ("big cats", "犬")
    assert facts(load_source(pack(folder))) == facts(source)
    assert len({source[i][0].tobytes() for i in range(3)}) == 3


def test_a_name_that_is_no_unicode(tmp_path: Path, fill: Any) -> None:
    folder = fill(tmp_path / "odd", ["cat/1.png", "cat/2.png"])
    try:
        os.rename(os.fsencode(folder / "cat/1.png"), os.fsencode(folder / "cat") + b"/\xff.png")
    except OSError:
        pytest.skip("this file system takes Unicode names alone")
    source = load_source(folder, limit=1)
    assert len(load_source(folder, limit=2)) == 2
    assert source.fingerprint()
    assert all(load_source(folder)[i][0].shape == (10, 12, 3) for i in range(2))


# Tiny-ImageNet's layout, drawn


@pytest.fixture
def tiny_imagenet(tmp_path: Path, fill: Any) -> Path:
    root = tmp_path / "tiny/tiny-imagenet-200"
    train = [f"train/{wnid}/images/{wnid}_{i}.JPEG" for wnid in ("n01", "n02") for i in range(3)]
    fill(root, [*train, *[f"val/images/val_{i}.JPEG" for i in range(4)], "test/images/test_0.JPEG"])
    (root / "wnids.txt").write_text("n02\nn01\n")
    lines = [f"val_{i}.JPEG\t{'n02' if i % 2 else 'n01'}\t0\t0\t9\t9\n" for i in range(4)]
    (root / "val/val_annotations.txt").write_text("".join(lines))
    (root / "train/n01/n01_boxes.txt").write_text("n01_0.JPEG\t0\t0\t9\t9\n")
    return root.parent


def test_tiny_imagenet_has_labelled_validation_and_unlabelled_test(tiny_imagenet: Path, pack: Pack) -> None:
    for spec in (tiny_imagenet, tiny_imagenet / "tiny-imagenet-200", pack(tiny_imagenet)):
        splits = load_splits(spec)
        assert {s: source.labels.tolist() for s, source in splits.items()} == {
            "train": [0, 0, 0, 1, 1, 1],
            "val": [0, 1, 0, 1],
            "test": [-1],
        }
        assert splits["val"].classes == ("n01", "n02")
        assert splits["val"][1][1] == 1
        assert splits["test"][0][1] is None


# Real data


@pytest.mark.shared
def test_cifar10_has_all_its_rows_and_a_quick_second_fingerprint(
    shared_data: Path, tmp_path: Path, settled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared_data / "cifar10.zip"
    if not path.exists():
        pytest.skip(f"NO REAL DATA: {path} is not there")
    first = load_splits(path, memo=Memo(tmp_path))
    assert {s: len(source) for s, source in first.items()} == {"train": 50_000, "test": 10_000}
    assert len(first["train"].classes) == 10
    assert np.bincount(first["train"].labels).tolist() == [5_000] * 10
    assert np.bincount(first["test"].labels).tolist() == [1_000] * 10
    prints = {s: source.fingerprint() for s, source in first.items()}
    # Quick because nothing is opened; the seconds are in CONTRIBUTING.md (Figures).
    with monkeypatch.context() as patched:
        patched.setattr("zipfile.ZipFile.__init__", lambda *args, **how: pytest.fail("the archive was opened again"))
        second = load_splits(path, memo=Memo(tmp_path))
        assert {s: source.fingerprint() for s, source in second.items()} == prints
    assert second["train"][49_999][0].shape == (32, 32, 3)


@pytest.mark.shared
def test_tiny_imagenets_validation_labels_are_those_of_its_annotations(shared_data: Path) -> None:
    path = shared_data / "tiny-imagenet-200.zip"
    if not path.exists():
        pytest.skip(f"NO REAL DATA: {path} is not there")
    splits = load_splits(path)
    with zipfile.ZipFile(path) as archive:
        lines = archive.read("tiny-imagenet-200/val/val_annotations.txt").decode().splitlines()
        wnids = archive.read("tiny-imagenet-200/wnids.txt").decode().split()
    expected = {f"val/images/{line.split()[0]}": line.split()[1] for line in lines}
    val = splits["val"]
    assert {name: val.classes[label] for name, label in zip(val.ids, val.labels, strict=True)} == expected
    assert val.classes == splits["train"].classes == tuple(sorted(wnids))
    assert all(
        f"/{val.classes[label]}/" in name
        for name, label in zip(splits["train"].ids, splits["train"].labels, strict=True)
    )


@pytest.mark.parametrize(("spec", "hint"), [("photos/missing", "check the folder"), ("photo.png", "photos.png")])
def test_what_can_only_be_a_path_is_not_answered_with_data_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str, hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos.png").touch()
    with pytest.raises(OptionError, match="there is no file or folder") as caught:
        load_splits(spec)
    assert hint in caught.value.hint
    assert "cifar" not in caught.value.hint
