"""A federation in the test's own process, and the real program."""

from tests.end_to_end.conftest import configured, program, run_at
from tests.loopback import federate, flower_identity, loopback, shop, small_config

__all__ = [
    "configured",
    "federate",
    "flower_identity",
    "loopback",
    "program",
    "run_at",
    "shop",
    "small_config",
]
