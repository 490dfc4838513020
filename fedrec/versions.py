"""The versions of the libraries that server and nodes must have in common."""

from __future__ import annotations

from importlib.metadata import version

_PARTS = {"fedrec": None, "flwr": 2, "torch": 2}
"""How many parts of a version matter; None = all of it. What a message means is up to fedrec and
Flower, how a sum is rounded to torch."""


def versions_that_matter() -> dict[str, str]:
    """By library, as far as it matters: torch 2.9.1+cpu is 2.9."""
    return {name: ".".join(version(name).split(".")[:parts]) for name, parts in _PARTS.items()}
