"""Flower's SuperLink behind a gate, as a program: `python -m server.gated_superlink ...`.

One process with two listeners. On the first, of this machine alone, are all of the SuperLink's APIs,
for the launcher and the server app; on the second, for other machines, is what `server.gate` lets
through, with TLS where there is a certificate. The options are Flower's own, for the first listener,
and before them those of the second.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import uvicorn
from flwr.supercore.http_logging import get_uvicorn_log_config
from flwr.supercore.logger import console_handler
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan, _parse_superlink_lifespan_config
from flwr.superlink.main import create_app

from fedrec.monitoring.logs import LogFormat, configure_logs
from server.gate import App, Gate
from server.gate_keys import NodeKeys

HANDSHAKE_S = 10
"""How long a caller may take to say something."""


def main(words: Sequence[str]) -> None:
    """Serve until a signal ends it. Raises ConfigError for a list of nodes that cannot be read."""
    options, flower = _parser().parse_known_args(words)
    configure_logs(default=LogFormat.HUMAN)
    keys = None if options.nodes is None else NodeKeys(options.nodes)
    sys.argv = ["flower-superlink", *flower]
    config = _parse_superlink_lifespan_config()
    # Its command line has it that the listener of this machine would need TLS for this.
    config = replace(config, enable_supernode_auth=keys is not None)
    app = create_app(config, SuperLinkLifespan)
    log_config = get_uvicorn_log_config(console_handler.level)
    inner = uvicorn.Server(
        uvicorn.Config(app, host=config.host, port=config.port, log_config=log_config)
    )
    asyncio.run(_serve(inner, _Outer(_outer_config(options, Gate(app, keys)))))


class _Outer(uvicorn.Server):
    """The listener for other machines; it leaves signals to the other one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _outer_config(options: argparse.Namespace, gate: App) -> uvicorn.Config:
    return uvicorn.Config(
        gate,
        host=options.listen_host,
        port=options.listen_port,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
        lifespan="off",
        log_config=get_uvicorn_log_config(console_handler.level),
        timeout_keep_alive=HANDSHAKE_S,
        server_header=False,
        proxy_headers=False,
    )


async def _serve(inner: uvicorn.Server, outer: uvicorn.Server) -> None:
    """Open the outer listener first, so that who finds the inner one open finds both open."""
    opened = asyncio.create_task(outer.serve())
    while not outer.started and not opened.done():
        await asyncio.sleep(0.01)
    if not opened.done():
        await inner.serve()
    outer.should_exit = True
    await opened


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="server.gated_superlink")
    parser.add_argument("--listen-host", required=True)
    parser.add_argument("--listen-port", type=int, required=True)
    parser.add_argument("--certificate", type=Path)
    parser.add_argument("--key", type=Path)
    parser.add_argument("--nodes", type=Path)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
