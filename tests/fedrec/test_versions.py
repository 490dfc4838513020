"""Versions are compared as far as they matter."""

from importlib.metadata import version

import pytest

from fedrec import versions


def test_of_torch_and_flower_the_first_two_parts_count(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"fedrec": "1.2.3.dev4", "flwr": "1.41.0", "torch": "2.9.1+cpu"}
    monkeypatch.setattr(versions, "version", installed.__getitem__)
    assert versions.versions_that_matter() == {
        "fedrec": "1.2.3.dev4",
        "flwr": "1.41",
        "torch": "2.9",
    }


def test_they_are_those_that_are_installed() -> None:
    assert versions.versions_that_matter()["fedrec"] == version("fedrec")
