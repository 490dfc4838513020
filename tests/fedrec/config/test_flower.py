"""`flwr run` shows and overrides what pyproject.toml lists: that must be all the defaults."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any

from fedrec.config import Config, to_flat


def flattened(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        inner = flattened(value, f"{prefix}{key}.") if isinstance(value, Mapping) else None
        flat.update({prefix + key: value} if inner is None else inner)
    return flat


def test_the_run_config_of_the_app_is_the_defaults(repository) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    listed, expected = flattened(project["tool"]["flwr"]["app"]["config"]), to_flat(Config())
    assert listed == expected
    assert list(listed) == list(expected)
    assert {key: type(value) for key, value in listed.items()} == {
        key: type(value) for key, value in expected.items()
    }


def test_flower_can_carry_every_value() -> None:
    assert {type(value) for value in to_flat(Config()).values()} <= {int, float, bool, str}
