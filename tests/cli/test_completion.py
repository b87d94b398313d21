"""Shell completion: commands, options, backbones and layers, for the three shells."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from programs import PROGRAM

from featx.cli.main import cli


def asked(home: Path, words: str) -> dict[str, str]:
    """Return the surroundings in which bash asks for the last word of a line."""
    env = {"FEATX_HOME": str(home), "_FEATX_COMPLETE": "bash_complete"}
    return {**env, "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}


def offered(stdout: str) -> list[str]:
    return [line.removeprefix("plain,") for line in stdout.splitlines() if line]


def complete(home: Path, words: str) -> list[str]:
    """Return what bash would offer, asked in this process."""
    told = CliRunner().invoke(cli, [], prog_name="featx", env=asked(home, words))
    assert told.exit_code == 0
    assert told.stderr == ""
    return offered(told.stdout)


def complete_apart(home: Path, words: str) -> list[str]:
    """Return what bash would offer, asked in a process of its own, as bash does."""
    env = {**os.environ, **asked(home, words)}
    told = subprocess.run([sys.executable, *PROGRAM], env=env, capture_output=True, text=True, check=False)
    assert "Traceback" not in told.stderr
    return offered(told.stdout)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_script_for_the_shell_is_printed(home: Path, shell: str) -> None:
    env = {**os.environ, "_FEATX_COMPLETE": f"{shell}_source"}
    told = subprocess.run([sys.executable, *PROGRAM], env=env, capture_output=True, text=True, check=True)
    assert "_FEATX_COMPLETE" in told.stdout


def test_commands_options_and_choices(home: Path) -> None:
    assert complete_apart(home, "featx ext") == ["extract"]
    assert "--augment" in complete_apart(home, "featx train digits --a")
    assert complete_apart(home, "featx train digits --mode f") == ["frozen", "finetune"]


def test_backbones_and_layers(home: Path) -> None:
    assert "resnet18" in complete(home, "featx extract digits -b resn")
    assert complete_apart(home, "featx extract digits -b lenet5 -l co") == ["conv1", "conv2"]
    assert complete(home, "featx extract digits -b lenet5 -l conv1:a") == ["conv1:avg", "conv1:avg2"]
    assert complete(home, "featx extract digits -l co") == []
    assert complete(home, "featx extract digits -b nosuchnet -l co") == []


def test_second_time_loads_no_torch(home: Path, monkeypatch: Any) -> None:
    from featx.cli import completion

    class Context:
        params = {"home": str(home), "backbone": "lenet5"}  # noqa: RUF012

    first = completion.complete_layer(Context(), None, "")  # type: ignore[arg-type]
    monkeypatch.setattr(completion, "_layers", lambda backbone: pytest.fail("looked again"))
    assert completion.complete_layer(Context(), None, "") == first != []  # type: ignore[arg-type]


def test_timms_networks_are_offered_after_their_prefix(home: Path) -> None:
    pytest.importorskip("timm", reason="NO TIMM: pip install 'featx[timm]'")
    assert complete(home, "featx layers timm:mobilenetv1_10") == ["timm:mobilenetv1_100", "timm:mobilenetv1_100h"]
    names = complete(home, "featx layers m")
    assert "mobilenet_v1" in names
    assert not [name for name in names if name.startswith("timm:")]
    assert complete(home, "featx layers ti") == ["timm:"]


def test_completion_of_other_networks_loads_no_timm(home: Path) -> None:
    code = "import sys\nfrom featx.cli.completion import complete_backbone\nclass C: params = {'home': sys.argv[1]}\n"
    code += "assert 'resnet18' in complete_backbone(C(), None, 'resn')\nprint('timm' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "False"
