"""The encoders' libraries, imported when they are first needed."""

from __future__ import annotations

import importlib
from importlib.metadata import version
from types import ModuleType

from features.torchvision_operators import ensure_torchvision
from fedrec.errors import ConfigError


def library(name: str) -> ModuleType:
    """The module `name`. Raises ConfigError that says how to install it."""
    try:
        ensure_torchvision()
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"{name} cannot be imported ({error}); expected it to be installed: "
            "pip install 'fedrec[features]'"
        ) from error


def versions_of(*distributions: str) -> dict[str, str]:
    """Installed versions by the distribution's name."""
    return {name: version(name) for name in sorted(distributions)}


def device_named(device: str) -> str:
    """`device` as torch names it; auto is cuda where there is one.

    Raises ConfigError for a device that does not exist here.
    """
    torch = library("torch")
    found = torch.cuda.device_count()
    if device == "auto":
        return "cuda" if found else "cpu"
    kind, _, index = device.partition(":")
    known = device == "cpu" or (kind == "cuda" and (not index or index.isdigit()))
    if not known:
        raise ConfigError(f"device {device!r}: expected auto, cpu, cuda or cuda:N")
    if kind == "cuda" and int(index or 0) >= found:
        raise ConfigError(f"device {device!r}: torch sees {found} CUDA devices here")
    return device
