"""Who may import whom: packages downward only, no circle among modules. And what a light module must not load."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from heavy import HEAVY, loaded_after

import featx

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"featx": "featx", "featx.cache": "cache", "featx.cli": "cli"}

# A package imports from itself and from those above it in this list. A new module needs no place here.
PACKAGES = (
    *("errors", "core", "cache", "portable", "graph", "data", "models", "extraction", "probes", "training"),
    *("audit", "reports", "runs", "recipes", "cli"),
)
LIGHT = (
    "featx",
    "featx.errors",
    "featx.core.specs",
    "featx.core.paths",
    "featx.core.run_folder",
    "featx.cache",
    "featx.cache.store",
    "featx.cache.memo",
    "featx.data.sources",
    "featx.data.coverage",
    "featx.data.batch_loader",
    "featx.data.splits",
    "featx.models.backbones",
    "featx.extraction.extract",
    "featx.training.config",
    "featx.reports.rows",
    "featx.reports.formats",
    "featx.reports.confusion",
    "featx.cli.main",
    "featx.cli.options",
)
LIGHT_MODULES_USE = {"numpy", "PIL"}


def find_modules(root: Path = ROOT) -> dict[str, Path]:
    """Module name -> file, for all packages, however deep."""
    found = {}
    for package, folder in FOLDERS.items():
        for path in sorted((root / folder).rglob("*.py")):
            if path.name == "__main__.py":  # no module to import: `python -m featx`
                continue
            parts = path.relative_to(root / folder).with_suffix("").parts
            found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


MODULES = find_modules()


def package_of(module: str) -> str:
    """Return the part of a module's name that stands in PACKAGES; of ``featx`` itself, nothing."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """All modules that a file imports, wherever it does: at the top, in functions, for the type checker."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import in line {node.lineno}"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            # `from featx.cache import store` imports the module, not a name of the package.
            found.update(name if name in MODULES else str(node.module) for name in whole)
    return found


def own_imports(path: Path) -> set[str]:
    return {name for name in imports(path) if name.split(".")[0] == "featx"}


def test_every_package_has_its_place_and_no_place_is_empty() -> None:
    assert {package_of(name) for name in MODULES} - {""} == set(PACKAGES)


def test_the_map_in_the_contributors_guide_has_the_same_packages_in_the_same_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    found = [match[1] for match in re.finditer(r"^\| `(?:featx/)?(\w+)(?:\.py|/)` \|", text, flags=re.M)]
    assert found == list(PACKAGES)


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name != "featx"))
def test_imports_lead_to_packages_below_only(name: str) -> None:
    used = own_imports(MODULES[name]) - {"featx"}
    assert used <= set(MODULES), "imports what does not exist"
    place = PACKAGES.index(package_of(name))
    upward = sorted(other for other in used if PACKAGES.index(package_of(other)) > place)
    assert not upward


def test_no_modules_import_each_other_in_a_circle() -> None:
    # featx itself names what is public, for the type checker alone.
    graph = {name: own_imports(path) - {name, "featx"} for name, path in MODULES.items() if name != "featx"}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(name for name in MODULES if package_of(name) != "cli"))
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


def test_the_search_for_modules_goes_into_folders(tmp_path: Path) -> None:
    for name in ("featx/__init__.py", "featx/data/__init__.py", "featx/data/deep/files.py", "cache/store.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert set(find_modules(tmp_path)) == {"featx", "featx.data", "featx.data.deep.files", "featx.cache.store"}


@pytest.mark.parametrize("package", sorted(set(PACKAGES) - {"errors", "portable", "cache"}))
def test_a_package_says_in_a_line_what_it_is_and_holds_nothing_else(package: str) -> None:
    tree = ast.parse(MODULES[f"featx.{package}"].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    assert len(tree.body) == 1


def test_the_library_has_few_rooms() -> None:
    assert len([path for path in (ROOT / "featx").iterdir() if not path.name.startswith(("__", "py.typed"))]) <= 13


def test_every_package_is_installed() -> None:
    listed = (ROOT / "setup.cfg").read_text(encoding="utf-8").split("packages =")[1].split("package_dir")[0].split()
    assert sorted(listed) == sorted(name for name, path in MODULES.items() if path.stem == "__init__")


def test_light_modules_and_the_names_that_need_no_more_load_nothing_heavy() -> None:
    modules = loaded_after(f"import {', '.join(LIGHT)}\ndir(featx); featx.LayerSpec; featx.Runs")
    assert set(LIGHT) <= modules
    assert modules & set(HEAVY) <= LIGHT_MODULES_USE


def test_a_fit_of_stored_features_loads_no_torchvision_and_the_check_sees_what_it_loads() -> None:
    modules = loaded_after("import featx.probes.probe, featx.runs.record")
    assert "torchvision" not in modules
    assert {"torch", "sklearn"} <= modules


@pytest.mark.parametrize("name", featx.__all__)
def test_every_public_name_can_be_had(name: str) -> None:
    assert getattr(featx, name).__name__ == name
    assert name in dir(featx)


def test_a_name_that_is_not_public_is_an_ordinary_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'FeatureStroe'"):
        featx.FeatureStroe  # type: ignore[attr-defined]  # noqa: B018
