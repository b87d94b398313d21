"""Shared options: what they turn into, and what they refuse before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from featx.cli import options
from featx.cli.output import Output
from featx.cli.targets import check_target
from featx.core.specs import BackboneConfig, ExtractConfig, LayerSpec
from featx.errors import OptionError


def taken(*args: str) -> dict[str, Any]:
    """Return what a command with all shared options is called with."""
    seen: dict[str, Any] = {}

    @click.command
    @options.backbone()
    @options.layers(required=False)
    @options.selection
    @options.backbone_config
    @options.extraction
    @options.common
    def command(out: Output, home: Path, **values: Any) -> None:
        seen.update(values, out=out, home=home)

    result = CliRunner().invoke(command, ["-b", "resnet18", *args], catch_exceptions=False)
    if result.exit_code:
        raise click.UsageError(result.stderr)
    return seen


def test_defaults_are_those_of_the_specs() -> None:
    values = taken()
    assert (values["network"], values["config"]) == (BackboneConfig(), ExtractConfig())
    assert values["selection"] == options.RowSelection(split=None, limit=None, per_class=None, seed=0)
    assert values["layers"] == ()


def test_every_option_reaches_its_field(tmp_path: Path) -> None:
    network = BackboneConfig(weights="random:1", size=64, mean=(0.5,), std=(0.1, 0.2, 0.3))
    config = ExtractConfig(
        precision="bf16",
        dtype="float16",
        batch_size=7,
        device="cpu",
        workers=0,
        on_error="skip",
    )
    args = "--weights random:1 --size 64 --mean 0.5 --std 0.1,0.2,0.3 --precision bf16 --dtype float16"
    args += " --batch-size 7 --device cpu --workers 0 --on-error skip"
    args += " --split test --limit 5 --per-class 2 --seed 3"
    values = taken(*args.split(), "--home", str(tmp_path), "--json", "--quiet")
    assert (values["network"], values["config"]) == (network, config)
    assert values["selection"] == options.RowSelection("test", 5, 2, 3)
    assert values["home"] == tmp_path
    assert (values["out"].json, values["out"].quiet) == (True, True)


def test_layers_keep_their_order_and_come_once() -> None:
    layers = taken("-l", "layer4", "-l", "layer3:avg", "--layer", "layer4")["layers"]
    assert layers == (LayerSpec("layer4"), LayerSpec("layer3", "avg"))


@pytest.mark.parametrize(
    "args",
    [
        ("--mean", "1,2"),
        ("--std", "a"),
        ("--mean", ""),
        ("--limit", "0"),
        ("--per-class", "-1"),
        ("--batch-size", "0"),
        ("--workers", "-1"),
        ("--precision", "fp8"),
        ("--on-error", "ignore"),
    ],
)
def test_impossible_values_are_usage_errors(args: tuple[str, ...]) -> None:
    with pytest.raises(click.UsageError, match=args[0]):
        taken(*args)


def test_target_must_be_a_file_in_a_folder_that_exists(tmp_path: Path) -> None:
    check_target(tmp_path / "new.h5", "digits")
    with pytest.raises(OptionError, match="folder, expected a file"):
        check_target(tmp_path, "digits")
    with pytest.raises(OptionError, match="does not exist"):
        check_target(tmp_path / "none" / "x.h5", "digits")


def test_target_must_not_be_the_source(tmp_path: Path) -> None:
    source = tmp_path / "data.zip"
    source.write_bytes(b"")
    with pytest.raises(OptionError, match="source itself"):
        check_target(source, str(source))
