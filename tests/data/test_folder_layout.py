"""A listing of names is understood as splits and classes, or refused."""

from __future__ import annotations

import pytest

from featx.data.folder_layout import Layout, read_layout
from featx.errors import SourceError


def layout(*names: str, files: dict[str, str] | None = None) -> Layout:
    texts = files or {}
    return read_layout(sorted([*names, *texts]), lambda name: texts[name].encode(), "photos")


def labels(found: Layout) -> dict[str, dict[str, str | None]]:
    """Id -> class, by split."""
    return {split: {row.id: row.label for row in rows} for split, rows in found.splits.items()}


@pytest.mark.parametrize("wrap", ["", "cifar10/", "my photos/"])
def test_class_folders(wrap: str) -> None:
    found = layout(*(wrap + name for name in ("dog/1.png", "cat/2.png", "cat/10.png")))
    assert labels(found) == {"all": {"cat/10.png": "cat", "cat/2.png": "cat", "dog/1.png": "dog"}}
    assert found.classes == ("cat", "dog")
    assert [row.name for row in found.splits["all"]] == [wrap + n for n in ("cat/10.png", "cat/2.png", "dog/1.png")]


@pytest.mark.parametrize("wrap", ["", "cifar10/"])
def test_split_folders(wrap: str) -> None:
    names = ("test/cat/1.png", "train/cat/1.png", "train/dog/2.png", "val/dog/3.png")
    found = layout(*(wrap + name for name in names))
    assert labels(found) == {
        "train": {"train/cat/1.png": "cat", "train/dog/2.png": "dog"},
        "val": {"val/dog/3.png": "dog"},
        "test": {"test/cat/1.png": "cat"},
    }
    assert list(found.splits) == ["train", "val", "test"]


@pytest.mark.parametrize("name", ["val", "valid", "validation", "Val", "VALIDATION"])
def test_every_spelling_of_validation(name: str) -> None:
    found = layout("train/cat/1.png", f"{name}/cat/1.png")
    assert list(found.splits) == ["train", "val"]


def test_one_split_alone_is_a_split() -> None:
    assert labels(layout("train/cat/1.png", "train/dog/1.png")) == {
        "train": {"train/cat/1.png": "cat", "train/dog/1.png": "dog"}
    }


def test_a_test_folder_without_classes_has_no_labels() -> None:
    found = layout("train/cat/1.png", "train/dog/1.png", "test/1.png", "test/2.png")
    assert labels(found)["test"] == {"test/1.png": None, "test/2.png": None}
    assert found.classes == ("cat", "dog")


def test_classes_of_all_splits_are_numbered_together() -> None:
    assert layout("train/b/1.png", "test/a/1.png", "val/c/1.png").classes == ("a", "b", "c")


def test_a_flat_folder_has_no_labels() -> None:
    found = layout("1.png", "2.png")
    assert labels(found) == {"all": {"1.png": None, "2.png": None}}
    assert found.classes == ()


def test_one_class_is_a_class_and_no_wrapping() -> None:
    assert labels(layout("cat/1.png", "cat/2.png")) == {"all": {"cat/1.png": "cat", "cat/2.png": "cat"}}


def test_folders_below_a_class_belong_to_it() -> None:
    found = layout("cat/a/1.png", "cat/b/deep/2.png", "dog/3.png")
    assert labels(found)["all"] == {"cat/a/1.png": "cat", "cat/b/deep/2.png": "cat", "dog/3.png": "dog"}


def test_a_class_of_trains_is_no_split() -> None:
    found = layout("airplane/1.png", "car/1.png", "train/1.png")
    assert found.classes == ("airplane", "car", "train")
    assert list(found.splits) == ["all"]


@pytest.mark.parametrize("stray", ["preview.png", "extra/cat/1.png", "docs/figure.png"])
@pytest.mark.parametrize("wrap", ["", "cifar10/"])
def test_something_beside_the_splits_is_refused_and_not_made_a_class(stray: str, wrap: str) -> None:
    names = ["train/cat/1.png", "train/dog/1.png", "test/cat/1.png", stray]
    with pytest.raises(SourceError, match="test and train folders next to") as caught:
        layout(*(wrap + name for name in names))
    assert stray.split("/")[0] in str(caught.value) or "without a folder" in str(caught.value)


def test_other_files_are_passed_over() -> None:
    found = layout("README.md", "labels.csv", "cat/1.png", "cat/notes.txt", "Thumbs.db", "__MACOSX/cat/._1.png")
    assert labels(found) == {"all": {"cat/1.png": "cat"}}


@pytest.mark.parametrize("wrap", ["a/b/", "download/my photos/pets/"])
def test_several_wrapping_folders_are_unwrapped(wrap: str) -> None:
    found = layout(wrap + "train/cat/1.png", wrap + "train/dog/1.png", wrap + "test/cat/1.png")
    assert list(labels(found)["test"].items()) == [("test/cat/1.png", "cat")]
    found = layout(wrap + "cat/1.png", wrap + "dog/2.png")
    assert labels(found) == {"all": {"cat/1.png": "cat", "dog/2.png": "dog"}}


@pytest.mark.parametrize("inner", ["train/cat/1.png test/cat/1.png", "cat/1.png dog/2.png", "x/cat/1.png x/dog/2.png"])
def test_an_image_beside_the_only_folder_of_folders_is_refused(inner: str) -> None:
    names = [f"pets/{name}" for name in inner.split()]
    with pytest.raises(
        SourceError, match=r"holds the image preview\.png next to one folder of folders, pets/"
    ) as caught:
        layout("preview.png", *names)
    assert "name photos/pets, or move" in caught.value.hint


def test_an_image_beside_class_folders_has_no_label() -> None:
    found = layout("stray.png", "cat/1.png", "dog/1.png")
    assert labels(found)["all"]["stray.png"] is None
    assert found.classes == ("cat", "dog")


def test_names_with_leading_dots_may_be_classes() -> None:
    found = layout(".NET/1.png", "Java/.1.png", ".git/x.png", "Java/._1.png", "Java/.trashed-17-a.jpg")
    assert labels(found) == {"all": {".NET/1.png": ".NET", "Java/.1.png": "Java"}}


def test_what_programs_leave_behind_is_no_class() -> None:
    found = layout(".ipynb_checkpoints/1.png", "cat/1.png", "dog/1.png", "dog/.thumbs/1.png")
    assert found.classes == ("cat", "dog")
    assert len(found.splits["all"]) == 2


def test_macos_resource_forks_do_not_hide_the_wrapping_folder() -> None:
    found = layout("pets/cat/1.jpg", "pets/dog/1.jpg", "__MACOSX/pets/cat/._1.jpg", "pets/._cat")
    assert labels(found) == {"all": {"cat/1.jpg": "cat", "dog/1.jpg": "dog"}}


def test_upper_case_spaces_and_other_scripts() -> None:
    found = layout("big cats/Löwe 1.JPG", "big cats/b.Jpeg", "犬/いぬ.PNG")
    assert found.classes == ("big cats", "犬")
    assert [row.id for row in found.splits["all"]] == ["big cats/Löwe 1.JPG", "big cats/b.Jpeg", "犬/いぬ.PNG"]


@pytest.mark.parametrize("names", [(), ("readme.txt",), ("a.npz", "b.csv"), ("__MACOSX/._1.jpg",)])
def test_no_images_at_all_is_refused_with_an_example(names: tuple[str, ...]) -> None:
    with pytest.raises(SourceError, match="photos holds no images") as caught:
        layout(*names)
    assert "cats/1.jpg" in caught.value.hint


# Tiny-ImageNet

ANNOTATIONS = "val_0.JPEG\tn02\t0\t0\t9\t9\nval_1.JPEG\tn01\t0\t0\t9\t9\n"


@pytest.mark.parametrize("wrap", ["", "tiny-imagenet-200/"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_tiny_imagenet(wrap: str, line_end: str) -> None:
    names = ("train/n01/images/n01_0.JPEG", "train/n02/images/n02_0.JPEG", "test/images/test_0.JPEG")
    names += ("val/images/val_0.JPEG", "val/images/val_1.JPEG", "val/images/val_2.JPEG")
    files = {"wnids.txt": "n02\nn01\n", "words.txt": "n01\tfish", "val/val_annotations.txt": ANNOTATIONS}
    files = {wrap + name: text.replace("\n", line_end) for name, text in files.items()}
    found = layout(*(wrap + name for name in names), files=files)
    assert labels(found) == {
        "train": {"train/n01/images/n01_0.JPEG": "n01", "train/n02/images/n02_0.JPEG": "n02"},
        "val": {"val/images/val_0.JPEG": "n02", "val/images/val_1.JPEG": "n01", "val/images/val_2.JPEG": None},
        "test": {"test/images/test_0.JPEG": None},
    }
    assert found.classes == ("n01", "n02")
