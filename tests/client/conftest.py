"""A federation in the test's own process, and what a node of it keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Context

from fedrec.config import Config
from fedrec.model.feddmmr import FedDMMR
from tests.loopback import federate, flower_identity, loopback, shop, small_config
from tests.whole import untrained_model

__all__ = ["federate", "flower_identity", "loopback", "shop", "small_config"]


@pytest.fixture
def context(
    small_config: Callable[..., Config],
    loopback: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Context:
    """Of the only node of an int8 federation, which nobody has asked for anything yet."""
    monkeypatch.setenv("FEDREC_CACHE", str(tmp_path / "cache"))
    config = small_config(federation={"transport": "int8"}, run={"seed": 11})
    (context,) = loopback(config, 1).contexts.values()
    return context


@pytest.fixture
def model(small_config: Callable[..., Config]) -> FedDMMR:
    """The untrained model of `small_config()`."""
    return untrained_model(small_config())
