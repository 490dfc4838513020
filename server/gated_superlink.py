"""Flower's SuperLink behind a gate, as a program: `python -m server.gated_superlink ...`.

One process with two listeners. On the first, of this machine alone, are all of the SuperLink's
APIs, for the launcher and the server app, without TLS; on the second, for other machines, is what
`server.gate` lets through, with TLS where there is a certificate. `--listen-host`, `--listen-port`
and `--nodes` are of the second; the other options are those of flower-superlink.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from flwr.supercore.http_logging import get_uvicorn_log_config
from flwr.supercore.logger import console_handler
from flwr.superlink.cli.flower_superlink import SuperLinkLifespan, _parse_superlink_lifespan_config
from flwr.superlink.config_loader import SuperLinkLifespanConfig
from flwr.superlink.main import create_app

from fedrec.monitoring.logs import LogFormat, configure_logs
from server.gate import Gate
from server.gate_keys import NodeKeys
from server.layers import by_path
from server.whole_body import App, WholeBody

_WITHOUT_TLS: dict[str, Any] = {
    "insecure": True,
    "certificates": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "ssl_ca_certfile": None,
}


def main(words: Sequence[str]) -> None:
    """Serve until a signal ends it. Raises ConfigError for a list of nodes that cannot be read."""
    options, flower = _parser().parse_known_args(words)
    configure_logs(default=LogFormat.HUMAN)
    keys = None if options.nodes is None else NodeKeys(options.nodes)
    sys.argv = ["flower-superlink", *flower]
    config = _parse_superlink_lifespan_config()
    flower_app = create_app(replace(config, **_WITHOUT_TLS), SuperLinkLifespan)
    app = WholeBody(by_path(flower_app))
    inner = uvicorn.Server(_listener(app, config.host, config.port, lifespan="on"))
    outer = _Outer(_outer_config(options, config, Gate(app, keys)))
    asyncio.run(_serve(inner, outer))


class _Outer(uvicorn.Server):
    """The listener for other machines; it leaves signals to the other one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _outer_config(
    options: argparse.Namespace, config: SuperLinkLifespanConfig, gate: App
) -> uvicorn.Config:
    return _listener(
        gate,
        options.listen_host,
        options.listen_port,
        ssl_certfile=config.ssl_certfile,
        ssl_keyfile=config.ssl_keyfile,
        lifespan="off",
        access_log=False,  # the gate says whom it refuses, and a stranger must not fill the disk
        server_header=False,
        proxy_headers=False,
    )


def _listener(app: Any, host: str, port: int, **options: Any) -> uvicorn.Config:
    log_config = get_uvicorn_log_config(console_handler.level)
    return uvicorn.Config(app, host=host, port=port, log_config=log_config, **options)


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
    parser.add_argument("--nodes", type=Path)
    return parser


if __name__ == "__main__":
    main(sys.argv[1:])
