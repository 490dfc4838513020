"""The names of `fedrec prepare` that stand for a prepared folder made from another one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from fedrec.data.added import ADD_ITEMS, add_items
from fedrec.data.cold_folder import COLD, prepare_cold
from fedrec.errors import ConfigError

DERIVATIONS: dict[str, Callable[..., bool]] = {COLD: prepare_cold, ADD_ITEMS: add_items}
_OPTIONS = {
    COLD: ("share", "seed"),
    ADD_ITEMS: ("items", "item_column", "features"),
}
_EVERYWHERE = ("source", "out", "force")
_NEEDED = {COLD: ("source", "out"), ADD_ITEMS: ("source", "out", "items")}


def derive_folder(name: str, options: Mapping[str, Any]) -> tuple[Path, bool]:
    """Carry out a derivation with the options that somebody gave, which `check_options` has passed.

    Returns the folder, and whether it was written; False: it is there already.
    Raises ConfigError for an option that is missing, DataError for what fails.
    """
    for option in _NEEDED[name]:
        if option not in options:
            raise ConfigError(f"prepare {name} needs {_flag(option)}")
    out: Path = options["out"]
    return out, DERIVATIONS[name](**options)


def check_options(name: str, options: Collection[str]) -> None:
    """Raises ConfigError where an option is given that NAME does not know."""
    own = _OPTIONS.get(name)
    for option in options:
        if own is not None and option not in (*own, *_EVERYWHERE):
            raise ConfigError(f"prepare {name} does not know {_flag(option)}")
        if own is None and option in _OPTIONS[COLD]:
            raise ConfigError(f"{_flag(option)} belongs to prepare {COLD}, not to {name}")


def _flag(option: str) -> str:
    return "--" + option.replace("_", "-")
