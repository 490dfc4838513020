"""From TOML, command line and Flower's run-config to a Config, and back."""

from __future__ import annotations

import difflib
import json
import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from fedrec.config.schema import Config
from fedrec.errors import ConfigError

_DEEPEST = 8  # tables in tables; no setting lies that deep
Scalar = bool | int | float | str
Section = TypeVar("Section")

ALIASES = {"data": "run.data", "out": "run.out", "seed": "run.seed", "device": "run.device"}


def load_config(path: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a TOML file, then apply `section.key=value` overrides.

    path: None = the defaults alone. In an override `data`, `out`, `seed` and `device` may stand
    without `run.`, and text needs no quotes.
    Raises ConfigError for an unreadable file, an unknown key (naming the nearest valid one), a
    wrong type or an impossible value.
    """
    named = dict(map(_parse_override, overrides))
    if path is None:
        return from_flat(named)
    held = _flatten(_read_toml(path))
    try:
        return from_flat({**held, **named})
    except ConfigError as error:
        if not _is_sound(named):
            raise
        raise ConfigError(f"{path}: {error}") from None


def _is_sound(named: Mapping[str, Scalar]) -> bool:
    try:
        from_flat(named)
    except ConfigError:
        return False
    return True


def from_flat(flat: Mapping[str, Scalar]) -> Config:
    """Build a Config from dotted keys; what is not named keeps its default."""
    known = to_flat(Config())
    for key in flat:
        if key not in known:
            raise ConfigError(f"unknown key {key!r:.200}{_nearest(key[:100], known)}")
    return _build(Config(), "", flat)


def to_flat(config: Config) -> dict[str, Scalar]:
    """Every setting under its dotted key, in the order of the schema."""
    return _flatten(_as_tables(config))


def to_toml(config: Config) -> str:
    """The whole configuration as TOML that `load_config` reads back to an equal Config."""
    lines: list[str] = []
    section = None
    for key, value in to_flat(config).items():
        table, _, name = key.rpartition(".")
        if table != section:
            lines += ([""] if lines else []) + [f"[{table}]"]
            section = table
        lines.append(f"{name} = {format_scalar(value)}")
    return "\n".join(lines) + "\n"


def format_scalar(value: Scalar) -> str:
    """One value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        if stat.S_ISFIFO(os.stat(path).st_mode):  # one that nobody fills would never end
            raise ConfigError(f"{path}: cannot be read: it is a pipe, expected a file")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"no configuration file {path}") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise ConfigError(f"{path}: not valid TOML: nested too deep") from error
    except ValueError as error:  # of TOML, of text, of numbers with too many digits, of the name
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _parse_override(override: str) -> tuple[str, Scalar]:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"override {override!r}: expected key=value")
    key, text = ALIASES.get(key.strip(), key.strip()), text.strip()
    try:
        tables = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return key, text  # a bare word or path is a string
    if len(tables) > 1:
        raise ConfigError(f"override {override!r:.200}: expected one value in one line")
    value = tables["value"]
    is_text = isinstance(to_flat(Config()).get(key), str) and not isinstance(value, str)
    return key, text if is_text else value  # a folder may be called 2024


def _as_tables(section: Any) -> Any:
    if not is_dataclass(section):
        return section
    return {item.name: _as_tables(getattr(section, item.name)) for item in fields(section)}


def _flatten(tables: Mapping[str, Any], prefix: str = "") -> dict[str, Scalar]:
    flat: dict[str, Scalar] = {}
    for name, value in tables.items():
        if isinstance(value, Mapping) and prefix.count(".") < _DEEPEST:
            flat.update(_flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def _build(default: Section, prefix: str, flat: Mapping[str, Scalar]) -> Section:
    """A copy of `default` with what `flat` names below `prefix` put in its place."""
    hints = get_type_hints(type(default))
    values: dict[str, Any] = {}
    for item in fields(default):  # type: ignore[arg-type]
        current, key = getattr(default, item.name), prefix + item.name
        if is_dataclass(current):
            values[item.name] = _build(current, key + ".", flat)
        else:
            values[item.name] = _typed(key, flat.get(key, current), hints[item.name])
    try:
        return type(default)(**values)
    except ConfigError as error:
        raise ConfigError(f"{prefix}{error}") from None


def _typed(key: str, value: Scalar, expected: type) -> Scalar:
    if expected is float and type(value) is int and abs(value) < 2**63:
        return float(value)
    if type(value) is not expected:
        raise ConfigError(
            f"{key} = {value!r:.200}: expected {expected.__name__}, got {type(value).__name__}"
        )
    return value


def _nearest(key: str, known: Mapping[str, Scalar]) -> str:
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
    return f"; did you mean {close[0]!r}?" if close else ""
