"""The nodes that a SuperLink knows: those of the deployment's list, which may grow meanwhile."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from fedrec.deployment.folders import read_nodes
from fedrec.errors import FedrecError
from server.gate_keys import pem_of, version_of
from server.launch_control import Control

LOG = logging.getLogger(__name__)
LOOK_S = 1.0


class NodeList:
    """Registers the keys of a nodes.toml, at once and when `refresh` finds new ones.

    A key that is taken out is refused by the gate; the SuperLink keeps its entry, so that it may
    come back.
    """

    def __init__(self, control: Control, path: Path) -> None:
        """Raises FedrecError where the SuperLink does not take a key."""
        self._control, self._path = control, path
        self._version = version_of(path)
        self._looked, self._said = time.monotonic(), ""
        self._register()

    def refresh(self) -> None:
        """Look at the file, at most every LOOK_S seconds. A broken one changes nothing."""
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        try:
            version = version_of(self._path)
            if version != self._version:
                self._register()
            self._version, self._said = version, ""
        except FedrecError as error:
            if str(error) != self._said:
                LOG.error("the list of nodes stays as it was: %s", error)
            self._said = str(error)

    def _register(self) -> None:
        known = self._control.node_keys()
        for name, line in read_nodes(self._path).items():
            if (key := pem_of(line)) not in known:
                self._control.register_node(name, key)
