"""A federation in the test's own process."""

import logging

import pytest

from tests.loopback import federate, flower_identity, loopback, shop, small_config

__all__ = ["federate", "flower_identity", "loopback", "shop", "small_config"]


@pytest.fixture
def quiet_flower() -> None:
    """Flower says nothing of every round."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
