"""Whether the hub with the published weights can be reached at all."""

from __future__ import annotations

import os
import socket
import sys
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

_TIMEOUT_S = 5.0
_HUB = "https://huggingface.co"


def expect_hub_or_cache() -> None:
    """Where the hub cannot be reached, let the libraries look into their cache only.

    Their clients try again and again for a minute otherwise. Behind a proxy nothing is decided.
    Nobody is told what is used for what, unless HF_HUB_DISABLE_TELEMETRY=0 allows it.
    """
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if os.environ.get("HF_HUB_OFFLINE") or getproxies() or _reachable():
        return
    os.environ["HF_HUB_OFFLINE"] = "1"
    constants: Any = sys.modules.get("huggingface_hub.constants")
    if constants is not None:  # it has read the environment already
        constants.HF_HUB_OFFLINE = True


def _reachable() -> bool:
    address = urlsplit(os.environ.get("HF_ENDPOINT", _HUB))
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        with socket.create_connection((address.hostname or "", port), timeout=_TIMEOUT_S):
            return True
    except OSError:
        return False
