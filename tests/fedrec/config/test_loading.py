from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedrec.config import Config, RunConfig, from_flat, load_config, to_flat, to_toml
from fedrec.errors import ConfigError


@pytest.fixture
def write(tmp_path) -> Callable[[str], Path]:
    def write_file(content: str) -> Path:
        path = tmp_path / "some.toml"
        path.write_text(content, encoding="utf-8")
        return path

    return write_file


def test_without_anything_the_defaults_hold() -> None:
    assert load_config() == Config() == from_flat({})


def test_a_file_changes_what_it_names(write) -> None:
    config = load_config(write("[model]\ndim = 32\n[stages.routing]\nrounds = 3\n"))
    changed = {key: v for key, v in to_flat(config).items() if v != to_flat(Config())[key]}
    assert changed == {"model.dim": 32, "stages.routing.rounds": 3}


def test_overrides_come_after_the_file_and_the_last_one_wins(write) -> None:
    path = write("[model]\ndim = 32\nheads = 4\n")
    config = load_config(path, ["model.dim=8", "model.dim=16"])
    assert (config.model.dim, config.model.heads) == (16, 4)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("data=/tmp/my data/ml 1m", "run.data", "/tmp/my data/ml 1m"),
        ("run.out='/tmp/my data'", "run.out", "/tmp/my data"),
        ('out="x = y"', "run.out", "x = y"),
        ("out=a=b", "run.out", "a=b"),
        ("out=2024", "run.out", "2024"),
        ("out=2024-01-31", "run.out", "2024-01-31"),
        (" out = runs/a ", "run.out", "runs/a"),
        ("out=C:\\runs", "run.out", "C:\\runs"),
        ("device=cuda:1", "run.device", "cuda:1"),
        ("seed=7", "run.seed", 7),
        ("run.resume=true", "run.resume", True),
        ("model.visual=", "model.visual", ""),
        ("memory.novelty=0", "memory.novelty", 0.0),
        ("stages.backbone.learning_rate=1e-4", "stages.backbone.learning_rate", 1e-4),
    ],
)
def test_overrides(override, key, value) -> None:
    found = to_flat(load_config(None, [override]))[key]
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.dim", "override 'model.dim': expected key=value"),
        ("model.dmi=3", r"unknown key 'model.dmi'; did you mean 'model.dim'\?"),
        ("sed=3", "unknown key 'sed'"),
        ("stages.alignmnt.rounds=3", "did you mean 'stages.alignment.rounds'"),
        ("model.dim=3.0", "model.dim = 3.0: expected int, got float"),
        ("model.dim=big", "model.dim = 'big': expected int, got str"),
        ("model.dim=true", "model.dim = True: expected int, got bool"),
        ("run.resume=1", "run.resume = 1: expected bool, got int"),
        ("memory.novelty=much", "memory.novelty = 'much': expected float, got str"),
        ("model.dim=[1, 2]", r"model.dim = \[1, 2\]: expected int, got list"),
        ("model={dim = 3}", "unknown key 'model'"),
        ("model.dim=0", "^model.dim = 0: must be above 0"),
        ("stages.routing.rounds=-1", "^stages.routing.rounds = -1: must be at least 0"),
        ("model.heads=7", "^model.dim = .*: must be a multiple of heads = 7"),
    ],
)
def test_a_wrong_override_is_named(override, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(None, [override])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[model\n", "not valid TOML"),
        ("[model]\ndmi = 3\n", "unknown key 'model.dmi'; did you mean 'model.dim'"),
        ("[modell]\ndim = 3\n", "unknown key 'modell.dim'; did you mean 'model.dim'"),
        ("dim = 3\n", "unknown key 'dim'"),
        ("model = 3\n", "unknown key 'model'"),
        ("[model.dim]\nx = 3\n", "unknown key 'model.dim.x'"),
        ("[run]\nout = 3\n", "run.out = 3: expected str, got int"),
        (
            "[stages.alignment]\nnegatives = 0\n",
            ": stages.alignment.negatives = 0: must be above 0",
        ),
    ],
)
def test_a_wrong_file_is_named(write, content, message) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(write(content))


def test_a_file_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"no configuration file .*none\.toml"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    (tmp_path / "odd.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "odd.toml")


def test_flat_names_every_setting_once() -> None:
    flat = to_flat(Config())
    assert {"run.seed", "model.dim", "stages.routing.balance_weight"} <= flat.keys()
    assert all(isinstance(value, bool | int | float | str) for value in flat.values())
    assert from_flat(flat) == Config()


def test_toml_names_every_setting_in_its_section(write) -> None:
    text = to_toml(Config())
    assert "[stages.alignment]\n" in text and "\nresume = false\n" in text
    assert sum(" = " in line for line in text.splitlines()) == len(to_flat(Config()))
    assert load_config(write(text)) == Config()


TEXT = st.text(st.characters(codec="utf-8"))


@given(out=TEXT, data=TEXT, seed=st.integers(0, 2**63 - 1), resume=st.booleans())
def test_toml_is_read_back_as_it_was(out, data, seed, resume, tmp_path_factory) -> None:
    config = Config(run=RunConfig(out=out, data=data, seed=seed, resume=resume))
    path = tmp_path_factory.mktemp("toml") / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8", newline="")
    assert load_config(path) == config


@settings(max_examples=30)
@given(st.floats(min_value=1e-300, max_value=1e300), st.floats(min_value=0, max_value=1e300))
def test_numbers_are_read_back_to_the_last_bit(rate, weight) -> None:
    flat = {"stages.backbone.learning_rate": rate, "stages.routing.balance_weight": weight}
    config = from_flat(flat)
    overrides = [line.replace(" = ", "=") for line in _dotted(to_toml(config))]
    assert load_config(None, overrides) == config


def _dotted(text: str) -> list[str]:
    """The lines of a TOML text as overrides."""
    section, lines = "", []
    for line in text.splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line:
            lines.append(f"{section}.{line}")
    return lines


@given(TEXT)
def test_any_override_is_read_or_refused(text) -> None:
    for override in (text, f"out={text}", f"model.dim={text}"):
        with suppress(ConfigError):
            load_config(None, [override])
