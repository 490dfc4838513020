"""The configuration of a run, from the words of a command line."""

import os
from pathlib import Path

import pytest

from fedrec.config import load_config, to_toml
from fedrec.errors import ConfigError
from server.launch_config import find_config, read_config


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "small.toml").write_text("[run]\nseed = 7\n")
    return tmp_path


def test_without_words_the_defaults_hold() -> None:
    assert read_config([], resume=False).model == load_config().model


def test_paths_become_absolute(here: Path) -> None:
    run = read_config(["data=data/x", "out=../y"], resume=False).run
    assert run.data == str(here / "data" / "x")
    assert run.out == os.path.abspath("../y")


@pytest.mark.parametrize("name", ["small", "small.toml", "configs/small.toml"])
def test_a_config_by_name_or_path(name: str) -> None:
    assert read_config(["run.data=d", name], resume=False).run.seed == 7


def test_settings_override_the_config() -> None:
    assert read_config(["small", "seed=8"], resume=False).run.seed == 8


def test_an_unknown_config_names_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'big'.*small"):
        find_config("big")


def test_two_configs_are_a_mistake() -> None:
    with pytest.raises(ConfigError, match="small and big"):
        read_config(["small", "big"], resume=False)


def test_resume_takes_the_stored_configuration(here: Path) -> None:
    stored = load_config(None, ["seed=9", f"out={here}/old"])
    (here / "old").mkdir()
    (here / "old" / "config.toml").write_text(to_toml(stored))
    config = read_config(["out=old"], resume=True)
    assert config.run.seed == 9
    assert config.run.resume


def test_resume_needs_something_to_resume() -> None:
    with pytest.raises(ConfigError, match=r"nowhere/config\.toml"):
        read_config(["out=nowhere"], resume=True)
