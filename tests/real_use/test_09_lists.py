"""Lists as people write them: other columns, separators and folders; what does not count is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from featx.cli.main import cli
from featx.data.sources import load_source, load_splits
from featx.errors import FeatxWarning, ImageError, OptionError, SourceError
from featx.training.end_to_end import EndToEndClassifier

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = [(f"{c}/{i}.png", c) for c in ("cat", "dog") for i in range(12)]
NET = ("-b", "lenet5", "--weights", "random:0", "-l", "pool2:avg", "--device", "cpu")


def featx(*args: object) -> Result:
    return CliRunner().invoke(cli, [str(arg) for arg in args])


def featx_json(*args: object) -> Any:
    result = featx(*args, "--json")
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def photos(tmp_path: Path, fill: Any) -> Path:
    """Twelve cats and twelve dogs."""
    folder: Path = fill(tmp_path / "photos", [name for name, _ in ROWS])
    return folder


Write = Callable[..., Path]


@pytest.fixture
def write(photos: Path) -> Write:
    """Write a list of the photos, in their folder or another."""

    def make(rows: Any = tuple(ROWS), head: str = "path,label", sep: str = ",", at: str = "list.csv") -> Path:
        path = photos / at
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([head, *(sep.join(row) for row in rows)]) + "\n")
        return path

    return make


def ids_and_labels(path: Path, **how: Any) -> list[tuple[str, str]]:
    source = load_source(path, **how)
    return [(name, source.classes[label]) for name, label in zip(source.ids, source.labels, strict=True)]


# spellings


@pytest.mark.parametrize("name", ["path", "filename", "file", "image", "image_path", "Filename", "Image Path"])
def test_the_column_of_paths_has_several_names(write: Write, name: str) -> None:
    assert ids_and_labels(write(head=f"{name},label")) == ROWS


@pytest.mark.parametrize("name", ["label", "class", "category", "Target"])
def test_so_has_the_column_of_labels(write: Write, name: str) -> None:
    assert ids_and_labels(write(head=f"filename,{name}")) == ROWS


@pytest.mark.parametrize("sep", [",", ";", "\t"])
@pytest.mark.parametrize("at", ["list.csv", "list.tsv"])
@pytest.mark.parametrize("headed", [True, False])
def test_values_are_separated_by_commas_semicolons_or_tabs(write: Write, sep: str, at: str, headed: bool) -> None:
    first, *rest = ROWS
    head, rows = (sep.join(("image", "class")), ROWS) if headed else (sep.join(first), rest)
    assert ids_and_labels(write(rows, head, sep, at)) == ROWS


@pytest.mark.parametrize("head", [",path,label", "Unnamed: 0,filename,class", "0,cat/0.png,cat"])
def test_the_index_of_pandas_is_no_column(write: Write, head: str) -> None:
    rows = [(str(i), *row) for i, row in enumerate(ROWS)]
    assert ids_and_labels(write(rows[1:] if "cat" in head else rows, head)) == ROWS


@pytest.mark.parametrize("start", [0, 1, 17])
@pytest.mark.parametrize("step", [1, 3])
def test_an_index_may_start_anywhere_and_leave_out_rows(write: Write, start: int, step: int) -> None:
    first, *rows = [(str(start + step * i), *row) for i, row in enumerate(ROWS)]
    assert ids_and_labels(write(rows, ",".join(first))) == ROWS


@pytest.mark.parametrize(("with_split", "sep"), [(False, ","), (True, ","), (True, ";"), (True, "\t")])
def test_labels_before_the_paths_are_no_index(write: Write, with_split: bool, sep: str) -> None:
    rows = [
        (str(int(c == "dog")), name, *(["train", "test"][i % 2 :][:1] * with_split)) for i, (name, c) in enumerate(ROWS)
    ]
    path = write(rows[1:], sep.join(rows[0]), sep)
    with pytest.raises(
        SourceError, match=r"line 2: it begins with '0' after 0, expected a path, or pandas' index"
    ) as caught:
        load_splits(path)
    header = "label,path,split" if with_split else "label,path"
    assert caught.value.hint.endswith(f"here perhaps {header}")
    assert "path,label or path,label,split" in caught.value.hint
    source = load_splits(write(rows, sep.join(header.split(",")), sep))
    assert all(one.classes == ("0", "1") for one in source.values())


@pytest.mark.parametrize("values", ["0 0", "1 0", "0 1 1", "0 1 2 x", "0 " + "9" * 5000])
def test_numbers_that_do_not_count_up_are_refused_where_they_stop(write: Write, values: str) -> None:
    numbers = values.split()
    rows = [(number, *row) for number, row in zip(numbers, ROWS, strict=False)]
    with pytest.raises(SourceError, match=f"line {len(numbers)}: it begins with '{numbers[-1][:30]}"):
        load_source(write(rows[1:], ",".join(rows[0])))


@pytest.mark.parametrize("index", [(), ("4",)])
@pytest.mark.parametrize("labels", [["train", "Test"], ["train"], ["valid", ""]])
def test_splits_where_labels_stand_without_a_header_are_no_classes(
    write: Write, index: tuple[str, ...], labels: list[str]
) -> None:
    rows = [(*(str(int(at) + i) for at in index), ROWS[i][0], labels[i % len(labels)]) for i in range(6)]
    with pytest.raises(SourceError, match=r"line 1: without a header .* all labels here are splits: ") as caught:
        load_splits(write(rows[1:], ",".join(rows[0])))
    assert "path,split" in caught.value.hint
    if "" not in labels and not index:
        assert "train" in load_splits(write(rows, "path,split"))


def test_a_class_called_like_a_split_is_one_among_others(write: Write) -> None:
    rows = [("cat/0.png", "train"), ("cat/1.png", "bus"), ("dog/1.png", "train")]
    assert ids_and_labels(write(rows[1:], ",".join(rows[0]))) == rows
    assert ids_and_labels(write([rows[0]])) == rows[:1]


def test_paths_that_were_the_index_of_pandas_are_paths(write: Write) -> None:
    assert ids_and_labels(write(head=",label")) == ROWS


def test_marks_line_ends_quotes_and_blanks_change_nothing(photos: Path) -> None:
    (photos / "cat/0.png").rename(photos / "cat/a; b.png")
    text = '\ufeff"image_path"; "class"\r\n"cat/a; b.png"; "cat"\r\n\r\ndog/1.png;dog\r\n'
    (photos / "list.csv").write_bytes(text.encode())
    assert ids_and_labels(photos / "list.csv") == [("cat/a; b.png", "cat"), ("dog/1.png", "dog")]


def test_splits_are_found_in_a_column_called_set_where_it_holds_splits(write: Write) -> None:
    rows = [(*row, "test" if i % 3 == 0 else "train") for i, row in enumerate(ROWS)]
    assert set(load_splits(write(rows, "filename,class,set"))) == {"train", "test"}
    with pytest.warns(FeatxWarning, match="not read: set"):
        assert set(load_splits(write([(*row, "7") for row in ROWS], "filename,class,set"))) == {"all"}


def test_a_column_that_could_be_meant_is_not_guessed(write: Write) -> None:
    with pytest.raises(SourceError, match="columns image and filename, expected one path") as caught:
        load_source(write([(name, *row) for row, (name, _) in zip(ROWS, ROWS, strict=True)], "image,filename,label"))
    assert caught.value.hint == "call one of them path"
    assert ids_and_labels(write([("x", *row) for row in ROWS], "filename,path,label")) == ROWS


def test_a_list_without_labels_says_which_columns_it_does_not_read(write: Write) -> None:
    result = featx("fit", write(head="filename,species"), "--pixels")
    assert result.exit_code == 1
    assert "has no column label or split; not read: species" in result.stderr
    assert "columns path and label" in result.stderr


# folders


def test_absolute_paths_below_the_lists_folder_are_the_relative_ones(write: Write, photos: Path) -> None:
    relative = load_source(write())
    absolute = load_source(write([(f"{photos}//{name}", label) for name, label in ROWS], at="abs.csv"))
    assert list(absolute.ids) == list(relative.ids)
    assert absolute.fingerprint() == relative.fingerprint()


def test_absolute_paths_by_way_of_a_link_are_found(write: Write, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(photos)
    rows = [(f"{tmp_path}/link/{name}", label) for name, label in ROWS]
    write(rows)
    assert ids_and_labels(photos / "list.csv") == ROWS
    assert ids_and_labels(tmp_path / "link/list.csv") == ROWS
    assert ids_and_labels(write(rows, at="../elsewhere/list.csv"), root=photos) == ROWS


def test_every_command_that_takes_a_source_takes_a_root(write: Write, photos: Path, tmp_path: Path) -> None:
    path = write(head="filename;class", sep=";", at="../lists/list.csv")
    far = (path, "--root", photos)
    fitted = featx_json("fit", *far, *NET)
    assert fitted["rows"] == {"train": 20, "val": 2, "test": 2}
    assert featx_json("extract", *far, *NET)["layers"][0]["reused"] == 24
    key = featx_json("cache", "ls")["entries"][0]["digest"]
    assert featx_json("cache", "export", key, "-o", tmp_path / "f.npz", "--source", *far)["labels"] is True
    assert featx_json("show", *far, "-o", tmp_path / "s.png")["images"] == 24
    assert featx_json("predict", fitted["run"], *far)["labelled"] == 24
    trained = featx_json("train", *far, "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--device", "cpu")
    assert trained["rows"] == fitted["rows"]


def test_python_takes_a_root_and_absolute_paths_below_it(write: Write, photos: Path) -> None:
    relative = write(at="../lists/rel.csv")
    absolute = write([(f"{photos}/{name}", label) for name, label in ROWS], at="../lists/abs.csv")
    assert ids_and_labels(relative, root=photos) == ids_and_labels(absolute, root=str(photos)) == ROWS


@pytest.mark.parametrize(
    ("source", "root"),
    [("digits", "."), ("photos", "photos"), ("photos/list.csv", "nowhere"), ("photos/list.csv", ""), ("x.npz", ".")],
)
def test_a_root_that_is_none_or_of_no_list_is_a_usage_error(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, root: str
) -> None:
    write()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npz").touch()
    result = featx("fit", source, "--root", root, "--pixels")
    assert result.exit_code == 2
    assert "root" in result.stderr
    with pytest.raises(OptionError, match="root"):
        load_source(source, root=root)


def test_a_root_for_nothing_is_a_usage_error(write: Write, photos: Path, tmp_path: Path) -> None:
    run = featx_json("fit", write(), *NET)["run"]
    assert featx("predict", run, photos / "cat/1.png", "--root", photos).exit_code == 2
    key = featx_json("cache", "ls")["entries"][0]["digest"]
    assert featx("cache", "export", key, "-o", tmp_path / "f.npz", "--root", photos).exit_code == 2


def test_a_path_outside_is_refused_and_the_hint_mends_it(write: Write, photos: Path) -> None:
    path = write([(f"{photos}/{name}", label) for name, label in ROWS[:9]], at="../lists/list.csv")
    refused = featx("fit", path, *NET)
    assert refused.exit_code == 1
    assert f"line 2: its path is '{photos}/cat/0.png'" in refused.stderr
    hint = refused.stderr.rpartition("--root ")[2].strip()
    assert load_source(path, root=hint).ids[0] == "0.png"


@pytest.mark.parametrize("path", ["{out}/secret.png", "../out/secret.png", "{photos}/../out/secret.png", "C:\\x.png"])
@pytest.mark.parametrize("rooted", [True, False])
def test_nothing_outside_of_the_folder_is_named(write: Write, photos: Path, fill: Any, path: str, rooted: bool) -> None:
    out = fill(photos.parent / "out", ["secret.png"])
    found = write([(path.format(out=out, photos=photos), "cat")], at="../lists/list.csv" if rooted else "list.csv")
    with pytest.raises(SourceError, match="line 2: its path"):
        load_source(found, root=photos if rooted else None)


@pytest.mark.parametrize("absolute", [True, False])
@pytest.mark.parametrize("link", ["file", "folder"])
def test_links_below_a_root_that_lead_out_are_refused_unread(
    write: Write, photos: Path, fill: Any, absolute: bool, link: str
) -> None:
    out = fill(photos.parent / "out", ["secret.png"])
    (photos / "away").symlink_to(out) if link == "folder" else (photos / "s.png").symlink_to(out / "secret.png")
    name = "away/secret.png" if link == "folder" else "s.png"
    path = write([(f"{photos}/{name}" if absolute else name, "cat")], at="../lists/list.csv")
    with pytest.raises(ImageError, match="leads out"):
        load_source(path, root=photos)[0]


# files that are not there


def test_missing_files_are_named_before_the_work(write: Write) -> None:
    path = write([*ROWS, ("cat/none.png", "cat"), ("dog/gone.png", "dog")])
    for command in (("fit", path, *NET), ("extract", path, *NET)):
        result = featx(*command)
        assert result.exit_code == 1
        assert "2 of 26 images cannot be read: cat/none.png, dog/gone.png" in result.stderr
        assert "No such file" in result.stderr
    result = featx("train", path, "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--device", "cpu")
    assert "cat/none.png, dog/gone.png" in result.stderr


def test_missing_files_are_left_out_where_that_is_asked_for(write: Write) -> None:
    whole = featx_json("fit", write(), *NET)
    result = featx("fit", write([*ROWS, ("cat/none.png", "cat")]), *NET, "--on-error", "skip", "--json")
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert [image["id"] for image in document["skipped"]] == ["cat/none.png"]
    assert (document["rows"], document["accuracy"]) == (whole["rows"], whole["accuracy"])


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_too_many_missing_files_are_named_instead_of_rows_that_are_left(write: Write, on_error: str) -> None:
    gone = [(f"{c}/gone{i}.png", c) for c in ("cat", "dog") for i in range(3)]
    result = featx("fit", write([ROWS[0], *gone]), *NET, "--on-error", on_error)
    assert result.exit_code == 1
    for name, _ in gone:
        assert name in result.stderr
    assert "leaves no rows" not in result.stderr


def test_a_list_of_nothing_that_is_there_says_where_it_would_be(write: Write, photos: Path) -> None:
    path = write([(f"photos/{name}", label) for name, label in ROWS])
    with pytest.raises(SourceError, match=r"all of the 24 files .* cannot be found: photos/cat/0.png") as caught:
        load_source(path)
    assert f"root='{photos.parent}'" in caught.value.hint
    assert len(load_source(path, root=photos.parent)) == 24


# rows that do not count


def test_rows_without_a_label_are_counted_aloud(write: Write) -> None:
    path = write([*ROWS[:-2], (ROWS[-2][0], ""), (ROWS[-1][0], " ")])
    told = featx("fit", path, *NET)
    assert told.exit_code == 0
    assert "2 of 24 rows have no label and are left out" in told.stderr
    assert featx_json("fit", path, *NET)["unlabelled"] == {"all": 2}


def test_so_are_stray_images_beside_class_folders_and_unlabelled_splits(photos: Path, fill: Any) -> None:
    fill(photos, ["stray.png"])
    assert "1 of 25 rows have no label" in featx("fit", photos, *NET).stderr
    names = [f"train/{c}/{i}.png" for c in "ab" for i in range(10)]
    contest = fill(photos.parent / "contest", [*names, "test/1.png", "test/2.png"])
    result = featx("fit", contest, *NET)
    assert "2 of 2 rows of test have no label" in result.stderr


def test_the_estimator_says_it_too(write: Write) -> None:
    source = load_source(write([*ROWS[:-1], (ROWS[-1][0], ""), ("cat/0.png", "dog")]))
    model = EndToEndClassifier("lenet5", mode="scratch", epochs=1, device="cpu")
    with pytest.warns(FeatxWarning) as heard:
        model.fit(source)
    said = "\n".join(str(one.message) for one in heard)
    assert "1 of 25 rows have no label" in said
    assert "cat/0.png (cat, dog)" in said


def test_one_file_under_two_labels_is_said(write: Write) -> None:
    path = write([*ROWS, ("cat/0.png", "dog"), ("cat/0.png", "cat")])
    result = featx("fit", path, *NET)
    assert result.exit_code == 0
    assert "1 image is listed under several classes, in 3 rows: cat/0.png (cat, dog)" in result.stderr
    assert featx_json("fit", path, *NET)["conflicting"] == {"images": 1, "rows": 3}


def test_equal_images_in_two_class_folders_are_said(photos: Path) -> None:
    for i in (0, 1):
        (photos / f"dog/copy{i}.png").write_bytes((photos / f"cat/{i}.png").read_bytes())
    result = featx("train", photos, "-b", "lenet5", "--mode", "scratch", "--epochs", "1", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    assert "2 images are listed under several classes, in 4 rows" in result.stderr
    assert featx_json("fit", photos, *NET)["conflicting"] == {"images": 2, "rows": 4}


def test_equal_images_of_one_class_are_not(photos: Path) -> None:
    (photos / "cat/copy.png").write_bytes((photos / "cat/0.png").read_bytes())
    assert "several classes" not in featx("fit", photos, *NET).stderr
    assert featx_json("fit", photos, *NET)["conflicting"] == {"images": 0, "rows": 0}
