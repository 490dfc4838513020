"""The configuration of a run, found and completed before anything is started."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import fedrec
from fedrec.config import Config, load_config
from fedrec.errors import ConfigError


def read_config(words: Sequence[str], *, resume: bool) -> Config:
    """The configuration that `[CONFIG] [key=value ...]` asks for, its paths absolute.

    Flower runs the apps from a copy, so that only absolute paths mean the same there. A run that
    resumes without a CONFIG takes the one stored in its folder.
    """
    source, overrides = _split(words)
    path = None if source is None else find_config(source)
    if resume and path is None:
        path = Path(load_config(None, overrides).run.out).expanduser() / "config.toml"
    config = load_config(path, overrides)
    run = replace(
        config.run,
        data=_absolute(config.run.data),
        out=_absolute(config.run.out),
        resume=resume or config.run.resume,
    )
    return replace(config, run=run)


def find_config(name: str) -> Path:
    """A TOML file by its path, or by its bare name in a `configs` folder (here, then shipped).

    Raises ConfigError with the names there are.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    file_name = name if name.endswith(".toml") else f"{name}.toml"
    for folder in _config_folders():
        if (folder / file_name).is_file():
            return folder / file_name
    known = sorted({file.stem for folder in _config_folders() for file in folder.glob("*.toml")})
    names = f"; the names are {', '.join(known)}" if known else ""
    raise ConfigError(f"no configuration {name!r}: neither a file nor a known name{names}")


def _split(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """CONFIG (the one word without `=`) and the overrides."""
    sources = [word for word in words if "=" not in word]
    if len(sources) > 1:
        raise ConfigError(f"expected one CONFIG and key=value pairs, got {' and '.join(sources)}")
    return (sources[0] if sources else None), [word for word in words if "=" in word]


def _config_folders() -> list[Path]:
    package = Path(fedrec.__file__).parent
    return [Path("configs"), package / "configs", package.parent / "configs"]


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
