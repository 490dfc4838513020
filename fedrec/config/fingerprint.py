"""What server and nodes must read alike from one run-config."""

from __future__ import annotations

import json
from hashlib import sha256

from fedrec.config.loading import to_flat
from fedrec.config.schema import Config

OF_ONE_MACHINE = frozenset(
    {"run.data", "run.out", "run.device", "run.threads", "run.resume", "training.memory_mib"}
)
"""Settings in which machines may differ."""


def settings_fingerprint(config: Config) -> str:
    """SHA-256 of all settings but OF_ONE_MACHINE.

    Server and nodes get the same run-config; they differ here where a node's version of the program
    has other defaults for what the run-config leaves open.
    """
    shared = {key: value for key, value in to_flat(config).items() if key not in OF_ONE_MACHINE}
    return sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()
