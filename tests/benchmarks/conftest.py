"""A shop's data and a small configuration, for scripts that run whole federations."""

from tests.loopback import flower_identity, loopback, shop, small_config

__all__ = ["flower_identity", "loopback", "shop", "small_config"]
