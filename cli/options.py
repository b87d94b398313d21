"""Options that several commands share, each declared once; their defaults stand in `featx.core.specs`."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from featx.cli.completion import complete_backbone, complete_layer, complete_weights
from featx.cli.headings import COMPUTATION, IMAGES, NETWORK, ROWS, under
from featx.cli.output import Output, Session
from featx.core.concatenation import Feature, parse_feature
from featx.core.device_names import ANY_DEVICE, check_device_name
from featx.core.paths import home_folder
from featx.core.specs import (
    CROPS,
    DTYPES,
    INTERPOLATIONS,
    ON_ERROR,
    PRECISIONS,
    RESIZES,
    STEMS,
    BackboneConfig,
    ExtractConfig,
    LayerSpec,
    Views,
)
from featx.core.validation import BITS
from featx.data.split_options import MOST_HELD_OUT, SplitOptions
from featx.errors import FeatxError, OptionError

Command = TypeVar("Command", bound=Callable[..., Any])


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = _floats(value)
    if len(numbers) not in (1, 3):
        raise click.BadParameter(f"{value!r}, expected one number or three separated by commas", ctx, param)
    return numbers


def _scales(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, ...]:
    scales = _floats(value)
    if not scales:
        raise click.BadParameter(f"{value!r}, expected numbers separated by commas", ctx, param)
    return scales


def _floats(text: str) -> tuple[float, ...]:
    """Return the numbers between the commas; none where one of them is no number."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        return ()


def _layers(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[LayerSpec, ...]:
    # A layer that is asked for twice is wanted once.
    return tuple(dict.fromkeys(LayerSpec.parse(text) for text in value))


def _features(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[Feature, ...]:
    return tuple(dict.fromkeys(parse_feature(text) for text in value))


def _device(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if value != ExtractConfig.device:
        check_device_name(value, ANY_DEVICE)
    return value


def backbone(required: bool = True, several: bool = False, where: str = "") -> Callable[[Command], Command]:
    """``-b/--backbone NAME``; if `several`, which may hold only `where`, the command gets `backbones`, a tuple."""
    text = (
        "A torchvision classifier, timm:NAME, lenet5, pixels, file.py:factory or package.module:factory, or "
        "run:ID, the network of a training run."
    )
    names = ("-b", "--backbone", "backbones" if several else "backbone")
    if several:
        text += f" Can be given several times{where}."
    how: dict[str, Any] = {} if several else {"callback": _only}
    return click.option(
        *names, multiple=True, shell_complete=complete_backbone, metavar="NAME", required=required, help=text, **how
    )


def _only(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> str | None:
    """Return the one network that was given; of several, none may be left out in silence."""
    if len(value) > 1:
        raise click.BadParameter(f"{', '.join(value)} were given, expected one network: one command each", ctx, param)
    return value[0] if value else None


def layers(required: bool = True, several: bool = True, joined: bool = False) -> Callable[[Command], Command]:
    """``-l/--layer LAYER``, several times; the command gets `layers`, a tuple of LayerSpec.

    If `joined`, layers with plus signs between them are one feature, and the tuple holds those too.
    """
    text = "Layer and pooling, such as layer3:avg; can be given several times. `featx layers` lists them."
    if several:
        text += " Also patterns, such as 'layer*:avg', and all:avg."
    if joined:
        text += " A plus sign joins: layer3:avg+layer4:avg."
    names = ("-l", "--layer", "layers")
    how: dict[str, Any] = {"callback": _features if joined else _layers, "shell_complete": complete_layer}
    return click.option(*names, metavar="LAYER", multiple=True, required=required, help=text, **how)


def weights(default: str = BackboneConfig.weights, several: bool = False) -> Callable[[Command], Command]:
    """``--weights WHICH``; if `several`, the command gets a tuple."""
    text = "DEFAULT, random:SEED, a .safetensors or .pth file, or run:ID."
    how: dict[str, Any] = {"default": default, "shell_complete": complete_weights}
    if several:
        text += " Given once, it is for all networks; else once for each."
        how |= {"default": (default,), "multiple": True}
    return click.option("--weights", metavar="WHICH", show_default=True, help=text, **how)


BY_SIZE = "  [default: 64; more for small images]"


def batch_size(
    default: int | None = ExtractConfig.batch_size, text: str = "Images per batch."
) -> Callable[[Command], Command]:
    """``--batch-size N``."""
    kind: dict[str, Any] = {"type": click.IntRange(min=1), "metavar": "N", "default": default}
    return click.option("--batch-size", show_default=True, help=text, **kind)


def picture(default: str) -> Callable[[Command], Command]:
    """``-o/--output FILE``, where a command that draws writes its PNG; the command gets `output`, a Path."""
    kind: dict[str, Any] = {"type": click.Path(path_type=Path), "metavar": "FILE", "default": Path(default)}
    return click.option("-o", "--output", show_default=True, help="File to write the figure to.", **kind)


def choice(flag: str, choices: tuple[str, ...], default: str, text: str) -> Callable[[Command], Command]:
    """An option with fixed values and a default that help shows."""
    return click.option(flag, type=click.Choice(choices), default=default, show_default=True, help=text)


def number(config: type, flag: str, kind: Any, text: str, metavar: str | None = None) -> Callable[[Any], Any]:
    """An option that is a number, its default `config`'s; one whose default is None says in words what that is."""
    name = flag.strip("-").replace("-", "_")
    default = getattr(config, name)
    shown = {} if default is None else {"default": default, "show_default": True}
    return click.option(flag, name, type=kind, metavar=metavar or {float: "X"}.get(kind, "N"), help=text, **shown)


split = click.option("--split", metavar="NAME", help="Use only this split of the source, such as train.")
stem = click.option(
    "--stem",
    type=click.Choice(STEMS),
    help="First layers of a ResNet: cifar, for 32 px images.  [default: its own]",
)
size = click.option("--size", type=click.IntRange(min=1), metavar="PX", help="Input size.  [default: the weights' own]")
mean = click.option(
    "--mean",
    metavar="NUMBERS",
    callback=_numbers,
    help="Channel means, such as 0.5 or 0.5,0.4,0.4.  [default: the weights' own]",
)
std = click.option(
    "--std",
    metavar="NUMBERS",
    callback=_numbers,
    help="Channel standard deviations, as --mean.  [default: the weights' own]",
)
resize = click.option(
    "--resize", type=click.Choice(RESIZES), help="How images are made square; none keeps their size.  [default: crop]"
)
interpolation = click.option(
    "--interpolation", type=click.Choice(INTERPOLATIONS), help="Interpolation of resizing.  [default: the weights' own]"
)
bits = click.option(
    "--bits",
    type=click.IntRange(*BITS),
    metavar="N",
    help="How many bits of 16-bit images are used, such as 12.  [default: what the files say, else all]",
)
crops = click.option(
    "--crops",
    type=click.Choice(CROPS),
    default=Views.crops,
    show_default=True,
    help="Average features over the centre crop (1), also the corners (5), also their mirror images (10).",
)
flip = click.option("--flip", is_flag=True, default=Views.flip, help="Average features with those of the mirror image.")
scales = click.option(
    "--scales",
    metavar="NUMBERS",
    callback=_scales,
    default=",".join(f"{scale:g}" for scale in Views.scales),
    show_default=True,
    help="Average features over these multiples of the input size, such as 1,1.25.",
)
precision = choice("--precision", PRECISIONS, ExtractConfig.precision, "Precision of the arithmetic.")
dtype = choice("--dtype", DTYPES, ExtractConfig.dtype, "Type of the stored features.")
on_error = choice("--on-error", ON_ERROR, ExtractConfig.on_error, "Fail on an unreadable image, or skip it.")
device = click.option(
    "--device",
    callback=_device,
    metavar="NAME",
    default=ExtractConfig.device,
    show_default=True,
    help="auto, cpu, cuda or cuda:N.",
)
workers = click.option(
    "--workers",
    type=click.IntRange(min=0),
    metavar="N",
    help="Threads that decode images.  [default: one per processor]",
)
keep_weights = click.option(
    "--keep-weights", is_flag=True, help="Also copy the weights that the run depends on into its folder."
)
limit = click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Use only N images per split.")
per_class = click.option(
    "--per-class", type=click.IntRange(min=1), metavar="N", help="Use only N training images per class."
)
seed = click.option(
    "--seed",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    show_default=True,
    help="Seed of every random choice.",
)


root = click.option(
    "--root", metavar="DIR", help="The folder that a list's paths are relative to.  [default: the list's own]"
)


@dataclass(frozen=True)
class RowSelection:
    """Which rows of a source are wanted."""

    split: str | None
    limit: int | None
    per_class: int | None
    seed: int
    root: str | None = None


def gather(
    name: str, kind: type, members: tuple[Any, ...], names: Sequence[str] | None = None
) -> Callable[[Command], Command]:
    """Make several options one keyword `name`: an object of `kind`, a dataclass with the options' names as fields.

    Where not all fields have an option, `names` are those that have.
    """
    names = names or [field.name for field in fields(kind)]

    def decorate(function: Command) -> Command:
        @functools.wraps(function)
        def wrapper(*args: Any, **values: Any) -> Any:
            gathered = kind(**{key: values.pop(key) for key in names})
            return function(*args, **{name: gathered}, **values)

        result: Any = wrapper
        for member in reversed(members):
            result = member(result)
        return result  # type: ignore[no-any-return]

    return decorate


train_split = click.option("--train-split", metavar="NAME", help="Split to train on.  [default: train]")
test_split = click.option(
    "--test-split", metavar="NAME", help="Split to score on.  [default: test, else val, else a tenth]"
)

exclude = click.option(
    "--exclude",
    metavar="FILE",
    help="Leave out the images that a CSV names by id and split, such as findings of `featx audit`.",
)
val_size = click.option(
    "--val-size",
    type=click.FloatRange(0, MOST_HELD_OUT),
    metavar="X",
    default=SplitOptions.val_size,
    show_default=True,
    help="Share of the training rows held out for validation; 0 learns from all of them.",
)

split_options = gather(
    "split_options", SplitOptions, (under(ROWS, train_split, test_split, val_size, limit, per_class, exclude, root),)
)
"""Which rows are learnt from and scored: the command gets `split_options`."""

selection = gather("selection", RowSelection, (under(ROWS, split, limit, per_class, seed, root),))
"""--split, --limit, --per-class, --seed, --root: the command gets `selection`."""

views = gather("views", Views, (crops, flip, scales))
"""--crops, --flip, --scales: the command gets `views`, a `Views`."""

resizing = under(IMAGES, size, resize, interpolation, bits)

backbone_config = gather(
    "network",
    BackboneConfig,
    (under(NETWORK, weights(), stem), resizing, under(IMAGES, views, mean, std)),
)
"""All that says how a backbone is looked up: the command gets `network`, a `BackboneConfig`."""

of_all_networks = gather(
    "network",
    BackboneConfig,
    (under(NETWORK, stem), resizing, under(IMAGES, views, mean, std)),
    ("stem", "size", "mean", "std", "resize", "interpolation", "bits", "views"),
)
"""The same but for the weights, of which each of several networks may have its own."""

shapes = gather("wanted", BackboneConfig, (weights("random:0"), stem, size), ("weights", "stem", "size"))
"""What decides about a network's shapes: the command gets `wanted`, a `BackboneConfig`."""

extraction = gather(
    "config",
    ExtractConfig,
    (
        under(
            COMPUTATION,
            precision,
            dtype,
            batch_size(
                text=f"Images per batch; affects rounding (in fp32 by a few 1e-6 of the largest value).{BY_SIZE}"
            ),
            device,
            workers,
            on_error,
        ),
    ),
)
"""Everything that `featx.extraction.extract` is told: the command gets `config`, an `ExtractConfig`."""


def _check_folder() -> None:
    """Raise FeatxError where the working folder is gone: MKL, for one, then ends the process without a word."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise FeatxError("the current folder was deleted, expected one that exists", "cd to another folder") from None


def common(function: Command) -> Command:
    """Add --home, --json, --quiet and --debug; the command is called with `out` and `home` (a Path).

    Stands right above the function. The command returns nothing: its exit code is ``out.exit_code``.
    """

    @click.option("--home", metavar="FOLDER", help="Where features and runs are kept.  [default: FEATX_HOME]")
    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document to standard output.")
    @click.option("--quiet", is_flag=True, help="Hide notes and progress.")
    @click.option("--debug", is_flag=True, help="Show the traceback of an error.")
    @functools.wraps(function)
    def wrapper(*args: Any, home: str | None, as_json: bool, quiet: bool, debug: bool, **values: Any) -> int:
        out = Output(json=as_json, quiet=quiet)
        session = click.get_current_context().find_root().obj
        if isinstance(session, Session):
            session.output, session.debug = out, debug
        _check_folder()
        if home == "":
            raise OptionError("--home is empty, expected a folder", "give a folder, or leave --home out")
        with out.warnings():
            function(*args, out=out, home=home_folder(home), **values)
        return out.exit_code

    result: Any = wrapper
    return result  # type: ignore[no-any-return]
