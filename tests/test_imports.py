"""Who may import whom: downward only. And what a light module must not load."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import featx

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"featx": "featx", "featx.cache": "cache", "featx.cli": "cli"}

# A module imports only from rows above its own. A new module needs a place here before it needs anything else.
LEVELS = (
    "cache.claims chance errors folding home kinds litter measure minibatch placing problem saga statistics "
    "stopping tar_members tiff unrolled zip_members",
    "board cache.atomic checks code columns csv_cells figures foreign head_spec matrices metrics missing "
    "network_outputs objective refusals remarks split_names streams tracing weights",
    "curvature depth device factories fit_config guessing heads hooks hub outputs portable runs specs",
    "adjusting bench_config cache.memo cache.schema certificate_sums checkpoints images knn linear_model naming "
    "networks pooling run_locks solvers train_config",
    "arrays augment cache.contents cache.folder layouts list_columns newton optim readable recipes recorded "
    "sgd_probe splits tables timm_networks unpacked",
    "arraylike cache.entries cache.matrix certificate channels coverage fetch files graph listing predictions "
    "reports run_backbone run_entries softmax_solver steps",
    "archives cache.copies cache.table cache.verify hooked imagesets lists own_head parquet paths published "
    "published_rows report_columns seeds softmax stacks",
    "building cache.plain cache.writer classical datasets flat report_tables softmax_cv",
    "cache.hdf5 cache.npz cache.parquet cache.store confusion protocols sources trained",
    "backbone cache cache.compare cache.export cache.merge cache.upkeep direction figures_confusion loading "
    "passes sheet",
    "standing",
    "backbones",
    "bench forward inputs keeping learners resume",
    "activations init_head",
    "filling predictors",
    "extract predict",
    "extractor feeds probe",
    "fit_record loop standardized",
    "training",
    "end_to_end records",
    "demo",
    "featx",
)
CLI_LEVELS = (
    "amounts completion given streams targets text",
    "progress",
    "output",
    "failures options repeats report_confusion",
    "cache_look demo doctor fit_options groups opening report runs_look train_options",
    "bench cache cache_export cache_remove cache_verify extract fit layers predict program runs show train",
    "cache_merge main runs_remove",
    "cli",
)

LIGHT = (
    "featx",
    "featx.errors",
    "featx.specs",
    "featx.train_config",
    "featx.home",
    "featx.cache",
    "featx.cache.store",
    "featx.cache.memo",
    "featx.images",
    "featx.files",
    "featx.archives",
    "featx.lists",
    "featx.coverage",
    "featx.stacks",
    "featx.layouts",
    "featx.arrays",
    "featx.datasets",
    "featx.parquet",
    "featx.sources",
    "featx.loading",
    "featx.splits",
    "featx.backbones",
    "featx.extract",
    "featx.runs",
    "featx.reports",
    "featx.report_tables",
    "featx.confusion",
    "featx.cli.main",
    "featx.cli.options",
)
HEAVY = ("torch", "torchvision", "sklearn", "scipy", "h5py", "matplotlib", "pyarrow")


def find_modules() -> dict[str, Path]:
    """Module name -> file, for all three packages."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((ROOT / folder).glob("*.py")):
            found[package if path.stem == "__init__" else f"{package}.{path.stem}"] = path
    return found


MODULES = find_modules()


def level_table() -> dict[str, int]:
    """Module name -> level; the command line stands on top of the library."""
    rows = [[name if name == "featx" else f"featx.{name}" for name in row.split()] for row in LEVELS]
    cli = [["featx.cli" if name == "cli" else f"featx.cli.{name}" for name in row.split()] for row in CLI_LEVELS]
    return {name: level for level, row in enumerate(rows + cli) for name in row}


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever it does: at the top, in functions, for the type checker."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from featx.cache import atomic` imports the module, not a name of the package.
            found.update(name if name in MODULES else str(node.module) for name in whole)
    return found


def test_every_module_has_its_place_in_the_table_and_no_place_is_empty() -> None:
    assert set(level_table()) == set(MODULES)


def test_the_table_in_the_contributors_guide_is_this_one() -> None:
    """Print the rows when they are not: they are to be copied."""
    rows = [f"| {i} | {', '.join(f'`{name}`' for name in row.split())} |" for i, row in enumerate(LEVELS[:-1])]
    expected = [*rows, f"| {len(rows)} | `cli.*`, in an order of its own |"]
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = [line for line in text.splitlines() if re.match(r"\| [0-9]+ \| `", line)]
    assert found == expected, "\n".join(expected)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_imports_lead_downward_only(name: str) -> None:
    levels = level_table()
    used = {other for other in imports(MODULES[name]) if other.split(".")[0] == "featx"}
    assert used <= set(MODULES), "imports what does not exist"
    upward = sorted(other for other in used if levels[other] >= levels[name])
    assert not upward


@pytest.mark.parametrize("name", sorted(name for name in MODULES if not name.startswith("featx.cli")))
def test_nothing_outside_the_command_line_knows_it(name: str) -> None:
    used = {
        other for other in imports(MODULES[name]) if other.split(".")[0] == "click" or other.startswith("featx.cli")
    }
    assert not used


def test_the_check_sees_imports_in_functions_and_for_types(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from featx.cli.main import main\n"
        "def f():\n    import click\n    from featx.cache import store\n    from featx.cache import FeatureStore\n"
    )
    assert imports(path) == {"typing", "featx.cli.main", "click", "featx.cache.store", "featx.cache"}


def loaded(*modules: str) -> set[str]:
    """Heavy packages that a fresh Python holds after importing `modules`."""
    code = f"import sys, {', '.join(modules)}; print(*(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(done.stdout.split())


@pytest.mark.parametrize("name", ["featx", "featx.sources", "featx.backbones", "featx.extract", "featx.cache.store"])
def test_light_modules_load_nothing_heavy(name: str) -> None:
    assert loaded(name) == set()


def test_all_light_modules_together_load_nothing_heavy() -> None:
    assert loaded(*LIGHT) == set()


def test_the_check_would_see_something_heavy() -> None:
    assert "h5py" in loaded("h5py")


@pytest.mark.parametrize("name", featx.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(featx, name).__name__ == name
    assert name in dir(featx)


def test_a_name_that_is_not_public_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'FeatureStroe'"):
        featx.FeatureStroe  # type: ignore[attr-defined]  # noqa: B018
