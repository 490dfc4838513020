"""A federation in the test's own process, and the folder of a run."""

import logging
from pathlib import Path

import pytest

from server.run_folder import RunFolder
from tests.loopback import federate, flower_identity, loopback, shop, small_config
from tests.server.saved_runs import config

__all__ = ["federate", "flower_identity", "loopback", "shop", "small_config"]


@pytest.fixture
def quiet_flower() -> None:
    """Flower says nothing of every round."""
    logging.getLogger("flwr").setLevel(logging.WARNING)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Of a run that has begun."""
    made = RunFolder(tmp_path / "run")
    made.begin(config(made))
    return made
