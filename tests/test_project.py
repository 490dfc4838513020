"""The project as a whole: what it ships, declares, pins and points at."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGES = ("fedrec", "server", "client", "features")
PATH = re.compile(r"`((?:fedrec|server|client|tests|docs|configs|benchmarks)/[\w./-]+)`")
LINK = re.compile(r"\]\(([\w./-]+)(?:#[\w-]*)?\)")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """What `pip install .` installs, built from a copy without git."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, folder / "source" / name)
    build = "pip wheel --quiet --no-deps --no-index --no-build-isolation --wheel-dir"
    command = [sys.executable, "-m", *build.split(), str(folder), str(folder / "source")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def files(*names: str, suffix: str) -> Iterator[Path]:
    """Files with this suffix in these top-level folders."""
    for name in names:
        yield from sorted((ROOT / name).rglob(f"*{suffix}"))


def shipped(*names: str) -> set[str]:
    """Files below these folders that an installation must have, as paths from the root."""
    found = (path for path in files(*names, suffix="") if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_an_installation_has_every_module_config_and_built_in_file(wheel: zipfile.ZipFile) -> None:
    installed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    expected = shipped(*PACKAGES, "configs")
    assert "configs/default.toml" in expected
    assert "fedrec/data/builtin/ml-latest-small/ratings.csv.gz" in expected
    assert installed == expected


def test_an_installation_has_the_licences(wheel: zipfile.ZipFile) -> None:
    names = {Path(name).name for name in wheel.namelist() if ".dist-info/licenses/" in name}
    assert names == {"LICENSE", "NOTICE"}


def test_every_folder_of_modules_is_a_package() -> None:
    """Import contracts do not see what is not one."""
    folders = {path.parent for path in files(*PACKAGES, suffix=".py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists()]


def test_tests_are_no_package() -> None:
    """`tests/server/__init__.py` would shadow `server`."""
    assert not list(files("tests", suffix="__init__.py"))


def test_the_installed_version_is_the_declared_one(project: dict[str, Any]) -> None:
    assert version("fedrec") == project["project"]["version"], "run make setup"


def test_every_import_is_declared(project: dict[str, Any]) -> None:
    always = names_of(project["project"]["dependencies"])
    with_encoders = always | names_of(project["project"]["optional-dependencies"]["features"])
    providers = packages_distributions()
    undeclared = {
        f"{path.relative_to(ROOT)}: {module}"
        for path in files(*PACKAGES, suffix=".py")
        for module in imported(path)
        if module not in sys.stdlib_module_names and module not in PACKAGES
        if not {canonicalize_name(name) for name in providers.get(module, [])}
        & (with_encoders if path.is_relative_to(ROOT / "features") else always)
    }
    assert not undeclared


def names_of(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(text).name) for text in requirements}


def imported(path: Path) -> set[str]:
    """Top-level names that a file imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


def test_every_requirement_is_pinned_within_its_range(project: dict[str, Any]) -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): pin for name, pin in pins.items()}
    extras = project["project"]["optional-dependencies"].values()
    for text in (
        *project["project"]["dependencies"],
        *(line for extra in extras for line in extra),
    ):
        requirement = Requirement(text)
        pin = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pin), f"{text}, but constraints.txt has {pin}"


@pytest.mark.parametrize("construct", ["weights_only=False", "allow_pickle=True", "shell=True"])
def test_nothing_unsafe_is_used(construct: str) -> None:
    guilty = [
        path
        for path in files(*PACKAGES, "benchmarks", suffix=".py")
        if construct in path.read_text()
    ]
    assert not guilty


def test_documents_point_at_files_that_are_there() -> None:
    pointers = [
        (document, target)
        for document in [*ROOT.glob("*.md"), *files("docs", "benchmarks", "fedrec", suffix=".md")]
        for expression, start in ((PATH, ROOT), (LINK, document.parent))
        for target in (start / found for found in expression.findall(document.read_text("utf-8")))
    ]
    assert pointers
    assert not [(document, target) for document, target in pointers if not target.exists()]


def test_only_tests_look_outside_the_project() -> None:
    """Not at a neighbouring folder, nor at paths of one machine."""
    outside = re.compile(r"\.\./shared|(?<![\w.~-])/(?:home|root|work|Users)/")
    texts = [ROOT / "Makefile", ROOT / ".ci/run", *ROOT.glob("*.md"), *ROOT.glob("*.toml")]
    for suffix in (".py", ".md", ".toml"):
        texts += files(*PACKAGES, "benchmarks", "configs", "docs", suffix=suffix)
    assert not [path for path in texts if outside.search(path.read_text(encoding="utf-8"))]
