"""One node of a federation in one process: `python -m client.supernode --superlink HOST:PORT ...`.

It speaks with a SuperLink as flower-supernode does, and takes the same options; but where that has
a new process started for every message, which imports torch and loads the data anew, this one
answers messages itself and keeps what it has loaded. It opens no port.
"""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from flwr.common.config import parse_config_args

from client.fleet import Server, connected
from client.pace import Pace
from client.warm import serve
from fedrec.deployment.keys import read_node_key
from fedrec.errors import ConfigError
from fedrec.monitoring.logs import LogFormat, configure_logs

LOG = logging.getLogger(__name__)
SOON_S = 60.0
"""A connection that ends sooner is not tried again."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM (0) or until the connection or the key is beyond repair (1)."""
    asked = _parser().parse_args(arguments)
    configure_logs(default=LogFormat.HUMAN)
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        server, node_config = _server(asked), parse_config_args([asked.node_config])
    except ConfigError as error:
        LOG.error("%s", error)
        return 1
    while True:
        began = time.monotonic()
        try:
            with connected(server) as fleet:
                LOG.info("node %d serves %s", fleet.node_id, server.address)
                serve(fleet, node_config, Pace())
        except KeyboardInterrupt:  # what Flower does where the server does not know the node
            if time.monotonic() - began < SOON_S:
                LOG.error("the server does not accept this node any more")
                return 1
            LOG.warning("the server does not know this node any more: joining it anew")
            continue
        return 1


def _leave(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)


def _server(asked: argparse.Namespace) -> Server:
    certificates, path = asked.root_certificates, asked.auth_supernode_private_key
    key = None if path is None else read_node_key(path)
    return Server(
        address=asked.superlink,
        insecure=asked.insecure,
        root_certificates=None if certificates is None else certificates.read_bytes(),
        keys=None if key is None else (key, key.public_key()),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--superlink", required=True, metavar="HOST:PORT")
    parser.add_argument("--node-config", default="", help="as flower-supernode takes it")
    parser.add_argument("--insecure", action="store_true", help="no TLS")
    parser.add_argument("--root-certificates", type=Path, metavar="PEM")
    parser.add_argument("--auth-supernode-private-key", type=Path, metavar="FILE")
    return parser


if __name__ == "__main__":
    sys.exit(main())
