"""The configurations that come with the project."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedrec.config import Config, load_config, to_flat

FOLDER = Path(__file__).parents[3] / "configs"
SHIPPED = sorted(FOLDER.glob("*.toml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_loads(path) -> None:
    assert load_config(path).run.data


def test_the_default_is_the_default_and_hides_nothing() -> None:
    path = FOLDER / "default.toml"
    assert load_config(path) == Config()
    text = path.read_text(encoding="utf-8")
    for key in to_flat(Config()):
        assert f"\n{key.rpartition('.')[2]} = " in text, key
