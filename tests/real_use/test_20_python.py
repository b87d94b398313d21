"""What Python users try: data frames, DataLoader, lists of images, tensors, types, and errors that speak Python."""

from __future__ import annotations

import dataclasses
import re
import typing
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pytest
import torch
from drawn import drawn
from PIL import Image
from sklearn.pipeline import make_pipeline
from torch.utils.data import DataLoader

from featx import (
    EndToEndClassifier,
    FeatureExtractor,
    FeatureStore,
    FeatureTable,
    SoftmaxRegression,
    SoftmaxRegressionCV,
)
from featx.core import specs
from featx.core.specs import ExtractConfig
from featx.errors import FeatxError, FeatxWarning, OptionError, speaking_options, spoken
from featx.extraction.inputs import as_source
from featx.probes import config as fit_config
from featx.training import config as train_config

pytestmark = pytest.mark.usefixtures("one_thread")

COLOURS = np.random.default_rng(0).integers(0, 256, (4, 8, 9, 3), np.uint8)
"""Four images of 9 x 8 px, channels last."""


def lenet(layers: Any = "pool2", **options: Any) -> FeatureExtractor:
    return FeatureExtractor("lenet5", layers, weights="random:0", device="cpu", **options)


def seen(X: Any) -> npt.NDArray[np.uint8]:
    """The images of what was handed over, as featx reads them."""
    source = as_source(X)
    return np.stack([source[i][0] for i in range(len(source))])


# ---- names of columns -----------------------------------------------------------------------------------------------


def test_columns_are_named_after_layer_and_number() -> None:
    made = lenet(["conv1:avg", "pool2"])
    before = made.get_feature_names_out()  # without an image: the network's size is known
    assert before[[0, 5, 6, -1]].tolist() == ["conv1:avg_0", "conv1:avg_5", "pool2_0", "pool2_399"]
    assert made.transform(drawn(2, channels=1)).shape == (2, len(before))
    assert made.get_feature_names_out(["ignored"]).tolist() == before.tolist()
    made.set_params(layers="conv1:avg")  # what was transformed before no longer counts
    assert len(made.get_feature_names_out()) == 6
    assert make_pipeline(lenet("conv1:avg"))[:].get_feature_names_out().tolist()[-1] == "conv1:avg_5"


def test_names_of_raw_pixels_need_an_image() -> None:
    made = FeatureExtractor("pixels", "pixels")
    with pytest.raises(OptionError, match="transform images first, or give size="):
        made.get_feature_names_out()
    made.transform(COLOURS)
    assert len(made.get_feature_names_out()) == 8 * 9 * 3


@pytest.mark.parametrize("stored", [False, True])
def test_output_is_a_data_frame_where_one_is_asked_for(tmp_path: Path, stored: bool) -> None:
    pandas = pytest.importorskip("pandas")
    made = lenet("conv*:avg", store=tmp_path if stored else None).set_output(transform="pandas")
    X = drawn(3, channels=1).images
    frame = made.fit_transform(X)
    assert isinstance(frame, pandas.DataFrame)
    assert frame.columns.tolist() == [f"conv1:avg_{i}" for i in range(6)] + [f"conv2:avg_{i}" for i in range(16)]
    np.testing.assert_array_equal(frame, lenet("conv*:avg").transform(X))


def test_column_of_a_data_frame_holds_the_paths(tmp_path: Path, png: Any) -> None:
    pandas = pytest.importorskip("pandas")
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(png(i))
    frame = pandas.DataFrame({"path": [str(tmp_path / f"{i}.png") for i in (1, 0)], "other": [1, 2]})
    assert list(as_source(frame[["path"]]).ids) == list(as_source(frame["path"]).ids) == frame["path"].tolist()
    with pytest.raises(OptionError, match="2 columns"):
        as_source(frame)


# ---- tables ---------------------------------------------------------------------------------------------------------


def table(home: Path, *, labels: bool, n: int = 11) -> FeatureTable:
    store, source = FeatureStore(home), drawn(n, channels=1)
    lenet("conv2:avg", store=store).transform(source)
    return store.open(store.ls()[0].digest, source if labels else None)


@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("workers", [0, 2])
def test_table_is_a_data_set(tmp_path: Path, labels: bool, workers: int) -> None:
    found = table(tmp_path, labels=labels)
    loader: DataLoader[Any] = DataLoader(
        found,  # type: ignore[arg-type]
        batch_size=4, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    batches = list(loader)
    X = torch.cat([batch[0] if labels else batch for batch in batches])
    assert [len(batch[0] if labels else batch) for batch in batches] == [4, 4, 3]
    assert X.dtype == torch.float32
    order = [int(np.flatnonzero((np.asarray(found.X) == row.numpy()).all(axis=1))[0]) for row in X]
    assert sorted(order) == list(range(11)) != order
    if labels:
        assert found.y is not None
        assert torch.cat([y for _, y in batches]).tolist() == found.y[order].tolist()


def test_table_of_one_row_and_of_several(tmp_path: Path) -> None:
    bare, labelled = table(tmp_path, labels=False), table(tmp_path, labels=True)
    np.testing.assert_array_equal(bare[3], bare.X[3])
    X, y = labelled[-1]
    np.testing.assert_array_equal(X, bare.X[10])
    assert (type(y), y) == (int, int(drawn(11).labels[10]))
    X, y = labelled[np.array([5, 2])]
    np.testing.assert_array_equal(X, bare.X[[5, 2]])
    assert y.tolist() == drawn(11).labels[[5, 2]].tolist()
    assert labelled[2:4][0].shape == (2, 16)
    for wrong in (11, (0, 1)):
        with pytest.raises(IndexError):
            labelled[wrong]
    assert len(list(bare)) == 11  # iterating ends


# ---- images in memory -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "X",
    [
        list(COLOURS),
        tuple(COLOURS.transpose(0, 3, 1, 2)),
        COLOURS.transpose(0, 3, 1, 2),
        [Image.fromarray(image) for image in COLOURS],
        torch.from_numpy(COLOURS),
        torch.from_numpy(COLOURS).permute(0, 3, 1, 2),
        torch.from_numpy(COLOURS).permute(0, 3, 1, 2) / 255,
        (torch.from_numpy(COLOURS).permute(0, 3, 1, 2) / 255).half().requires_grad_(),
        list(torch.from_numpy(COLOURS).permute(0, 3, 1, 2)),
        [COLOURS[0], torch.from_numpy(COLOURS[1]), Image.fromarray(COLOURS[2]), COLOURS[3].transpose(2, 0, 1)],
    ],
)
def test_every_way_to_hold_images_is_the_same_images(X: Any) -> None:
    np.testing.assert_array_equal(seen(X), COLOURS)
    assert as_source(X).fingerprint() == as_source(COLOURS).fingerprint()  # features are found again


def test_grey_stays_grey_and_sizes_may_differ(tmp_path: Path) -> None:
    grey = COLOURS[..., 0]
    for X in (torch.from_numpy(grey[:, None]), list(grey), [Image.fromarray(image) for image in grey]):
        assert as_source(X).channels == 1
        np.testing.assert_array_equal(seen(X)[..., 0], grey)
    several = as_source([COLOURS[0], grey[1][:5], Image.fromarray(COLOURS[2]).resize((4, 4))])
    assert (several.channels, several[1][0].shape) == (3, (5, 9, 3))
    assert several.subset(np.array([2, 1]))[0][0].shape == (4, 4, 3)
    made = lenet(store=tmp_path)
    np.testing.assert_array_equal(made.transform(several)[0], made.transform(COLOURS[:1])[0])


def test_pil_images_are_seen_as_their_files_are(tmp_path: Path) -> None:
    turned = Image.fromarray(COLOURS[0])
    turned.getexif()[0x0112] = 6
    transparent = Image.fromarray(COLOURS[1]).convert("RGBA")
    for i, image in enumerate((turned, transparent)):
        image.save(tmp_path / f"{i}.png", exif=image.getexif())
    files = as_source([tmp_path / "0.png", tmp_path / "1.png"])
    memory = as_source([Image.open(tmp_path / "0.png"), Image.open(tmp_path / "1.png")])
    for i in range(2):
        np.testing.assert_array_equal(memory[i][0], files[i][0])


DEEP = np.random.default_rng(1).integers(0, 1 << 16, (8, 9)).astype(np.uint16)
"""A grey image of 16 bits."""


@pytest.mark.parametrize("read", [False, True])
@pytest.mark.parametrize("kind", ["png", "tif"])
def test_pil_images_of_16_bits_are_seen_as_their_files_are(tmp_path: Path, kind: str, read: bool) -> None:
    Image.fromarray(DEEP).save(tmp_path / f"x.{kind}")
    with Image.open(tmp_path / f"x.{kind}") as image:
        if read:
            image.load()
        assert as_source([image]).channels == 1
        found = seen([image])
    np.testing.assert_array_equal(found[0, ..., 0], DEEP >> 8)
    np.testing.assert_array_equal(as_source([tmp_path / f"x.{kind}"])[0][0][..., :1], found[0])


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "i4"])
def test_pil_images_of_16_bits_without_a_file_are_scaled(dtype: str) -> None:
    image = Image.fromarray(DEEP.astype(dtype))
    assert image.mode[0] == "I"
    np.testing.assert_array_equal(seen([image])[0, ..., 0], DEEP >> 8)
    image.getexif()[0x0112] = 3
    np.testing.assert_array_equal(seen([image])[0, ..., 0], DEEP[::-1, ::-1] >> 8)
    np.testing.assert_array_equal(seen([image, Image.fromarray(COLOURS[0])])[1], COLOURS[0])


def test_pil_images_keep_the_bits_that_count(tmp_path: Path) -> None:
    twelve = Image.fromarray(DEEP >> 4)
    with pytest.warns(FeatxWarning, match=r"image 1 has more .* no value reaches 4,096.*bits=12"):
        as_source([Image.fromarray(COLOURS[0]), twelve])
    twelve.save(tmp_path / "x.tif", tiffinfo={281: 4095})
    with Image.open(tmp_path / "x.tif") as stated:
        for _ in range(2):  # it is heard again
            np.testing.assert_array_equal(seen([stated])[0, ..., 0], DEEP >> 8)
    wide = Image.fromarray(DEEP)
    expected = lenet().transform([wide])
    for store in (None, tmp_path):
        np.testing.assert_array_equal(lenet(bits=12, store=store).transform([twelve]), expected)
    with pytest.raises(OptionError, match="bits=12 allows at most"):
        lenet(bits=12).transform([wide])
    with pytest.raises(OptionError, match="bits=12 is for image files"):
        lenet(bits=12).transform(list(COLOURS))


def test_training_takes_pil_images_of_12_bits() -> None:
    twelve = [Image.fromarray(np.roll(DEEP >> 4, i)) for i in range(12)]
    wide = [Image.fromarray((np.asarray(image) >> 4).astype(np.uint8)) for image in twelve]
    how: dict[str, Any] = {"mode": "scratch", "epochs": 1, "device": "cpu"}
    found = [
        EndToEndClassifier("lenet5", bits=bits, **how).fit(X, [0, 1] * 6).predict_proba(X)
        for bits, X in ((12, twelve), (None, wide))
    ]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("X", "said"),
    [
        (torch.zeros(2, 3, 5, 3), "channels first or last"),
        (COLOURS[:, :3], "channels first or last"),
        ([COLOURS[0, :3]], "image 0 .*channels first or last"),
        (np.zeros((2, 5, 8, 5), np.uint8), "channels first or last"),
        (torch.zeros(3, 8, 9), r"one colour image or 3 grey ones .*x\[None\]"),
        (COLOURS[0], r"one colour image or 8 grey ones .*x\[None\]"),
        (torch.from_numpy(COLOURS).float(), r"from 0 to 255, expected uint8, or floats from 0 to 1"),
        (torch.full((1, 3, 8, 8), -1.5), "without normalisation"),
        (torch.full((1, 3, 8, 8), torch.nan), "nan"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), r"torch\.int64.*x\.to\(torch\.uint8\)"),
        (torch.zeros(1, 4, 8, 8), "alpha"),
        ([COLOURS[0], "a.png"], "image 1 is a str"),
        (["a.png", COLOURS[0]], "list of ndarray"),
        ([COLOURS[0], np.zeros((9, 9, 7), np.uint8)], "3 and 7 channels"),
        ([COLOURS[0] / 255], "float64"),
        ([Image.new("F", (4, 4))], "mode F"),
        ([Image.new("I", (4, 4), 70000)], "image 0 is a PIL image of mode I: .* between 70000 and 70000"),
        ([Image.new("I", (4, 4), -1)], "mode I: .* between -1 and -1, expected 8 or 16 bits"),
    ],
)
def test_what_could_be_misread_is_refused_in_words(X: Any, said: str) -> None:
    with pytest.raises(FeatxError, match=said) as caught:
        as_source(X)
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_floats_that_were_no_8_bits_are_rounded_aloud() -> None:
    with pytest.warns(FeatxWarning, match="rounded to 256 grey levels"):
        found = seen(torch.full((1, 3, 4, 4), 0.301))
    assert (found == 77).all()


def test_training_takes_tensors_too() -> None:
    source = drawn(12, channels=1)
    tensors = torch.from_numpy(source.images).permute(0, 3, 1, 2)
    how: dict[str, Any] = {"mode": "scratch", "epochs": 1, "device": "cpu"}
    model = EndToEndClassifier("lenet5", **how).fit(tensors, source.labels)
    np.testing.assert_array_equal(model.predict_proba(tensors), model.predict_proba(source))


# ---- closed choices -------------------------------------------------------------------------------------------------

CLOSED: list[tuple[Any, str, Any]] = [
    (FeatureExtractor, "stem", specs.STEMS),
    (FeatureExtractor, "resize", specs.RESIZES),
    (FeatureExtractor, "interpolation", specs.INTERPOLATIONS),
    (FeatureExtractor, "crops", specs.CROPS),
    (FeatureExtractor, "precision", specs.PRECISIONS),
    (FeatureExtractor, "dtype", specs.DTYPES),
    (EndToEndClassifier, "mode", train_config.MODES),
    (EndToEndClassifier, "optimizer", train_config.OPTIMIZERS),
    (EndToEndClassifier, "schedule", train_config.SCHEDULES),
    (EndToEndClassifier, "augment", train_config.AUGMENTS),
    (EndToEndClassifier, "class_weight", train_config.CLASS_WEIGHTS),
    (EndToEndClassifier, "on_error", specs.ON_ERROR),
    (SoftmaxRegression, "penalty", fit_config.PENALTIES),
    (SoftmaxRegression, "normalize", fit_config.NORMALIZE),
    (SoftmaxRegression, "class_weight", (fit_config.BALANCED,)),
    (SoftmaxRegressionCV, "normalize", fit_config.NORMALIZE),
    (fit_config.FitConfig, "head", fit_config.HEADS),
    (fit_config.FitConfig, "sweep", fit_config.PRESETS),
    (ExtractConfig, "precision", specs.PRECISIONS),
]


def literals(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) is Literal:
        return get_args(hint)
    return tuple(value for part in get_args(hint) for value in literals(part))


@pytest.mark.parametrize(("kind", "name", "values"), CLOSED)
def test_types_of_closed_choices_are_what_is_checked(kind: Any, name: str, values: tuple[Any, ...]) -> None:
    hints = typing.get_type_hints(kind if dataclasses.is_dataclass(kind) else kind.__init__)
    assert literals(hints[name]) == values


def test_published_sweeps_are_those_that_can_be_named() -> None:
    assert (*fit_config.SWEEPS, *fit_config.RECIPES) == fit_config.PRESETS


# ---- hints ----------------------------------------------------------------------------------------------------------

WRONG: list[tuple[Any, str]] = [
    (lambda: ExtractConfig(precision="fp8"), "give another precision=..."),  # type: ignore[arg-type]
    (lambda: lenet(batch_size=0).fit(COLOURS), "give another batch_size=..."),
    (lambda: lenet("fc1", size=16).transform(COLOURS), "size="),
    (lambda: lenet().set_params(device="tpu").transform(COLOURS), "device='cpu'"),
    (lambda: FeatureExtractor("lenet5", "pool2").transform(COLOURS), "weights='random:0'"),
    (lambda: FeatureExtractor("pixels", "pixels", crops=5).transform(COLOURS), "give size=..."),
    (lambda: SoftmaxRegression(tol=-1).fit([[0.0], [1.0]], [0, 1]), "tol=..."),
    (lambda: EndToEndClassifier("lenet5", head="mpl:3").fit(COLOURS, [0, 1, 0, 1]), "head='mlp:256,128'"),
    (
        lambda: EndToEndClassifier("lenet5", mode="frozen", unfreeze_from="conv1").fit(COLOURS, [0, 1, 0, 1]),
        "unfreeze_",
    ),
    (lambda: fit_config.FitConfig(head="knn", sweep="clip"), "head=... is knn"),
    (lambda: SoftmaxRegression(C=0).fit([[0.0], [1.0]], [0, 1]), "C is 0, expected a positive number (give another C="),
    (lambda: SoftmaxRegression(max_iter=0).fit([[0.0], [1.0]], [0, 1]), "max_iter is 0"),
    (lambda: SoftmaxRegression(l1_ratio=2).fit([[0.0], [1.0]], [0, 1]), "give another l1_ratio=..."),
    (lambda: SoftmaxRegression(learning_rate=0).fit([[0.0], [1.0]], [0, 1]), "give another learning_rate=..."),
    (lambda: fit_config.FitConfig(l1_ratio=2), "l1_ratio is 2, expected"),
]


@pytest.mark.parametrize(("call", "said"), WRONG)
def test_errors_speak_python_in_python(call: Any, said: str) -> None:
    with pytest.raises(FeatxError) as caught:
        call()
    assert said in str(caught.value)
    for text in (str(caught.value), caught.value.message, caught.value.hint):
        assert not re.search(r"(^|\s)--?[a-zA-Z]", text)


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("give --size 32", "give size=32"),
        ("leave --weights out", "leave weights=... out"),
        ("use -b run:3, without --weights", "use backbone='run:3', without weights=..."),
        ("--resize none leaves it", "resize='none' leaves it"),
        ("for example --scales 1,1.25", "for example scales=(1, 1.25)"),
        ("no --no-fit-intercept", "no fit_intercept=False"),
        ("point --home or FEATX_HOME elsewhere", "point store=... or FEATX_HOME elsewhere"),
        ("give another --C", "give another C=..."),
        ("--C 0.1 or --Cs", "C=0.1 or --Cs"),
        ("`featx cache rm 3f --home x`", "`featx cache rm 3f --home x`"),
        ("image a--b/--c.png", "image a--b/--c.png"),
        ("image --size.png is --size 3.", "image --size.png is size=3."),
    ],
)
def test_options_become_keywords(written: str, told: str) -> None:
    assert spoken(written) == told
    assert spoken(told) == told
    assert OptionError("m", written).hint == told


def test_command_line_keeps_its_own_words(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from featx.cli.main import cli

    wrong = ["extract", "digits", "-b", "lenet5", "-l", "pool2", "--home", str(tmp_path)]
    assert "--weights random:0" in CliRunner().invoke(cli, wrong).stderr
    with pytest.raises(OptionError, match="weights='random:0'"):  # and Python its own, afterwards
        FeatureExtractor("lenet5", "pool2").transform(COLOURS)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--C", "0"], "C is 0.0, expected a positive number"),
        (["--max-iter", "0"], "max-iter is 0, expected"),
        (["--l1-ratio", "2", "--penalty", "elasticnet"], "l1-ratio is 2.0, expected"),
    ],
)
def test_command_line_is_told_its_own_options(tmp_path: Path, wrong: list[str], said: str) -> None:
    from click.testing import CliRunner

    from featx.cli.main import cli

    command = ["fit", "digits", "-b", "lenet5", "--weights", "random:0", "-l", "pool2", "--home", str(tmp_path)]
    done = CliRunner().invoke(cli, [*command, *wrong])
    assert done.exit_code == 2
    assert said in done.stderr
    assert f"give another {wrong[0]}\n" in done.stderr


def test_keywords_become_options_where_the_command_line_speaks() -> None:
    with pytest.raises(OptionError) as caught, speaking_options():
        SoftmaxRegression(max_iter=0).fit([[0.0], [1.0]], [0, 1])
    assert str(caught.value) == "max-iter is 0, expected a positive number (give another --max-iter)"


# ---- values of another type -----------------------------------------------------------------------------------------

FOREIGN: list[tuple[Any, str]] = [
    (lambda: FeatureExtractor(torch.nn.Linear(2, 2)).transform(COLOURS), r"backbone is a Linear, .* file\.py:factory"),
    (lambda: FeatureExtractor(torch.nn.Linear(2, 2)).get_feature_names_out(), "backbone is a Linear"),
    (lambda: FeatureExtractor(None).transform(COLOURS), "backbone is None"),  # type: ignore[arg-type]
    (lambda: trained(backbone=torch.nn.Sequential(torch.nn.ReLU())), "backbone is a Sequential"),
    (lambda: lenet().set_params(weights=None).transform(COLOURS), "weights is None, expected DEFAULT, random:SEED"),
    (lambda: trained(weights=None), "weights is None, expected DEFAULT"),
    (lambda: trained(weights=None, mode="scratch"), "weights is None, expected DEFAULT"),
    (lambda: lenet(mean=0.5).transform(COLOURS), r"mean is 0\.5, expected a sequence of numbers .*\(0\.5,\)"),
    (lambda: lenet(std=["a"]).transform(COLOURS), r"std is \['a'\], expected a sequence of numbers"),
    (lambda: trained(std=2), r"std is 2, expected a sequence of numbers .*\(2,\)"),
    (lambda: specs.PreprocessSpec(8, 8, mean=0.5), "mean is 0.5, expected"),  # type: ignore[arg-type]
    (lambda: lenet(scales=1.0).fit(COLOURS), r"scales is 1\.0, expected a sequence of numbers .*\(1\.0,\)"),
    (lambda: trained(head=None), "head is None, expected linear"),
    (lambda: trained(mode="finetune", unfreeze_from=5), "unfreeze_from is 5, expected the name"),
    (lambda: trained(init_head=5), "init_head is 5, expected a run"),
    (lambda: lenet(store=5).transform(COLOURS), "store is 5, expected a FeatureStore or the path"),
    (lambda: trained(store=5), "store is 5, expected a FeatureStore or the path"),
    (lambda: FeatureStore("none").open(None), "key is None, expected a FeatureKey"),  # type: ignore[arg-type]
    (lambda: as_source(torch.zeros(2, 3, 8, 8).to_sparse()), r"layout torch\.sparse_coo, .*x\.to_dense\(\)"),
    (lambda: as_source([torch.eye(8).to_sparse_csr()]), r"layout torch\.sparse_csr, .*x\.to_dense\(\)"),
]


def trained(**options: Any) -> EndToEndClassifier:
    how: dict[str, Any] = {"backbone": "lenet5", "mode": "frozen", "weights": "random:0", "device": "cpu", **options}
    return EndToEndClassifier(**how, epochs=1).fit(COLOURS, [0, 1, 0, 1])


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support:UserWarning")
@pytest.mark.parametrize(("call", "said"), FOREIGN)
def test_values_of_another_type_are_refused_in_a_line(call: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said) as caught:
        call()
    assert caught.value.hint
    assert "\n" not in str(caught.value)


def test_means_may_be_an_array() -> None:
    np.testing.assert_array_equal(
        lenet(mean=np.array([0.25]), std=torch.tensor([0.5])).transform(COLOURS),
        lenet(mean=(0.25,), std=[0.5]).transform(COLOURS),
    )
