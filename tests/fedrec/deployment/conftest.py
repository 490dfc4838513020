"""A deployment of three nodes, made once; tests that change one get a copy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from shutil import copytree

import pytest

from fedrec.deployment import init_deployment

HOST = "fed.example.org"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("deployment") / "fed"
    init_deployment(folder, nodes=3, host=HOST, port=8443, now=NOW)
    return folder


@pytest.fixture
def deployment(made_once: Path, tmp_path: Path) -> Path:
    return copytree(made_once, tmp_path / "fed")


@pytest.fixture
def other(tmp_path: Path) -> Callable[..., Path]:
    """A second deployment, for another host."""

    def make(host: str = "other.example.org", **settings: object) -> Path:
        folder = tmp_path / "other"
        init_deployment(folder, nodes=1, host=host, **{"now": NOW, **settings})  # type: ignore[arg-type]
        return folder

    return make
