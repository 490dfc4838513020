"""A federation in the test's own process."""

from tests.loopback import federate, flower_identity, loopback, shop, small_config

__all__ = ["federate", "flower_identity", "loopback", "shop", "small_config"]
